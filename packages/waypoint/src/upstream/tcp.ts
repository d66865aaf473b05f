/** A TCP connection to an endpoint of a cluster. While none is made, no byte has moved: others may be asked. */
import { upstreamLimits } from '../limits.ts'
import type { ClusterEndpoint } from '../route/endpoints.ts'
import type { EndpointChooser } from './endpoints.ts'
import { type AttemptFailure, attemptFailure, failed } from './failure.ts'
import { type Link, type LinkOptions, type LinkRequest, openLink, whileWanted } from './link.ts'
import type { TcpOrder, TcpResult } from './order.ts'

/** Never rejects. `abandoned`: on their way for nobody. */
export async function connectEndpoint(
  options: LinkOptions,
  chooser: EndpointChooser,
  abandoned: Set<Promise<Link>>,
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
      const link = await open(options, abandoned, {
        cluster,
        endpoint,
        signal,
        traceparent: order.traceparent,
      })
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

/** A caller that goes leaves the opening alone: when it is done, it is ended as a connection is that nobody used. */
async function open(
  options: LinkOptions,
  abandoned: Set<Promise<Link>>,
  request: LinkRequest,
): Promise<Link> {
  const { signal } = request
  if (abandoned.size >= upstreamLimits.maxAbandonedTcp) return openLink(options, request)
  const opening = openLink(options, { ...request, signal: options.lifetime })
  try {
    return await whileWanted(opening, signal)
  } catch (error) {
    if (signal.aborted) {
      abandoned.add(opening)
      opening
        .then(
          link => endUnused(link),
          () => {},
        )
        .finally(() => abandoned.delete(opening))
    }
    throw error
  }
}

function endUnused(link: Link): void {
  const socket = link.socket()
  socket.on('error', () => {})
  socket.destroySoon()
}
