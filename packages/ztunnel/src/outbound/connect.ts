/** Executes a decided route: a plain TCP connection, or a tunnel from the pool; both come back as a channel. */
import type { Channel, CredentialsSource, Workload } from '@ambient/core'
import { type Dial, socketChannel } from '@ambient/core/node'
import { workloadIdentity } from '@ambient/core/proxy'
import { formatForwarded, type HbonePool, type TunnelPeer } from '@ambient/hbone'
import { defaults } from '../defaults.ts'
import { ZtunnelError } from '../errors.ts'
import { formatProxyHeader } from '../proxy-protocol.ts'
import { workloadBaggage } from '../baggage.ts'
import type { Route, Target } from './route.ts'

export interface ConnectContext {
  readonly pool: HbonePool
  readonly credentials: CredentialsSource
  readonly dial: Dial
  readonly trustDomain: string
  /** Bound as source of what we open; `undefined` leaves it to the system. */
  readonly sourceAddress: string | undefined
}

export interface Connected {
  readonly channel: Channel
  /** Who the other end of a tunnel proved to be. */
  readonly peer: TunnelPeer | undefined
}

export interface ConnectDetails {
  readonly source: Workload
  /** The application's socket. */
  readonly client: Target
  readonly traceparent: string
  readonly signal: AbortSignal
}

/** Rejects with the error of the layer that failed; the channel belongs to the caller. */
export async function connectRoute(
  context: ConnectContext,
  route: Exclude<Route, { kind: 'refused' }>,
  details: ConnectDetails,
): Promise<Connected> {
  switch (route.kind) {
    case 'tunnel':
      return connectTunnel(context, route, details)
    case 'gateway':
      throw new ZtunnelError(
        'AMBIENT_E_NO_ROUTE',
        `${route.authority} is on another network, and tunnels through gateways are not supported yet`,
        { layer: 'hbone' },
      )
    default:
      return connectPlain(context, route, details)
  }
}

async function connectTunnel(
  context: ConnectContext,
  route: Extract<Route, { kind: 'tunnel' }>,
  details: ConnectDetails,
): Promise<Connected> {
  const id = workloadIdentity(details.source, context.trustDomain)
  if (id === undefined)
    throw new ZtunnelError('AMBIENT_E_UNKNOWN_WORKLOAD', `${details.source.uid} has no valid SPIFFE ID`, {
      layer: 'identity',
    })
  const credentials = await context.credentials.get(id, { signal: details.signal })
  const tunnel = await context.pool.connect({
    credentials,
    to: route.to,
    expect: route.expect,
    authority: route.authority,
    headers: [
      ['baggage', workloadBaggage(details.source)],
      [
        'forwarded',
        formatForwarded({
          ...details.client,
          ...(route.service === undefined ? {} : { host: route.service.hostname }),
        }),
      ],
      ['traceparent', details.traceparent],
    ],
    signal: details.signal,
    ...(context.sourceAddress === undefined ? {} : { localAddress: context.sourceAddress }),
  })
  return { channel: tunnel.channel, peer: tunnel.peer }
}

async function connectPlain(
  context: ConnectContext,
  route: Extract<Route, { kind: 'passthrough' | 'plaintext' }>,
  details: ConnectDetails,
): Promise<Connected> {
  const socket = await context.dial({
    host: route.to.address,
    port: route.to.port,
    timeoutMs: defaults.connectTimeoutMs,
    signal: details.signal,
    ...(context.sourceAddress === undefined ? {} : { localAddress: context.sourceAddress }),
  })
  socket.on('error', () => {})
  if (route.kind === 'plaintext' && route.announce !== undefined)
    socket.write(formatProxyHeader({ source: details.client, destination: route.announce }))
  return { channel: socketChannel(socket), peer: undefined }
}
