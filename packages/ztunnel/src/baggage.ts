/** How a workload describes itself to the other end of a tunnel. */
import type { Workload } from '@ambient/core'
import { formatBaggage } from '@ambient/hbone'

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
