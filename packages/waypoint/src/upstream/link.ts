/** One connection to one endpoint: a tunnel to its ztunnel with the waypoint's own identity, or plain TCP. */
import {
  type Channel,
  type CredentialsSource,
  type Directory,
  formatHostPort,
  identityOf,
  readSpiffeId,
  type SpiffeId,
} from '@ambient/core'
import { type Dial, socketChannel } from '@ambient/core/node'
import { createTunnelSocket, type HbonePool, type TunnelSocket } from '@ambient/hbone'
import { upstreamLimits } from '../limits.ts'
import type { ClusterEndpoint } from '../route/endpoints.ts'
import type { ClusterRef } from '../route/ir.ts'

export interface LinkOptions {
  readonly pool: Pick<HbonePool, 'connect'>
  readonly credentials: CredentialsSource
  /** The waypoint itself. */
  readonly self: SpiffeId
  readonly directory: Directory
  readonly dial: Dial
  /** Bound as source of what we open. */
  readonly localAddress: string | undefined
  /** Who the waypoint is, for the telemetry of the other end. */
  readonly baggage: string
  /** Aborted when connections that are on their way are for nobody any more. */
  readonly lifetime: AbortSignal
}

export interface Link {
  readonly channel: Channel
  /** The channel as a stream. Use one of the two, once. */
  socket(): TunnelSocket
  /** Aborted when nothing new should be sent; `undefined` for a plain connection. */
  readonly draining: AbortSignal | undefined
}

export interface LinkRequest {
  readonly cluster: ClusterRef
  readonly endpoint: ClusterEndpoint
  readonly traceparent: string | undefined
  readonly signal: AbortSignal
}

/** Everything that connections to an endpoint must have in common to stand for one another. */
export function linkKey(options: LinkOptions, cluster: ClusterRef, endpoint: ClusterEndpoint): string {
  const generation = endpoint.hbone ? options.credentials.current(options.self)?.generation : undefined
  const ids = endpoint.hbone ? expected(options.directory, cluster, endpoint).map(id => id.uri) : []
  return JSON.stringify([endpoint.workload.uid, endpoint.address, endpoint.port, generation, ids])
}

/** Rejects with the error of the layer that failed, or with the signal's reason. */
export function openLink(options: LinkOptions, request: LinkRequest): Promise<Link> {
  return request.endpoint.hbone ? openTunnel(options, request) : openPlain(options, request)
}

/**
 * The same, for as long as `signal` allows; the opening itself goes on. A CONNECT that is taken back is a reset on a session
 * that others share, and a ztunnel ends a session with too many of those.
 */
export function whileWanted<Result>(opening: Promise<Result>, signal: AbortSignal): Promise<Result> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason)
    if (signal.aborted) onAbort()
    else signal.addEventListener('abort', onAbort, { once: true })
    opening.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}

async function openTunnel(options: LinkOptions, request: LinkRequest): Promise<Link> {
  const { endpoint, signal, traceparent } = request
  const credentials = await options.credentials.get(options.self, { signal })
  const tunnel = await options.pool.connect({
    credentials,
    to: { address: endpoint.address, port: upstreamLimits.hbonePort },
    expect: expected(options.directory, request.cluster, endpoint),
    authority: formatHostPort(endpoint.address, endpoint.port),
    headers: [
      ['baggage', options.baggage],
      ...(traceparent === undefined ? [] : [['traceparent', traceparent] as const]),
    ],
    signal,
    ...(options.localAddress === undefined ? {} : { localAddress: options.localAddress }),
  })
  return { channel: tunnel.channel, socket: () => tunnel.socket(), draining: tunnel.draining }
}

async function openPlain(options: LinkOptions, request: LinkRequest): Promise<Link> {
  const { address, port } = request.endpoint
  const socket = await options.dial({
    host: address,
    port,
    timeoutMs: upstreamLimits.connectMs,
    signal: request.signal,
    ...(options.localAddress === undefined ? {} : { localAddress: options.localAddress }),
  })
  socket.on('error', () => {})
  const facts = {
    remoteAddress: address,
    remotePort: port,
    localAddress: socket.localAddress ?? '',
    localPort: socket.localPort ?? 0,
  }
  // A channel knows a cut connection from an ended one, which a socket alone does not (see `confirmEnd` of core).
  const channel = socketChannel(socket)
  return { channel, socket: () => createTunnelSocket(channel, facts), draining: undefined }
}

/** The endpoint's own identity, and what its service says that endpoints may prove beside it. */
function expected(directory: Directory, cluster: ClusterRef, endpoint: ClusterEndpoint): readonly SpiffeId[] {
  const names = directory.service(cluster.namespace, cluster.hostname)?.subjectAltNames ?? []
  const ids = names.map(readSpiffeId).flatMap(read => (read.ok ? [read.id] : []))
  return [identityOf(endpoint.workload), ...ids]
}
