/** Which endpoints a cluster has now, and how one of them is to be chosen. */
import { type Directory, ipToBytes, type Service, serviceKey, type Workload } from '@ambient/core'
import type { ConnectionPool, DestinationRuleResource, SimpleLoadBalancer } from '@ambient/discovery'
import { findSubset, policyFor, rulesFor } from './destination-rules.ts'
import type { ClusterRef } from './ir.ts'

export interface ClusterEndpoint {
  /** Of the endpoint within its cluster: workload and port. */
  readonly key: string
  readonly workload: Workload
  /** An IP address, or a host name for a workload that has only one. */
  readonly address: string
  /** Target port. */
  readonly port: number
  /** Through a tunnel; otherwise in plaintext. */
  readonly hbone: boolean
}

export interface ResolvedCluster {
  readonly cluster: ClusterRef
  /** One text for each cluster. */
  readonly key: string
  /** `undefined` when it has gone since the route was compiled. */
  readonly service: Service | undefined
  /** Those that may take requests; none means 503 `UH`. */
  readonly endpoints: readonly ClusterEndpoint[]
  readonly loadBalancer: SimpleLoadBalancer
  readonly connectionPool: ConnectionPool | undefined
}

export interface ClusterConfig {
  readonly destinationRules: readonly DestinationRuleResource[]
  /** Subsets go by labels of pods, which the directory does not have. */
  podLabels(namespace: string, name: string): Readonly<Record<string, string>> | undefined
}

export interface ClusterQuestion {
  readonly cluster: ClusterRef
  readonly directory: Directory
  readonly config: ClusterConfig
  /** The waypoint's, whose DestinationRules come first; the service's own when absent. */
  readonly gatewayNamespace?: string
}

/** An unknown service, subset or port has no endpoints. */
export function resolveCluster(question: ClusterQuestion): ResolvedCluster {
  const { cluster, directory, config, gatewayNamespace = cluster.namespace } = question
  const service = directory.service(cluster.namespace, cluster.hostname)
  const { destinationRules } = config
  const found = rulesFor({ destinationRules, service: cluster, gatewayNamespace })
  const subset = cluster.subset === undefined ? undefined : findSubset(found, cluster.subset)
  const isKnown = service !== undefined && (cluster.subset === undefined || subset !== undefined)
  const policy = policyFor(found, subset, cluster.port)
  return {
    cluster,
    key: clusterKey(cluster),
    service,
    endpoints: isKnown ? endpointsOf(service, subset?.labels, question) : [],
    loadBalancer: policy.loadBalancer?.simple ?? 'LEAST_REQUEST',
    connectionPool: policy.connectionPool,
  }
}

export function clusterKey(cluster: ClusterRef): string {
  return `${serviceKey(cluster)}|${cluster.port}|${cluster.subset ?? ''}`
}

function endpointsOf(
  service: Service,
  labels: Readonly<Record<string, string>> | undefined,
  { cluster, directory, config }: ClusterQuestion,
): readonly ClusterEndpoint[] {
  return directory.endpoints(service).flatMap(({ workload, ports }) => {
    if (labels !== undefined && !hasLabels(workload, labels, config)) return []
    const address = addressOf(workload, service)
    const port = targetPort(cluster.port, ports, service)
    if (address === undefined || port === undefined) return []
    return { key: `${workload.uid}:${port}`, workload, address, port, hbone: workload.protocol === 'HBONE' }
  })
}

function hasLabels(
  { namespace, name }: Workload,
  wanted: Readonly<Record<string, string>>,
  config: ClusterConfig,
): boolean {
  const entries = Object.entries(wanted)
  if (entries.length === 0) return true
  const labels = config.podLabels(namespace, name)
  return labels !== undefined && entries.every(([key, value]) => labels[key] === value)
}

/** The endpoint's own mapping, then the service's; 0 is a named port that this endpoint does not have. */
function targetPort(
  servicePort: number,
  ofEndpoint: ReadonlyMap<number, number>,
  service: Service,
): number | undefined {
  if (!service.ports.has(servicePort)) return undefined
  const port = ofEndpoint.get(servicePort) || service.ports.get(servicePort)
  return port === 0 ? undefined : port
}

function addressOf(workload: Workload, { ipFamilies }: Service): string | undefined {
  const length = ipFamilies === 'IPv4' ? 4 : ipFamilies === 'IPv6' ? 16 : undefined
  const address =
    length === undefined
      ? workload.addresses[0]
      : workload.addresses.find(ip => ipToBytes(ip)?.length === length)
  return (
    address ?? (workload.addresses.length === 0 && workload.hostname !== '' ? workload.hostname : undefined)
  )
}
