/** What of a mesh a policy is attached to, by selector, by namespace or by targetRefs. */
import {
  keyOfNamed,
  type MeshFacts,
  type MeshGateway,
  type MeshService,
  type MeshWaypoint,
  type MeshWorkload,
} from './mesh-facts.ts'
import type { PolicyTargetReference, WorkloadSelector } from '../documents/authorization-policy.ts'
import type { PolicyObject } from '../documents/metadata.ts'
import { matchesSelector } from '../ztunnel/selector.ts'

/** The class whose policies every waypoint enforces. */
export const WAYPOINT_CLASS = 'istio-waypoint'

/** A policy of any kind, as far as it says where it is for. */
export interface AttachablePolicy extends PolicyObject {
  readonly spec: {
    readonly selector?: WorkloadSelector
    readonly targetRefs?: readonly PolicyTargetReference[]
  }
}

/** What one of the `targetRefs` names in this mesh. */
export type TargetFinding =
  | { readonly kind: 'service'; readonly service: MeshService; readonly waypoint: MeshWaypoint | undefined }
  | { readonly kind: 'waypoint'; readonly waypoint: MeshWaypoint }
  | { readonly kind: 'gateway'; readonly gateway: MeshGateway }
  | { readonly kind: 'all-waypoints' }
  | { readonly kind: 'other-namespace' | 'not-found' | 'wrong-class' | 'outside-root' }

export function targetOf(
  reference: PolicyTargetReference,
  policy: AttachablePolicy,
  { mesh, rootNamespace }: { readonly mesh: MeshFacts; readonly rootNamespace: string },
): TargetFinding {
  const { namespace } = policy.metadata
  if (reference.namespace !== undefined && reference.namespace !== namespace)
    return { kind: 'other-namespace' }
  if (reference.kind === 'GatewayClass') {
    if (reference.name !== WAYPOINT_CLASS) return { kind: 'wrong-class' }
    return { kind: namespace === rootNamespace ? 'all-waypoints' : 'outside-root' }
  }
  const key = `${namespace}/${reference.name}`
  const waypoint = (name: string | undefined): MeshWaypoint | undefined =>
    mesh.waypoints.find(each => keyOfNamed(each) === name)
  if (reference.kind === 'Gateway') {
    const found = waypoint(key)
    if (found !== undefined) return { kind: 'waypoint', waypoint: found }
    const gateway = mesh.gateways.find(each => keyOfNamed(each) === key)
    return gateway === undefined ? { kind: 'not-found' } : { kind: 'gateway', gateway }
  }
  const service = mesh.services.find(
    each => keyOfNamed(each) === key && (each.kind ?? 'Service') === reference.kind,
  )
  return service === undefined
    ? { kind: 'not-found' }
    : { kind: 'service', service, waypoint: waypoint(service.waypoint) }
}

/** Whether a policy without targetRefs is for pods with these labels in this namespace. */
export function isFor(
  { metadata, spec }: AttachablePolicy,
  pod: { readonly namespace: string; readonly labels: Readonly<Record<string, string>> },
  rootNamespace: string,
): boolean {
  if (metadata.namespace !== rootNamespace && metadata.namespace !== pod.namespace) return false
  return spec.selector === undefined || matchesSelector(spec.selector, pod.labels)
}

/** The workloads of a policy without targetRefs. An empty selector is for nobody. */
export function workloadsOf(
  policy: AttachablePolicy,
  { mesh, rootNamespace }: { readonly mesh: MeshFacts; readonly rootNamespace: string },
): readonly MeshWorkload[] {
  if (hasEmptySelector(policy)) return []
  return mesh.workloads.filter(workload => isFor(policy, workload, rootNamespace))
}

export function gatewaysOf(
  policy: AttachablePolicy,
  { mesh, rootNamespace }: { readonly mesh: MeshFacts; readonly rootNamespace: string },
): readonly MeshGateway[] {
  return mesh.gateways.filter(gateway => isFor(policy, gateway, rootNamespace))
}

export function hasTargets({ spec }: AttachablePolicy): boolean {
  return (spec.targetRefs?.length ?? 0) > 0
}

export function hasEmptySelector({ spec }: AttachablePolicy): boolean {
  return spec.selector !== undefined && Object.keys(spec.selector.matchLabels).length === 0
}
