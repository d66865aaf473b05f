/** Source, gateway and far end over TCP and mTLS, for tests of HBONE in HBONE. */
import { pump, type Channel, type Credentials } from '@ambient/core'
import { dial, type Listener, listen, socketChannel } from '@ambient/core/node'
import {
  createDoubleHbonePool,
  createHbonePool,
  createHboneServer,
  type DoubleConnectRequest,
  type DoubleHbonePool,
  type HbonePool,
  type HboneServer,
  type HboneServerOptions,
  type Tunnel,
  type TunnelRequest,
} from '@ambient/hbone'
import { db, identities, later, web } from './harness.ts'

export const gateway: Credentials = await identities.credentials({
  namespace: 'istio',
  serviceAccount: 'eastwest',
})

export interface World {
  readonly far: HboneServer
  readonly farPort: Listener
  readonly gate: HboneServer
  readonly outer: HbonePool
  readonly inner: DoubleHbonePool
  readonly outerRequests: TunnelRequest[]
  readonly innerRequests: TunnelRequest[]
  readonly carriers: Channel[]
  /** Cuts what the gateway passes on. */
  readonly breaker: AbortController
  request(over?: Partial<DoubleConnectRequest>): DoubleConnectRequest
  connect(over?: Partial<DoubleConnectRequest>): Promise<Tunnel>
}

/** Source → gateway → far end, each over TCP; the gateway knows nothing but the outer CONNECT. */
export async function world(
  options: {
    onTunnel?: HboneServerOptions['onTunnel']
    passOn?: (request: TunnelRequest, far: Listener) => void | Promise<void>
    far?: Partial<HboneServerOptions>
    inner?: Partial<Parameters<typeof createDoubleHbonePool>[0]>
  } = {},
): Promise<World> {
  const outerRequests: TunnelRequest[] = []
  const innerRequests: TunnelRequest[] = []
  const carriers: Channel[] = []
  const breaker = new AbortController()
  const far = createHboneServer({
    credentials: () => db,
    ...options.far,
    onTunnel: request => {
      innerRequests.push(request)
      return (options.onTunnel ?? echo)(request)
    },
  })
  const farPort = await listen({ host: '127.0.0.1', port: 0, onConnection: socket => far.accept(socket) })
  const passOn = async (request: TunnelRequest): Promise<void> => {
    const socket = await dial({ host: '127.0.0.1', port: farPort.port, timeoutMs: 1_000 })
    const channel = request.accept()
    carriers.push(channel)
    await pump(channel, socketChannel(socket), { signal: breaker.signal })
  }
  const gate = createHboneServer({
    credentials: () => gateway,
    onTunnel: request => {
      outerRequests.push(request)
      return options.passOn === undefined ? passOn(request) : options.passOn(request, farPort)
    },
  })
  const gatePort = await listen({ host: '127.0.0.1', port: 0, onConnection: socket => gate.accept(socket) })
  const outer = createHbonePool()
  const inner = createDoubleHbonePool({ outer, ...options.inner })
  later(async () => {
    await inner.close({ graceMs: 0 })
    await outer.close({ graceMs: 0 })
    await Promise.all([gatePort.close(), farPort.close()])
    await gate.close({ graceMs: 0 })
    await far.close({ graceMs: 0 })
  })
  const request = (over: Partial<DoubleConnectRequest> = {}): DoubleConnectRequest => ({
    credentials: web,
    to: { address: '127.0.0.1', port: gatePort.port },
    expect: [db.id],
    gateway: { expect: [gateway.id], headers: [['baggage', 'outer']] },
    authority: 'db.shop.svc.cluster.local:5432',
    headers: [
      ['baggage', 'k8s.cluster.name=one'],
      ['x-forwarded-network', ''],
    ],
    ...over,
  })
  const connect = (over?: Partial<DoubleConnectRequest>): Promise<Tunnel> => inner.connect(request(over))
  return {
    far,
    farPort,
    gate,
    outer,
    inner,
    outerRequests,
    innerRequests,
    carriers,
    breaker,
    request,
    connect,
  }
}

export function echo(request: TunnelRequest): void {
  const channel = request.accept([['baggage', 'service.name=db']])
  channel.start({
    data: bytes => channel.write(bytes),
    end: () => channel.end(),
    drained() {},
    finished() {},
    reset() {},
  })
}

export async function talk(tunnel: Tunnel, text: string): Promise<string> {
  const socket = tunnel.socket()
  socket.end(text)
  const parts: Buffer[] = []
  for await (const part of socket) parts.push(part)
  return String(Buffer.concat(parts))
}
