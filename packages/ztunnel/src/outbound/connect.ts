/** Executes a decided route: a plain TCP connection, a tunnel, or a tunnel within a gateway's; each comes back as a channel. */
import type { Channel, Credentials, CredentialsSource, Workload } from '@ambient/core'
import { type Dial, socketChannel } from '@ambient/core/node'
import { workloadIdentity } from '@ambient/core/proxy'
import {
  type DoubleHbonePool,
  formatForwarded,
  formatProxyHeader,
  type HbonePool,
  type HeaderList,
  type Tunnel,
} from '@ambient/hbone'
import { defaults } from '../defaults.ts'
import { ZtunnelError } from '../errors.ts'
import { workloadBaggage } from '../baggage.ts'
import type { Route, Target } from './route.ts'

export interface ConnectContext {
  readonly pool: HbonePool
  /** Through gateways, to other networks. */
  readonly gatewayPool: DoubleHbonePool
  /** Our own network. */
  readonly network: string
  readonly credentials: CredentialsSource
  readonly dial: Dial
  readonly trustDomain: string
  /** Bound as source of what we open; `undefined` leaves it to the system. */
  readonly sourceAddress: string | undefined
}

export interface Connected {
  readonly channel: Channel
  /** What it is the channel of, unless it is plaintext: has the proven peer. */
  readonly tunnel: Pick<Tunnel, 'peer' | 'responseHeaders'> | undefined
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
      return connectThroughGateway(context, route, details)
    default:
      return connectPlain(context, route, details)
  }
}

async function connectTunnel(
  context: ConnectContext,
  route: Extract<Route, { kind: 'tunnel' }>,
  details: ConnectDetails,
): Promise<Connected> {
  const tunnel = await context.pool.connect({
    credentials: await ownCredentials(context, details),
    to: route.to,
    expect: route.expect,
    authority: route.authority,
    headers: headersOf(route, details),
    signal: details.signal,
    ...(context.sourceAddress === undefined ? {} : { localAddress: context.sourceAddress }),
  })
  return { channel: tunnel.channel, tunnel }
}

/** Both CONNECTs say the same, and the inner one from which network it comes, be that without a name. */
async function connectThroughGateway(
  context: ConnectContext,
  route: Extract<Route, { kind: 'gateway' }>,
  details: ConnectDetails,
): Promise<Connected> {
  const headers = headersOf(route, details)
  const tunnel = await context.gatewayPool.connect({
    credentials: await ownCredentials(context, details),
    to: route.to,
    gateway: { expect: route.gateway, headers },
    expect: route.expect,
    authority: route.authority,
    headers: [...headers, ['x-forwarded-network', context.network]],
    backends: route.backends,
    signal: details.signal,
    ...(context.sourceAddress === undefined ? {} : { localAddress: context.sourceAddress }),
  })
  return { channel: tunnel.channel, tunnel }
}

async function ownCredentials(context: ConnectContext, details: ConnectDetails): Promise<Credentials> {
  const id = workloadIdentity(details.source, context.trustDomain)
  if (id === undefined)
    throw new ZtunnelError('AMBIENT_E_UNKNOWN_WORKLOAD', `${details.source.uid} has no valid SPIFFE ID`, {
      layer: 'identity',
    })
  return context.credentials.get(id, { signal: details.signal })
}

function headersOf(
  route: Extract<Route, { kind: 'tunnel' | 'gateway' }>,
  details: ConnectDetails,
): HeaderList {
  const host = route.service === undefined ? {} : { host: route.service.hostname }
  return [
    ['baggage', workloadBaggage(details.source)],
    ['forwarded', formatForwarded({ ...details.client, ...host })],
    ['traceparent', details.traceparent],
  ]
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
    socket.write(formatProxyHeader({ addresses: { source: details.client, destination: route.announce } }))
  return { channel: socketChannel(socket), tunnel: undefined }
}
