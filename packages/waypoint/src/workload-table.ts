/** Routes of traffic that was addressed to a workload and not to a service: none but the one to where it was going. */
import type { Workload } from '@ambient/core'
import { noEdits, type RouteTable } from './route/ir.ts'
import { noRetry } from './route/retry.ts'

/** Its cluster is the address itself, for whichever port. */
export function workloadTable(
  workload: Workload,
  destination: { readonly address: string; readonly port: number },
): RouteTable {
  const origin = { kind: 'implicit', resource: '' } as const
  const cluster = {
    namespace: workload.namespace,
    hostname: destination.address,
    port: destination.port,
    subset: undefined,
  }
  const destinations = [
    {
      weight: 1,
      backend: { kind: 'cluster', cluster } as const,
      requestHeaders: noEdits,
      responseHeaders: noEdits,
    },
  ]
  return {
    http: [
      {
        name: 'default',
        origin,
        matches: () => true,
        action: { kind: 'forward', destinations, rewrite: undefined },
        requestHeaders: noEdits,
        responseHeaders: noEdits,
        fault: undefined,
        mirrors: [],
        timeoutMs: undefined,
        retry: noRetry,
        matchedPrefix: '/',
      },
    ],
    tcp: [{ name: 'default', origin, destinations }],
    problems: [],
  }
}
