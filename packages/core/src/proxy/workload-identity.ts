/** The identity of a workload, with Istio's defaults for what is left out. */
import { type SpiffeId, workloadSpiffeId } from '../spiffe-id.ts'
import type { Workload } from '../workload.ts'

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
