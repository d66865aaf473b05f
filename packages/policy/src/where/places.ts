/** The proxies that a policy reaches, with what of their traffic it is for. */
import {
  type AttachablePolicy,
  gatewaysOf,
  hasEmptySelector,
  hasTargets,
  targetOf,
  workloadsOf,
} from './attached-to.ts'
import {
  keyOfNamed,
  type MeshFacts,
  type MeshService,
  type MeshWaypoint,
  type MeshWorkload,
  waypointsOf,
} from './mesh-facts.ts'
import type { EnforcementPoint, SeenCaller } from './where-enforced.ts'
import type { PolicyTargetReference } from '../documents/authorization-policy.ts'

export type Place =
  | {
      readonly kind: 'place'
      readonly point: EnforcementPoint
      readonly sees: SeenCaller
      /** The bytes are not looked at as HTTP. */
      readonly opaque: boolean
      readonly reason: string
    }
  | { readonly kind: 'nowhere'; readonly reason: string }

export interface PlaceSettings {
  readonly mesh: MeshFacts
  readonly rootNamespace: string
  readonly trustDomain: string
}

const CLIENT: SeenCaller = Object.freeze({ caller: 'client', identities: [] })

/** At least one: `nowhere`, with the reason, when there is no proxy. */
export function attachedPlaces(policy: AttachablePolicy, settings: PlaceSettings): readonly Place[] {
  if (hasTargets(policy))
    return (policy.spec.targetRefs ?? []).flatMap(reference => targetPlaces(policy, reference, settings))
  if (hasEmptySelector(policy)) return [nowhere('an empty selector selects no workload in ambient mode')]
  const reason = reasonOf(policy, settings.rootNamespace)
  const workloads = workloadsOf(policy, settings)
  const places = [
    ...workloads.flatMap(workload => workloadPlaces(workload, reason, settings)),
    ...gatewaysOf(policy, settings).map(gateway =>
      place({ proxy: 'gateway', name: keyOfNamed(gateway), traffic: 'everything' }, reason),
    ),
  ]
  if (places.length > 0) return places
  return [
    nowhere(
      workloads.length > 0
        ? `${reason}: none of its workloads is in the mesh`
        : `${reason}: no workload is there`,
    ),
  ]
}

function nowhere(reason: string): Place {
  return { kind: 'nowhere', reason }
}

function place(point: EnforcementPoint, reason: string, sees: SeenCaller = CLIENT, opaque = false): Place {
  return { kind: 'place', point, sees, opaque, reason }
}

function reasonOf({ metadata, spec }: AttachablePolicy, rootNamespace: string): string {
  const where = metadata.namespace === rootNamespace ? 'every namespace' : `namespace ${metadata.namespace}`
  const labels = Object.entries(spec.selector?.matchLabels ?? {}).map(([key, value]) => `${key}=${value}`)
  return labels.length === 0 ? where : `selector ${labels.join(',')} in ${where}`
}

function workloadPlaces(workload: MeshWorkload, reason: string, settings: PlaceSettings): readonly Place[] {
  const name = keyOfNamed(workload)
  const traffic = `workload ${name}`
  if (workload.proxy === 'none') return []
  if (workload.proxy === 'sidecar') {
    const behind = settings.mesh.services.filter(({ workloads }) => workloads.includes(name))
    const opaque = behind.some(({ ports }) => ports.some(({ protocol }) => protocol === 'opaque'))
    const point = { proxy: 'sidecar', name, traffic } as const
    return [place(point, reason), ...(opaque ? [place(point, reason, CLIENT, true)] : [])]
  }
  const identities = waypointsOf(workload, settings.mesh).flatMap(key => {
    const waypoint = settings.mesh.waypoints.find(each => keyOfNamed(each) === key)
    return waypoint === undefined ? [] : [identityOf(waypoint, settings.trustDomain)]
  })
  const sees: SeenCaller = identities.length === 0 ? CLIENT : { caller: 'waypoint', identities }
  return [place({ proxy: 'ztunnel', name, traffic }, reason, sees)]
}

function identityOf({ namespace, serviceAccount }: MeshWaypoint, trustDomain: string): string {
  return `${trustDomain}/ns/${namespace}/sa/${serviceAccount}`
}

function targetPlaces(
  policy: AttachablePolicy,
  reference: PolicyTargetReference,
  settings: PlaceSettings,
): readonly Place[] {
  const found = targetOf(reference, policy, settings)
  const name = `${reference.kind} ${policy.metadata.namespace}/${reference.name}`
  switch (found.kind) {
    case 'service': {
      const { service, waypoint } = found
      if (waypoint === undefined) return [nowhere(`${name} has no waypoint`)]
      return servicePlaces(waypoint, service, name)
    }
    case 'waypoint':
      return waypointPlaces(found.waypoint, name, settings.mesh)
    case 'gateway':
      return [place({ proxy: 'gateway', name: keyOfNamed(found.gateway), traffic: 'everything' }, name)]
    case 'all-waypoints': {
      const places = settings.mesh.waypoints.flatMap(waypoint =>
        waypointPlaces(waypoint, `GatewayClass ${reference.name}`, settings.mesh),
      )
      return places.length > 0 ? places : [nowhere('there is no waypoint')]
    }
    case 'other-namespace':
      return [nowhere('a policy is for targets of its own namespace')]
    case 'wrong-class':
      return [nowhere('only the class istio-waypoint stands for waypoints')]
    case 'outside-root':
      return [nowhere(`a class is named from the namespace ${settings.rootNamespace} only`)]
    default:
      return [nowhere(`there is no ${name}`)]
  }
}

/** HTTP and other ports of a service are judged in two dialects. */
function servicePlaces(waypoint: MeshWaypoint, service: MeshService, reason: string): readonly Place[] {
  const { kind = 'Service', ports } = service
  const of = (protocol: 'http' | 'opaque'): readonly number[] =>
    ports.filter(port => port.protocol === protocol).map(({ port }) => port)
  const [http, opaque] = [of('http'), of('opaque')]
  const name = keyOfNamed(waypoint)
  const traffic = (some: readonly number[]): string =>
    `${kind} ${keyOfNamed(service)}${http.length > 0 && opaque.length > 0 ? `:${some.join(',')}` : ''}`
  return [
    ...(opaque.length === 0 || http.length > 0
      ? [place({ proxy: 'waypoint', name, traffic: traffic(http) }, reason)]
      : []),
    ...(opaque.length > 0
      ? [place({ proxy: 'waypoint', name, traffic: traffic(opaque) }, reason, CLIENT, true)]
      : []),
  ]
}

/** All that comes through it: services and workloads. */
function waypointPlaces(waypoint: MeshWaypoint, reason: string, mesh: MeshFacts): readonly Place[] {
  const name = keyOfNamed(waypoint)
  const services = mesh.services.filter(each => each.waypoint === name)
  const workloads = mesh.workloads.filter(each => each.waypoint === name)
  const places = [
    ...services.flatMap(service => servicePlaces(waypoint, service, reason)),
    ...workloads.map(workload =>
      place({ proxy: 'waypoint', name, traffic: `workload ${keyOfNamed(workload)}` }, reason),
    ),
  ]
  return places.length > 0 ? places : [place({ proxy: 'waypoint', name, traffic: 'nobody yet' }, reason)]
}
