/** A Kubernetes Service to what ztunnel knows of it. */
import type { LoadBalancing, LoadBalancingScope, Service } from '@ambient/core'
import type { NamespaceResource, ServiceResource } from '../resources/types.ts'
import { appProtocolsOf } from './app-protocols.ts'
import type { DeriveInput } from './derive.ts'
import type { WaypointPlan } from './derive-waypoints.ts'

/** The field's predecessor, on the service or for a whole namespace. */
const DISTRIBUTION_ANNOTATION = 'networking.istio.io/traffic-distribution'
const SAME_ZONE: readonly LoadBalancingScope[] = ['Network', 'Region', 'Zone']
const SAME_NODE: readonly LoadBalancingScope[] = [...SAME_ZONE, 'Subzone', 'Node']

/** `undefined` for an ExternalName: ztunnel is told nothing of those. */
export function deriveService(
  service: ServiceResource,
  input: DeriveInput,
  waypoints: Pick<WaypointPlan, 'serviceWaypoint'>,
): Service | undefined {
  const { metadata, spec } = service
  if (spec.type === 'ExternalName') return undefined
  const ips = spec.headless
    ? []
    : (input.clusterIps.get(`${metadata.namespace}/${metadata.name}`) ?? spec.clusterIps)
  const waypoint = waypoints.serviceWaypoint(service)
  return {
    name: metadata.name,
    namespace: metadata.namespace,
    hostname: hostnameOf(service, input.clusterDomain),
    vips: ips.map(ip => ({ network: input.network, ip })),
    cidrVips: [],
    ports: new Map(
      spec.ports.map(({ port, targetPort }) => [port, typeof targetPort === 'number' ? targetPort : 0]),
    ),
    appProtocols: appProtocolsOf(service),
    subjectAltNames: [],
    ...(waypoint !== undefined && { waypoint }),
    weightedWaypoints: [],
    loadBalancer: {
      ...preferences(service, input),
      healthPolicy: spec.publishNotReadyAddresses ? 'AllowAll' : 'OnlyHealthy',
    },
    ipFamilies: familiesOf(service),
    canonical: true,
    visibility: 'Public',
  }
}

/** `reviews.shop.svc.cluster.local` */
export function hostnameOf({ metadata }: ServiceResource, clusterDomain: string): string {
  return `${metadata.name}.${metadata.namespace}.svc.${clusterDomain}`
}

function familiesOf({ spec }: ServiceResource): Service['ipFamilies'] {
  const [first, second] = spec.ipFamilies
  if (first === undefined) return 'Automatic'
  return second === undefined ? first : 'Dual'
}

function preferences(
  service: ServiceResource,
  { resources }: DeriveInput,
): Pick<LoadBalancing, 'mode' | 'routingPreferences'> {
  if (service.spec.internalTrafficPolicy === 'Local') return { mode: 'Strict', routingPreferences: ['Node'] }
  const namespace = resources.namespaces.find(({ metadata }) => metadata.name === service.metadata.namespace)
  switch (distributionOf(service, namespace)) {
    case 'preferclose':
    case 'prefersamezone':
      return { mode: 'Failover', routingPreferences: SAME_ZONE }
    case 'prefersamenode':
      return { mode: 'Failover', routingPreferences: SAME_NODE }
    default:
      return { mode: 'Standard', routingPreferences: [] }
  }
}

/** Field, annotation, the namespace's annotation; one with an unknown value hides those behind it. */
function distributionOf(
  service: ServiceResource,
  namespace: NamespaceResource | undefined,
): string | undefined {
  const written =
    service.spec.trafficDistribution ??
    service.metadata.annotations[DISTRIBUTION_ANNOTATION] ??
    namespace?.metadata.annotations[DISTRIBUTION_ANNOTATION]
  return written?.toLowerCase()
}
