/** Which endpoint of a cluster takes the next request, and how many it has. */
import { type Balancer, createBalancer, type Lease } from '../route/balancer.ts'
import type { ResolvedCluster } from '../route/endpoints.ts'
import type { ClusterRef } from '../route/ir.ts'

export interface EndpointChooser {
  /** `tried` by key: one of those is taken only when there is no other. */
  choose(cluster: ClusterRef, tried: ReadonlySet<string>): Lease | undefined
}

export function createEndpointChooser(
  resolve: (cluster: ClusterRef) => ResolvedCluster,
  random: () => number,
): EndpointChooser {
  const balancer: Balancer = createBalancer(random)
  return { choose: (cluster, tried) => balancer.pick(resolve(cluster), tried) }
}
