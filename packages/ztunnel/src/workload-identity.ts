/** How a workload presents itself: the identity it proves, the baggage it sends. */
import { type SpiffeId, type Workload, workloadSpiffeId } from '@ambient/core'
import { formatBaggage } from '@ambient/hbone'

/**
 * Kinder than core's `identityOf`: what a local file leaves out gets Istio's default. `undefined` when the names cannot
 * be part of a SPIFFE ID.
 */
export function workloadIdentity(workload: Workload, defaultTrustDomain: string): SpiffeId | undefined {
  try {
    return workloadSpiffeId({
      trustDomain: workload.trustDomain === '' ? defaultTrustDomain : workload.trustDomain,
      namespace: workload.namespace,
      serviceAccount: workload.serviceAccount === '' ? 'default' : workload.serviceAccount,
    })
  } catch {
    return undefined
  }
}

/** The `baggage` header that describes a workload. */
export function workloadBaggage(workload: Workload): string {
  return formatBaggage({
    clusterId: workload.clusterId,
    namespace: workload.namespace,
    workloadType: workload.workloadType,
    workloadName: workload.workloadName,
    canonicalName: workload.canonicalName,
    canonicalRevision: workload.canonicalRevision,
    region: workload.locality.region,
    zone: workload.locality.zone,
  })
}
