/** A TCP connection to an endpoint of a cluster. While none is made, no byte has moved: others may be asked. */
import { upstreamLimits } from '../limits.ts'
import type { ClusterEndpoint } from '../route/endpoints.ts'
import type { EndpointChooser } from './endpoints.ts'
import { type AttemptFailure, attemptFailure, failed } from './failure.ts'
import { type LinkOptions, openLink } from './link.ts'
import type { TcpOrder, TcpResult } from './order.ts'

/** Never rejects. */
export async function connectEndpoint(
  options: LinkOptions,
  chooser: EndpointChooser,
  order: TcpOrder,
): Promise<TcpResult> {
  const { cluster, signal } = order
  const tried = new Set<string>()
  let failure: AttemptFailure = attemptFailure('no-endpoint')
  let endpoint: ClusterEndpoint | undefined
  for (let attempts = 1; attempts <= upstreamLimits.tcpConnectAttempts; attempts++) {
    const chosen = chooser.choose(cluster, tried)
    if (chosen === undefined || tried.has(chosen.endpoint.key)) {
      chosen?.release()
      break
    }
    endpoint = chosen.endpoint
    tried.add(endpoint.key)
    try {
      const link = await openLink(options, { cluster, endpoint, signal, traceparent: order.traceparent })
      return { kind: 'connected', channel: link.channel, endpoint, attempts, release: () => chosen.release() }
    } catch (error) {
      chosen.release()
      if (signal.aborted) {
        failure = attemptFailure('caller-gone')
        break
      }
      failure = attemptFailure('connect-failure', error)
    }
  }
  const isExhausted = tried.size === upstreamLimits.tcpConnectAttempts
  return failed(failure, { endpoint, attempts: tried.size, isExhausted })
}
