/** HBONE in HBONE: bytes, identities, sharing and refusals through both layers, with a gateway that passes bytes on. */
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { pump } from '@ambient/core'
import { dial, listen, socketChannel } from '@ambient/core/node'
import { createManualClock } from '@ambient/core/testing'
import { createHboneServer, createTunnelSocket, type TunnelRequest } from '@ambient/hbone'
import { describe, expect, it } from 'vitest'
import { echo, gateway, talk, world } from './double-world.ts'
import { db, deferred, emptied, failure, identities, later, web } from './harness.ts'

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
    const clock = createManualClock()
    const limits = { innerSessionAgeMs: 100_000, pingAfterMs: 1_000_000, idleMs: 1_000_000 }
    const w = await world({ inner: { clock, limits } })
    const old = await w.connect()
    // The greetings of both sides are over.
    expect(await talk(await w.connect(), 'x')).toBe('x')
    clock.advance(100_000)
    expect(old.draining.aborted).toBe(true)
    const young = await w.connect()
    expect(w.inner.sessions).toBe(2)
    expect(await talk(old, 'old')).toBe('old')
    expect(await talk(young, 'young')).toBe('young')
    await emptied(w.far, 1)
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
