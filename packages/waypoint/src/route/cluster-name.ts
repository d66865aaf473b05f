/** Names of clusters as Istio's access log and metrics have them. */
import type { ClusterRef } from './ir.ts'

/** `inbound-vip`: of a service behind this waypoint; `outbound`: of any other. */
export function clusterName(
  { hostname, port, subset }: ClusterRef,
  direction: 'inbound-vip' | 'outbound',
  protocol: 'http' | 'tcp',
): string {
  if (direction === 'outbound') return `outbound|${port}|${subset ?? ''}|${hostname}`
  return `inbound-vip|${port}|${subset === undefined ? protocol : `${protocol}/${subset}`}|${hostname}`
}
