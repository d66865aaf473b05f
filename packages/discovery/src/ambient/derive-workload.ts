/** A running pod to a workload. */
import type { Locality, PortMap, Workload } from '@ambient/core'
import { authorizationKey, type PeerAuthenticationPlan, selectsWorkload } from '@ambient/policy'
import { matchesLabels } from '../resources/context.ts'
import type { ServiceResource } from '../resources/types.ts'
import { wdsDefaults } from '../limits.ts'
import type { DeriveInput } from './derive.ts'
import { hostnameOf } from './derive-service.ts'
import { labelOf } from './enrolment.ts'
import { canonicalNameOf, canonicalRevisionOf, workloadNameOf } from './names.ts'
import { type WaypointPlan, waypointPorts } from './derive-waypoints.ts'
import type { PodStatus } from './pod-status.ts'

/** `http` says that the pod takes HBONE by itself, without a ztunnel. */
const TUNNEL_LABEL = 'networking.istio.io/tunnel'
const REGION_LABEL = 'topology.kubernetes.io/region'
const ZONE_LABEL = 'topology.kubernetes.io/zone'
const SUBZONE_LABEL = 'topology.istio.io/subzone'

/** Prepares what all pods share. */
export function createWorkloadDerivation(
  input: DeriveInput,
  peers: PeerAuthenticationPlan,
  waypoints: WaypointPlan,
): (pod: PodStatus) => Workload {
  const localities = localitiesOf(input)
  return pod => {
    const waypoint = waypoints.podWaypoint(pod)
    const nativeTunnel = labelOf(pod.labels, TUNNEL_LABEL) === 'http'
    return {
      uid: `${input.clusterId}//Pod/${pod.namespace}/${pod.name}`,
      name: pod.name,
      namespace: pod.namespace,
      addresses: [pod.ip],
      hostname: '',
      network: input.network,
      protocol: pod.enrolled || nativeTunnel ? 'HBONE' : 'TCP',
      trustDomain: input.trustDomain,
      serviceAccount: pod.serviceAccount,
      node: pod.node,
      canonicalName: canonicalNameOf(pod),
      canonicalRevision: canonicalRevisionOf(pod),
      workloadType: 'pod',
      workloadName: workloadNameOf(pod),
      nativeTunnel,
      ...(waypoint !== undefined && { waypoint }),
      services: servicesOf(pod, input, waypoints),
      authorizationPolicies: [
        ...policiesOf(pod, input),
        ...peers.policiesFor(pod),
        ...waypoints.policiesFor(pod),
      ],
      status: pod.ready ? 'Healthy' : 'Unhealthy',
      clusterId: input.clusterId,
      locality: localities.get(pod.node) ?? noLocality,
      networkMode: pod.hostNetwork === true ? 'HostNetwork' : 'Standard',
      capacity: wdsDefaults.capacity,
    }
  }
}

const noLocality: Locality = Object.freeze({ region: '', zone: '', subzone: '' })

/** Locality comes from the node only. */
function localitiesOf({ resources }: DeriveInput): ReadonlyMap<string, Locality> {
  return new Map(
    resources.nodes.map(({ metadata: { name, labels } }) => [
      name,
      {
        region: labelOf(labels, REGION_LABEL) ?? '',
        zone: labelOf(labels, ZONE_LABEL) ?? '',
        subzone: labelOf(labels, SUBZONE_LABEL) ?? '',
      },
    ]),
  )
}

function servicesOf(
  pod: PodStatus,
  { resources, clusterDomain }: DeriveInput,
  waypoints: WaypointPlan,
): ReadonlyMap<string, PortMap> {
  const own = waypoints.ownService(pod)
  const selecting = resources.services.filter(service => selects(service, pod))
  return new Map([
    ...selecting.map(
      service =>
        [
          `${service.metadata.namespace}/${hostnameOf(service, clusterDomain)}`,
          portsOf(service, pod),
        ] as const,
    ),
    ...(own === undefined ? [] : [[own, waypointPorts] as const]),
  ])
}

/** A service without labels to select by has its endpoints from elsewhere. */
function selects({ metadata, spec }: ServiceResource, pod: PodStatus): boolean {
  const { selector = {}, type } = spec
  return (
    type !== 'ExternalName' &&
    metadata.namespace === pod.namespace &&
    Object.keys(selector).length > 0 &&
    matchesLabels(selector, pod.labels)
  )
}

/** A named target port that the pod does not have leaves the port out. */
function portsOf({ spec }: ServiceResource, pod: PodStatus): PortMap {
  const ports = new Map<number, number>()
  for (const { port, targetPort } of spec.ports) {
    const target =
      typeof targetPort === 'number'
        ? targetPort
        : pod.containerPorts.find(({ name }) => name === targetPort)?.port
    if (target !== undefined) ports.set(port, target)
  }
  return ports
}

/** Policies with a selector, of the pod's namespace or of the root namespace. */
function policiesOf(pod: PodStatus, { resources, rootNamespace }: DeriveInput): readonly string[] {
  return resources.authorizationPolicies
    .filter(
      ({ metadata, spec }) =>
        (metadata.namespace === pod.namespace || metadata.namespace === rootNamespace) &&
        (spec.targetRefs?.length ?? 0) === 0 &&
        selectsWorkload(spec.selector, pod.labels),
    )
    .map(({ metadata }) => authorizationKey(metadata))
    .sort()
}
