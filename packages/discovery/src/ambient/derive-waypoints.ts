/** Waypoints: their own services, who is behind which, and the policies that make going around them fail. */
import type { GatewayAddress, PortMap, Service } from '@ambient/core'
import { type Authorization, requireWaypoint } from '@ambient/policy'
import { matchesLabels } from '../resources/context.ts'
import { type GatewayResource, isWaypoint } from '../resources/gateway-types.ts'
import type { ServiceResource } from '../resources/types.ts'
import { type Attachment, gatewayNameLabel } from '../resources/use-waypoint.ts'
import { labelOf } from './enrolment.ts'
import type { DeriveInput } from './derive.ts'
import type { PodStatus } from './pod-status.ts'
import { createWaypointLookUp, isManaged, type WaypointReference } from './waypoint-lookup.ts'

/** Where a waypoint takes HBONE, always. */
export const waypointHbonePort = 15_008
/** Its readiness. */
export const waypointStatusPort = 15_021

export const waypointPorts: PortMap = new Map([
  [waypointStatusPort, waypointStatusPort],
  [waypointHbonePort, waypointHbonePort],
])

export interface WaypointPlan {
  /** The services of the waypoints themselves. */
  readonly services: readonly Service[]
  serviceWaypoint(service: ServiceResource): GatewayAddress | undefined
  podWaypoint(pod: PodStatus): GatewayAddress | undefined
  /** The waypoint whose pod this is, by `namespace/hostname` of its service. */
  ownService(pod: PodStatus): string | undefined
  /** Keys of the policies that a pod lists so that nobody goes around its waypoints. */
  policiesFor(pod: PodStatus): readonly string[]
  readonly authorizations: readonly Authorization[]
}

export function planWaypoints(input: DeriveInput): WaypointPlan {
  const { resources } = input
  const { gateways, ofService, ofPod } = createWaypointLookUp(input)
  const policies = input.requireWaypoint === true ? createPolicies(input) : undefined
  return {
    services: [...gateways.values()].filter(isWaypoint).map(gateway => waypointService(gateway, input)),
    serviceWaypoint: service => addressOf(ofService(service), input),
    podWaypoint: pod => addressOf(ofPod(pod), input),
    ownService(pod) {
      const name = labelOf(pod.labels, gatewayNameLabel)
      const gateway = name === undefined ? undefined : gateways.get(`${pod.namespace}/${name}`)
      return gateway && isWaypoint(gateway) ? serviceKeyOf(gateway.metadata, input) : undefined
    },
    policiesFor(pod) {
      if (policies === undefined || isManaged(pod.labels)) return []
      const behind = resources.services.filter(service => selects(service, pod)).map(ofService)
      return policies.of([...behind, ofPod(pod)])
    },
    get authorizations() {
      return policies?.all() ?? []
    },
  }
}

interface Named {
  readonly namespace: string
  readonly name: string
}

function keyOf({ namespace, name }: Named): string {
  return `${namespace}/${name}`
}

/** `waypoint.shop.svc.cluster.local` */
function hostnameOf({ namespace, name }: Named, { clusterDomain }: DeriveInput): string {
  return `${name}.${namespace}.svc.${clusterDomain}`
}

function serviceKeyOf(named: Named, input: DeriveInput): string {
  return `${named.namespace}/${hostnameOf(named, input)}`
}

function selects({ metadata, spec }: ServiceResource, pod: PodStatus): boolean {
  const { selector = {} } = spec
  return (
    metadata.namespace === pod.namespace &&
    Object.keys(selector).length > 0 &&
    matchesLabels(selector, pod.labels)
  )
}

function addressOf(reference: WaypointReference | undefined, input: DeriveInput): GatewayAddress | undefined {
  if (reference?.attachment.kind !== 'attached') return undefined
  const { namespace } = reference
  return {
    destination: { kind: 'hostname', namespace, hostname: hostnameOf(reference, input) },
    hboneMtlsPort: waypointHbonePort,
  }
}

/** As istiod deploys it: the Gateway's name, ready endpoints of the caller's zone first. */
function waypointService({ metadata }: GatewayResource, input: DeriveInput): Service {
  const { namespace, name } = metadata
  return {
    name,
    namespace,
    hostname: hostnameOf(metadata, input),
    vips: (input.clusterIps.get(keyOf(metadata)) ?? []).map(ip => ({ network: input.network, ip })),
    cidrVips: [],
    ports: waypointPorts,
    subjectAltNames: [],
    weightedWaypoints: [],
    loadBalancer: {
      mode: 'Failover',
      routingPreferences: ['Network', 'Region', 'Zone'],
      healthPolicy: 'OnlyHealthy',
    },
    ipFamilies: 'Automatic',
    canonical: true,
    visibility: 'Public',
  }
}

interface WaypointPolicies {
  /** Keys of the policies for these references; they count from now on. */
  of(references: readonly (WaypointReference | undefined)[]): readonly string[]
  all(): readonly Authorization[]
}

/**
 * One per waypoint, named as istiod names it. For a waypoint that is named and does not exist it admits nobody: what was
 * to be seen by a waypoint is not to be reached without one.
 */
function createPolicies(input: DeriveInput): WaypointPolicies {
  const made = new Map<string, Authorization>()
  return {
    of(references) {
      const keys = references.flatMap(reference => {
        if (reference === undefined || isForOthers(reference.attachment)) return []
        const policy = waypointPolicy(reference, input)
        const key = keyOf(policy)
        made.set(key, policy)
        return [key]
      })
      return [...new Set(keys)].sort()
    },
    all: () => [...made.values()],
  }
}

/** A waypoint for services is no waypoint for what addresses the pod, and the other way round. */
function isForOthers(attachment: Attachment): boolean {
  return attachment.kind === 'refused' && attachment.reason === 'UnsupportedTrafficType'
}

function waypointPolicy(
  reference: WaypointReference,
  { trustDomain, resources }: DeriveInput,
): Authorization {
  const { namespace, name } = reference
  const gateway = resources.gateways.find(({ metadata }) => keyOf(metadata) === keyOf(reference))
  const missing = gateway === undefined || !isWaypoint(gateway)
  const serviceAccount = gateway?.spec.serviceAccount ?? name
  return requireWaypoint({ namespace, name, trustDomain, serviceAccount, missing }).authorization
}
