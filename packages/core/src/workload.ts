/**
 * Workloads and services as readonly data: what istiod's WDS (`istio.workload.Address`) says of them, in our own
 * words. Addresses are canonical text; absent strings are empty, as in proto3.
 */
import { type SpiffeId, workloadSpiffeId } from './spiffe-id.ts'

/** How to reach a workload: plaintext TCP or an HBONE tunnel to its port 15008. */
export type TunnelProtocol = 'TCP' | 'HBONE'
export type WorkloadStatus = 'Healthy' | 'Unhealthy'
export type NetworkMode = 'Standard' | 'HostNetwork'
export type WorkloadType = 'deployment' | 'cronjob' | 'pod' | 'job'

export interface Locality {
  readonly region: string
  readonly zone: string
  readonly subzone: string
}

/** An address in a network; the same IP may exist in several networks. */
export interface NetworkAddress {
  readonly network: string
  readonly ip: string
}

export interface NamespacedHostname {
  readonly namespace: string
  readonly hostname: string
}

/** Where a waypoint or an east-west gateway listens for HBONE. */
export interface GatewayAddress {
  readonly destination:
    | ({ readonly kind: 'address' } & NetworkAddress)
    | ({ readonly kind: 'hostname' } & NamespacedHostname)
  readonly hboneMtlsPort: number
}

/** Service port to target port; target port 0 means a named port that each endpoint maps itself. */
export type PortMap = ReadonlyMap<number, number>

/** What a service port speaks, where its service says so: `appProtocol`, or the prefix of the port's name. */
export type AppProtocol = 'HTTP11' | 'HTTP2' | 'GRPC' | 'TCP' | 'TLS'

export interface ApplicationTunnel {
  readonly protocol: 'NONE' | 'PROXY'
  /** 0: keep the port of the request. */
  readonly port: number
}

export interface Workload {
  /** Primary key, `CLUSTER//Pod/NAMESPACE/NAME` for pods. */
  readonly uid: string
  readonly name: string
  readonly namespace: string
  readonly addresses: readonly string[]
  /** DNS name to resolve on demand when there are no addresses; usually empty. */
  readonly hostname: string
  readonly network: string
  readonly protocol: TunnelProtocol
  readonly trustDomain: string
  readonly serviceAccount: string
  readonly waypoint?: GatewayAddress
  readonly networkGateway?: GatewayAddress
  readonly node: string
  readonly canonicalName: string
  readonly canonicalRevision: string
  readonly workloadType: WorkloadType
  readonly workloadName: string
  readonly nativeTunnel: boolean
  readonly applicationTunnel?: ApplicationTunnel
  /** The services that this workload is an endpoint of, by `namespace/hostname`. */
  readonly services: ReadonlyMap<string, PortMap>
  /** Selector policies that apply, by `namespace/name`. */
  readonly authorizationPolicies: readonly string[]
  readonly status: WorkloadStatus
  readonly clusterId: string
  readonly locality: Locality
  readonly networkMode: NetworkMode
  /** Load-balancing weight, 1 when not set. */
  readonly capacity: number
}

export type LoadBalancingScope = 'Region' | 'Zone' | 'Subzone' | 'Node' | 'Cluster' | 'Network'
export type LoadBalancingMode = 'Standard' | 'Strict' | 'Failover' | 'Passthrough'

export interface LoadBalancing {
  readonly routingPreferences: readonly LoadBalancingScope[]
  readonly mode: LoadBalancingMode
  readonly healthPolicy: 'OnlyHealthy' | 'AllowAll'
}

export interface CidrVip {
  readonly network: string
  readonly cidr: string
}

export interface WeightedWaypoint {
  readonly destination: GatewayAddress
  readonly weight: number
}

export interface Service {
  readonly name: string
  readonly namespace: string
  readonly hostname: string
  readonly vips: readonly NetworkAddress[]
  readonly cidrVips: readonly CidrVip[]
  readonly ports: PortMap
  /** By service port; a port without an entry did not say, and a waypoint finds out by looking. */
  readonly appProtocols?: ReadonlyMap<number, AppProtocol>
  /** SPIFFE IDs, as text, that endpoints may prove beside their own. */
  readonly subjectAltNames: readonly string[]
  readonly waypoint?: GatewayAddress
  readonly weightedWaypoints: readonly WeightedWaypoint[]
  readonly loadBalancer: LoadBalancing
  readonly ipFamilies: 'Automatic' | 'IPv4' | 'IPv6' | 'Dual'
  /** A Kubernetes Service always; of several ServiceEntries with one host, the oldest. */
  readonly canonical: boolean
  readonly visibility: 'Public' | 'Namespace'
}

/** `namespace/hostname`, the resource name of a service. */
export function serviceKey(service: NamespacedHostname): string {
  return `${service.namespace}/${service.hostname}`
}

/**
 * The identity that a workload proves on HBONE.
 * @throws CoreError `AMBIENT_E_SPIFFE_ID` when its namespace or service account cannot be part of an ID.
 */
export function identityOf(workload: Workload): SpiffeId {
  return workloadSpiffeId(workload)
}
