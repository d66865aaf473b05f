/** HBONE in HBONE: bytes, identities, sharing and endings through both layers, with a gateway that passes bytes on. */
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { pump, type Channel, type Credentials } from '@ambient/core'
import { dial, type Listener, listen, socketChannel } from '@ambient/core/node'
import {
  createDoubleHbonePool,
  createHbonePool,
  createHboneServer,
  createTunnelSocket,
  type DoubleConnectRequest,
  type DoubleHbonePool,
  type HbonePool,
  type HboneServer,
  type HboneServerOptions,
  type Tunnel,
  type TunnelRequest,
} from '@ambient/hbone'
import { describe, expect, it } from 'vitest'
import { db, deferred, emptied, failure, identities, later, web } from './harness.ts'

const gateway: Credentials = await identities.credentials({ namespace: 'istio', serviceAccount: 'eastwest' })

interface World {
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
async function world(
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

function echo(request: TunnelRequest): void {
  const channel = request.accept([['baggage', 'service.name=db']])
  channel.start({
    data: bytes => channel.write(bytes),
    end: () => channel.end(),
    drained() {},
    finished() {},
    reset() {},
  })
}

async function talk(tunnel: Tunnel, text: string): Promise<string> {
  const socket = tunnel.socket()
  socket.end(text)
  const parts: Buffer[] = []
  for await (const part of socket) parts.push(part)
  return String(Buffer.concat(parts))
}

describe('a tunnel within a tunnel', () => {
  it('carries bytes and shows both peers at both ends', async () => {
    const w = await world()
    const tunnel = await w.connect()
    expect(tunnel.peer.id.uri).toBe(db.id.uri)
    expect(tunnel.via?.id.uri).toBe(gateway.id.uri)
    expect(tunnel.responseHeaders).toEqual([['baggage', 'service.name=db']])
    expect(await talk(tunnel, 'hello')).toBe('hello')

    const [outer] = w.outerRequests
    const [inner] = w.innerRequests
    expect(outer?.peer.id.uri).toBe(web.id.uri)
    expect(inner?.peer.id.uri).toBe(web.id.uri)
    expect([outer?.authority, inner?.authority]).toEqual([
      'db.shop.svc.cluster.local:5432',
      'db.shop.svc.cluster.local:5432',
    ])
    expect(outer?.headers).toEqual([['baggage', 'outer']])
    expect(inner?.headers).toEqual([
      ['baggage', 'k8s.cluster.name=one'],
      ['x-forwarded-network', ''],
    ])
    // The gateway passes bytes on: to the far end it is no party.
    expect(inner?.via).toBeUndefined()
  })

  it('carries much, both ways at once', async () => {
    const w = await world()
    const socket = (await w.connect()).socket()
    const sent = createHash('sha256')
    const received = createHash('sha256')
    let count = 0
    socket.on('data', (bytes: Buffer) => {
      count += bytes.length
      received.update(bytes)
    })
    const chunk = randomBytes(256 * 1024)
    const total = 32 * chunk.length
    for (let at = 0; at < total; at += chunk.length) {
      sent.update(chunk)
      if (!socket.write(chunk)) await once(socket, 'drain')
    }
    socket.end()
    await once(socket, 'end')
    expect(count).toBe(total)
    expect(received.digest('hex')).toBe(sent.digest('hex'))
  })

  it('half-closes in either order', async () => {
    const order = deferred<TunnelRequest>()
    const w = await world({ onTunnel: order.resolve })
    const connecting = w.connect()
    const far = createTunnelSocket((await order.promise).accept(), {
      remoteAddress: '127.0.0.1',
      remotePort: 1,
      localAddress: '127.0.0.1',
      localPort: 2,
    })
    const near = (await connecting).socket()
    far.end('first')
    for await (const bytes of near.iterator({ destroyOnReturn: false })) expect(String(bytes)).toBe('first')
    near.end('then')
    for await (const bytes of far) expect(String(bytes)).toBe('then')
  })

  it('may end at a gateway that is the far end too; it knows who carried it', async () => {
    const requests = deferred<TunnelRequest>()
    const terminating = createHboneServer({
      credentials: () => db,
      onTunnel: request => {
        requests.resolve(request)
        echo(request)
      },
    })
    later(() => terminating.close({ graceMs: 0 }))
    const w = await world({
      passOn: request => {
        const { peer, local } = request
        terminating.accept(
          createTunnelSocket(request.accept(), {
            remoteAddress: peer.address,
            remotePort: peer.port,
            localAddress: local.address,
            localPort: local.port,
            peer: peer.id,
          }),
        )
      },
    })
    const tunnel = await w.connect({ credentials: web })
    expect(await talk(tunnel, 'within')).toBe('within')
    const request = await requests.promise
    expect(request.via?.uri).toBe(web.id.uri)
    expect(request.peer).toMatchObject({ id: web.id, address: '127.0.0.1' })
    await w.inner.close()
    await emptied(terminating, 0)
  })
})

describe('sessions within tunnels', () => {
  it('are shared: many tunnels, one of the outer ones', async () => {
    const w = await world()
    const tunnels = await Promise.all(Array.from({ length: 20 }, () => w.connect()))
    expect([w.inner.sessions, w.inner.tunnels, w.outer.sessions, w.outer.tunnels]).toEqual([1, 20, 1, 1])
    expect(w.innerRequests).toHaveLength(20)
    for (const tunnel of tunnels) expect(await talk(tunnel, 'x')).toBe('x')
    expect([w.inner.sessions, w.outer.tunnels]).toEqual([1, 1])
  })

  it('are shared by nobody who expects another peer, another gateway or another target', async () => {
    const w = await world()
    await w.connect()
    await w.connect({ authority: 'db.shop.svc.cluster.local:5433' })
    await w.connect({ expect: [db.id, web.id] })
    await w.connect({ credentials: { ...web, generation: web.generation + 1 } })
    expect([w.inner.sessions, w.outer.tunnels]).toEqual([4, 4])
    // The outer ones are: one per generation.
    expect(w.outer.sessions).toBe(2)
    await w.connect({ gateway: { expect: [gateway.id, web.id] } })
    expect([w.inner.sessions, w.outer.sessions]).toEqual([5, 3])
  })

  it('are several, taken in turn, when the gateway has several backends', async () => {
    const other = await identities.credentials({ namespace: 'shop', serviceAccount: 'db' })
    const second = createHboneServer({
      credentials: () => other,
      onTunnel: request => void request.accept([['server', 'second']]),
    })
    const port = await listen({ host: '127.0.0.1', port: 0, onConnection: socket => second.accept(socket) })
    let turn = 0
    const w = await world({
      onTunnel: request => void request.accept([['server', 'first']]),
      passOn: async (request, far) => {
        const to = turn++ % 2 === 0 ? far : port
        const socket = await dial({ host: '127.0.0.1', port: to.port, timeoutMs: 1_000 })
        await pump(request.accept(), socketChannel(socket))
      },
    })
    later(async () => {
      await port.close()
      await second.close({ graceMs: 0 })
    })
    const seen: string[] = []
    for (let i = 0; i < 40 || w.inner.sessions < 4; i++) {
      const tunnel = await w.connect({ backends: 99 })
      seen.push(String(tunnel.responseHeaders.find(([name]) => name === 'server')?.[1]))
      const socket = tunnel.socket()
      socket.resetAndDestroy()
    }
    // The limit, `innerSessions`.
    expect(w.inner.sessions).toBe(4)
    expect(seen.filter(name => name === 'first').length).toBeGreaterThan(seen.length / 4)
    expect(seen.filter(name => name === 'second').length).toBeGreaterThan(seen.length / 4)
  })

  it('are let go when idle, and the tunnel beneath with them', async () => {
    const w = await world({ inner: { limits: { idleMs: 5 } } })
    expect(await talk(await w.connect(), 'x')).toBe('x')
    await emptied(w.far, 0)
    while (w.outer.tunnels > 0) await new Promise(resolve => setImmediate(resolve))
    expect([w.inner.sessions, w.outer.sessions]).toEqual([0, 1])
    expect(await talk(await w.connect(), 'again')).toBe('again')
  })

  it('are replaced at their age, while their tunnels finish', async () => {
    const w = await world({ inner: { limits: { innerSessionAgeMs: 20 } } })
    const old = await w.connect()
    await once(old.draining, 'abort')
    const young = await w.connect()
    expect(w.inner.sessions).toBe(2)
    expect(await talk(old, 'old')).toBe('old')
    expect(await talk(young, 'young')).toBe('young')
    await emptied(w.far, 0)
  })
})

describe('refusals say which layer', () => {
  it('of the gateway’s identity', async () => {
    const w = await world()
    const error = await failure(w.connect({ gateway: { expect: [db.id] } }))
    expect(error).toMatchObject({ code: 'AMBIENT_E_PEER_IDENTITY', problem: 'unexpected-identity' })
    expect(error.message).toContain(gateway.id.uri)
    expect(w.outerRequests).toHaveLength(0)
  })

  it.each([
    ['another one', [gateway.id]],
    ['none', []],
  ])('of the far end’s identity, when %s is expected', async (_, ids) => {
    const w = await world()
    const error = await failure(w.connect({ expect: ids }))
    expect(error).toMatchObject({ code: 'AMBIENT_E_PEER_IDENTITY', problem: 'unexpected-identity' })
    expect(error.message).toMatch(/db\.shop\.svc\.cluster\.local:5432 through 127\.0\.0\.1:\d+: /)
    expect(w.innerRequests).toHaveLength(0)
    while (w.outer.tunnels > 0) await new Promise(resolve => setImmediate(resolve))
  })

  it('of the gateway’s answer and of the far end’s', async () => {
    const w = await world({ passOn: request => request.refuse(503), inner: {} })
    const outer = await failure(w.connect())
    expect(outer).toMatchObject({ code: 'AMBIENT_E_HBONE_REFUSED', status: 503 })
    expect(outer.message).not.toContain('through')

    const v = await world({ onTunnel: request => request.refuse(401) })
    const inner = await failure(v.connect())
    expect(inner).toMatchObject({ code: 'AMBIENT_E_HBONE_REFUSED', status: 401 })
    expect(inner.message).toContain('through')
  })

  it('of a far end that does not speak TLS, or does not speak at all', async () => {
    const w = await world({
      passOn: request => {
        const channel = request.accept()
        channel.start({ data: () => true, end() {}, drained() {}, finished() {}, reset() {} })
        channel.write(Buffer.from('SSH-2.0-OpenSSH_9.9\r\n'))
      },
    })
    expect(await failure(w.connect())).toMatchObject({ code: 'AMBIENT_E_TLS' })

    const v = await world({
      passOn: request => void request.accept(),
      inner: { limits: { handshakeMs: 20 } },
    })
    const late = await failure(v.connect())
    expect(late).toMatchObject({ code: 'AMBIENT_E_HBONE_TIMEOUT' })
    expect(late.message).toMatch(/^TLS with db.* through 127.* was not finished within 20 ms$/)
  })

  it('of a caller that gives up', async () => {
    const reached = deferred<void>()
    const w = await world({
      passOn: request => {
        request.accept()
        reached.resolve()
      },
    })
    const abort = new AbortController()
    const connecting = w.connect({ signal: abort.signal })
    await reached.promise
    abort.abort(new Error('gone'))
    await expect(connecting).rejects.toThrow('gone')
  })
})

/** Resolves with how the socket ended: its bytes, and whether that was an end. */
async function endingOf(tunnel: Tunnel): Promise<{ readonly bytes: number; readonly ended: boolean }> {
  const socket = tunnel.socket()
  let bytes = 0
  let ended = false
  socket.on('data', (chunk: Buffer) => (bytes += chunk.length))
  socket.on('end', () => (ended = true))
  socket.on('error', () => {})
  await new Promise(resolve => socket.once('close', resolve))
  return { bytes, ended }
}

describe('a cut is no end', () => {
  const cuts: [string, (w: World) => unknown][] = [
    ['the gateway resets the outer tunnel', w => w.breaker.abort(new Error('cut'))],
    ['the gateway ends the outer tunnel', w => w.carriers[0]?.end()],
    ['the gateway goes down', w => w.gate.close({ graceMs: 0 })],
    ['the far end goes down', w => w.far.close({ graceMs: 0 })],
    ['the outer pool is closed', w => w.outer.close({ graceMs: 0 })],
    ['the inner pool is closed', w => w.inner.close({ graceMs: 0 })],
  ]
  it.each(cuts)('when %s', async (_, cut) => {
    const w = await world({
      onTunnel: request => {
        const channel = request.accept()
        channel.start({ data: () => true, end() {}, drained() {}, finished() {}, reset() {} })
        channel.write(Buffer.from('owed'))
      },
    })
    const tunnel = await w.connect()
    const ending = endingOf(tunnel)
    await w
      .connect()
      .then(other => other.channel.reset('CANCEL', 'only to know that the first bytes are out'))
    cut(w)
    expect(await ending).toEqual({ bytes: 4, ended: false })
    while (w.inner.sessions > 0 || w.outer.tunnels > 0) await new Promise(resolve => setImmediate(resolve))
  })
})

describe('GOAWAY', () => {
  it('of the gateway: what is open goes on, what is new takes another way', async () => {
    const w = await world()
    const old = await w.connect()
    const socket = old.socket()
    w.gate.retire()
    await once(old.draining, 'abort')
    const young = await w.connect()
    expect([w.inner.sessions, w.outer.sessions]).toEqual([2, 2])
    socket.end('still here')
    for await (const bytes of socket) expect(String(bytes)).toBe('still here')
    expect(await talk(young, 'new')).toBe('new')
    while (w.outer.sessions > 1) await new Promise(resolve => setImmediate(resolve))
    expect(w.inner.sessions).toBe(1)
  })

  it('of the far end: the same, on the same session with the gateway', async () => {
    const w = await world()
    const old = await w.connect()
    w.far.retire()
    await once(old.draining, 'abort')
    const young = await w.connect()
    expect([w.inner.sessions, w.outer.sessions, w.outer.tunnels]).toEqual([2, 1, 2])
    expect(await talk(old, 'old')).toBe('old')
    expect(await talk(young, 'young')).toBe('young')
    while (w.outer.tunnels > 1) await new Promise(resolve => setImmediate(resolve))
  })

  it('of the pool: close lets tunnels finish in both layers', async () => {
    const w = await world()
    const tunnel = await w.connect()
    const closing = w.inner.close({ graceMs: 5_000 })
    expect(await talk(tunnel, 'last words')).toBe('last words')
    await closing
    expect(await failure(w.connect())).toMatchObject({ code: 'AMBIENT_E_CLOSED' })
    await w.outer.close({ graceMs: 5_000 })
    expect(w.outer.sessions).toBe(0)
  })
})
