/**
 * Which policies a waypoint enforces for which of its targets: those whose `targetRefs` name the service, the Gateway,
 * or from the root namespace the class of all waypoints. Selectors and whole namespaces are ztunnel's.
 *
 * Source: Istio's policy attachment for waypoints.
 */
import type {
  AuthorizationPolicy,
  PolicyTargetReference,
  WorkloadSelector,
} from '../documents/authorization-policy.ts'

/** The class whose policies every waypoint enforces. */
const WAYPOINT_CLASS = 'istio-waypoint'
const GATEWAY_GROUP = 'gateway.networking.k8s.io'
const ISTIO_GROUP = 'networking.istio.io'

/** What traffic is for, at one waypoint. Reuse the object: what is compiled for it is found by it. */
export interface WaypointTarget {
  readonly gateway: { readonly namespace: string; readonly name: string; readonly className: string }
  /** Absent for traffic to a workload, which only the policies of the Gateway and its class concern. */
  readonly service?: {
    readonly namespace: string
    readonly name: string
    readonly hostname: string
    /** `Service` when absent. */
    readonly kind?: 'Service' | 'ServiceEntry'
  }
}

/** Everything that could name the target, as `Kind namespace/name`: equal keys, equal policies. */
export function keysOfTarget({ gateway, service }: WaypointTarget): readonly string[] {
  return [
    ...(service === undefined ? [] : [`${service.kind ?? 'Service'} ${service.namespace}/${service.name}`]),
    `Gateway ${gateway.namespace}/${gateway.name}`,
    ...(gateway.className === WAYPOINT_CLASS ? [`GatewayClass ${WAYPOINT_CLASS}`] : []),
  ]
}

/** What the attachment of a document depends on: of an AuthorizationPolicy or a RequestAuthentication. */
export interface AttachableDocument {
  readonly metadata: { readonly namespace: string }
  readonly spec: {
    readonly selector?: WorkloadSelector
    readonly targetRefs?: readonly PolicyTargetReference[]
  }
}

/** What a policy attaches to, in the same words. */
export function keysOfPolicy(
  { metadata, spec }: AttachableDocument,
  rootNamespace: string,
): readonly string[] {
  return (spec.targetRefs ?? []).flatMap(reference => {
    if (reference.namespace !== undefined && reference.namespace !== metadata.namespace) return []
    return keyOfReference(reference, metadata.namespace, rootNamespace)
  })
}

/** The most special thing that policies can name. */
export function nameOfTarget(target: WaypointTarget): string {
  return keysOfTarget(target)[0] ?? ''
}

/** Of a policy that somebody could expect here; `undefined` when it is attached or has nothing to do with it. */
export function whyNotAttached(
  policy: AuthorizationPolicy,
  target: WaypointTarget,
  rootNamespace: string,
): string | undefined {
  const { metadata, spec } = policy
  const near = [rootNamespace, target.gateway.namespace, target.service?.namespace]
  if (!near.includes(metadata.namespace)) return undefined
  if (spec.targetRefs === undefined || spec.targetRefs.length === 0)
    return `${spec.selector === undefined ? 'without targetRefs' : 'with a selector'} it is enforced by the ztunnels of the workloads, not at a waypoint`
  const keys = keysOfPolicy(policy, rootNamespace)
  if (keysOfTarget(target).some(key => keys.includes(key))) return undefined
  if (keys.length === 0)
    return 'its targetRefs can name nothing: they reach their own namespace only, and GatewayClass istio-waypoint from the root namespace'
  return `it is for ${keys.join(', ')}`
}

function keyOfReference(
  { group, kind, name }: PolicyTargetReference,
  namespace: string,
  rootNamespace: string,
): readonly string[] {
  switch (kind) {
    case 'Service':
      return group === '' || group === 'core' ? [`Service ${namespace}/${name}`] : []
    case 'ServiceEntry':
      return group === ISTIO_GROUP ? [`ServiceEntry ${namespace}/${name}`] : []
    case 'Gateway':
      return group === GATEWAY_GROUP ? [`Gateway ${namespace}/${name}`] : []
    case 'GatewayClass':
      return group === GATEWAY_GROUP && name === WAYPOINT_CLASS && namespace === rootNamespace
        ? [`GatewayClass ${WAYPOINT_CLASS}`]
        : []
    default:
      return []
  }
}
