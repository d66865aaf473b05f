/**
 * The map room's contract: synchronous look-ups over whatever a discovery source has delivered, and a watch.
 * Nothing in the data path waits for the control plane; what is not known now is not known.
 */
import type { PortMap, Service, Workload } from './workload.ts'

/** A workload as an endpoint of one service. */
export interface Endpoint {
  readonly workload: Workload
  /** Service port to target port for this endpoint; overrides the service's own mapping. */
  readonly ports: PortMap
}

/** Keys that were added, changed or removed by one applied update; look them up to see which. */
export interface DirectoryChange {
  /** Workload uids. */
  readonly workloads: readonly string[]
  /** Service keys, `namespace/hostname`. */
  readonly services: readonly string[]
}

/** Read access to workloads and services. Results are immutable snapshots. */
export interface Directory {
  workload(uid: string): Workload | undefined
  /** The workload that owns an address; pods win over other workloads that share it. Host-network ones have none. */
  workloadByAddress(network: string, ip: string): Workload | undefined
  /** Every workload placed on a node; all workloads when `node` is empty. */
  workloadsOnNode(node: string): readonly Workload[]
  /** By VIP: the exact address first, then the best CIDR; as seen from a namespace (visibility, preference). */
  serviceByVip(network: string, ip: string, fromNamespace: string): Service | undefined
  /** By host name as seen from a namespace: its own, then the canonical one, then any. */
  serviceByHostname(hostname: string, fromNamespace: string): Service | undefined
  service(namespace: string, hostname: string): Service | undefined
  /** Endpoints that may take traffic under the service's health policy. */
  endpoints(service: Service): readonly Endpoint[]
  /** Called after each applied update. Returns the function that ends the watch. */
  watch(listener: (change: DirectoryChange) => void): () => void
}
