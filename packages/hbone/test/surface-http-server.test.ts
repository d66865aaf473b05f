/** HTTP servers behind tunnels: frameworks know the peer, nobody can claim to be one, drains, permits, slow callers. */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http'
import { text } from 'node:stream/consumers'
import type { Admission, Denial, Permit } from '@ambient/core'
import { createManualClock } from '@ambient/core/testing'
import {
  type OpenTunnel,
  type TunnelRequest,
  type TunnelSocket,
  createHbonePool,
  tunnelsVia,
} from '@ambient/hbone'
import {
  createHboneAgent,
  createHttpTunnelHandler,
  type HttpTunnelHandler,
  type HttpTunnelHandlerOptions,
  peerOf,
  serveHttp,
} from '@ambient/hbone/http'
import { createHboneFetch, type HboneFetch } from '@ambient/hbone/undici'
import { createAdaptorServer } from '@hono/node-server'
import express from 'express'
import fastify from 'fastify'
import { Hono } from 'hono'
import { describe, expect, it } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { db, deferred, failure, later, web } from './harness.ts'
import { listening, quiet, type Tunnels, tunnelsTo } from './tunnels.ts'

const WEB = web.id.uri

interface Served {
  readonly ends: Tunnels
  readonly handler: HttpTunnelHandler
  readonly fetch: HboneFetch
}

/** A server that never listens, behind an HBONE server. */
async function serve(server: Server, options: HttpTunnelHandlerOptions = {}): Promise<Served> {
  const handler = createHttpTunnelHandler(server, options)
  const ends = await tunnelsTo({ onTunnel: handler })
  const fetch = createHboneFetch({ open: ends.open, connections: 1 })
  later(async () => {
    await fetch.dispatcher.destroy()
    await handler.close({ graceMs: 0 })
    server.close()
  })
  return { ends, handler, fetch }
}

const sayPeer: RequestListener = (request, response) =>
  void response.end(`${peerOf(request)?.id.uri} ${request.url}`)

/** Bytes on a tunnel, without an HTTP client's opinions. */
async function raw(open: OpenTunnel): Promise<TunnelSocket> {
  return (await open({ host: 'app', port: 80 })).socket()
}

describe('the peer on the request', () => {
  it('is known to a plain handler, with what its certificate says', async () => {
    const { ends, fetch } = await serve(
      createServer((request, response) => void response.end(JSON.stringify(peerOf(request)))),
    )
    const peer: unknown = await (await fetch('http://app/')).json()
    expect(peer).toMatchObject({ id: { uri: WEB }, address: '127.0.0.1', notAfter: expect.any(Number) })
    await fetch.close()
    await quiet(ends)
  })

  it('is known to Express, with the address', async () => {
    const app = express()
    app.use(express.json())
    app.post('/order', (request, response) => {
      response.json({ who: peerOf(request)?.id.uri, ip: request.ip, body: request.body as unknown })
    })
    const { fetch } = await serve(createServer(app))
    const headers = { 'content-type': 'application/json' }
    const response = await fetch('http://app/order', { method: 'POST', headers, body: '{"item":1}' })
    expect(await response.json()).toEqual({ who: WEB, ip: '127.0.0.1', body: { item: 1 } })
  })

  it('is known to Fastify', async () => {
    const app = fastify()
    app.addHook('onRequest', async (request, reply) => {
      if (peerOf(request)?.id.uri !== WEB) return reply.code(403).send()
    })
    app.get('/who', request => ({
      own: peerOf(request)?.id.uri,
      raw: peerOf(request.raw)?.id.uri,
      ip: request.ip,
    }))
    await app.ready()
    const { fetch } = await serve(app.server)
    expect(await (await fetch('http://app/who')).json()).toEqual({ own: WEB, raw: WEB, ip: '127.0.0.1' })
    await app.close()
  })

  it('is known to Hono', async () => {
    const app = new Hono<{ Bindings: { incoming: IncomingMessage } }>()
    app.get('/who', context => context.text(peerOf(context.env.incoming)?.id.uri ?? 'nobody'))
    const { fetch } = await serve(createAdaptorServer({ fetch: app.fetch }) as Server)
    expect(await (await fetch('http://app/who')).text()).toBe(WEB)
  })

  it('is known when a WebSocket opens, and messages pass', async () => {
    const server = createServer()
    const sockets = new WebSocketServer({ server })
    sockets.on('connection', (socket, request) => {
      socket.send(peerOf(request)?.id.uri ?? 'nobody')
      socket.on('message', data => socket.send(data))
    })
    const { ends } = await serve(server)
    const agent = createHboneAgent({ open: ends.open })
    const client = new WebSocket('ws://app/socket', { agent })
    const [hello] = (await once(client, 'message')) as [Buffer]
    expect(hello.toString()).toBe(WEB)
    client.send(Buffer.alloc(200_000, 1))
    const [echo] = (await once(client, 'message')) as [Buffer]
    expect(echo.length).toBe(200_000)
    client.close()
    await once(client, 'close')
    await quiet(ends)
  })

  it('is nobody on a plain connection, whatever its headers say', async () => {
    const server = createServer((request, response) => void response.end(String(peerOf(request))))
    const { fetch } = await serve(server)
    const { port } = await listening(server)
    const headers = {
      'x-forwarded-client-cert': `By=${db.id.uri};URI=${WEB}`,
      forwarded: `for=${WEB}`,
      peer: WEB,
      'x-peer': WEB,
    }
    const { request } = await import('undici')
    const plain = await request(`http://127.0.0.1:${port}/`, { headers, reset: true })
    expect(await plain.body.text()).toBe('undefined')
    expect(await (await fetch('http://app/', { headers })).text()).toBe('[object Object]')
    expect([peerOf({}), peerOf({ socket: null }), peerOf({ socket: 'x' })]).toEqual([
      undefined,
      undefined,
      undefined,
    ])
  })
})

describe('authorize', () => {
  it('is asked before CONNECT is answered: 401 for a no, 503 for a failure', async () => {
    const asked: string[] = []
    const verdicts = [false, new Error('the policy server is down'), true]
    const authorize = async (request: TunnelRequest): Promise<boolean> => {
      asked.push(`${request.peer.id.uri} ${request.authority}`)
      const verdict = verdicts.shift() ?? false
      if (verdict instanceof Error) throw verdict
      return verdict
    }
    const { ends, handler } = await serve(createServer(sayPeer), { authorize })
    expect((await failure(ends.connect())).status).toBe(401)
    expect((await failure(ends.connect())).status).toBe(503)
    expect(handler.connections).toBe(0)
    ;(await ends.connect()).socket().destroy()
    expect(asked).toEqual(Array(3).fill(`${WEB} 127.0.0.1:8080`))
    await quiet(ends)
  })

  it('may give a permit, which is released at the end and cuts the connection when withdrawn', async () => {
    const permits: Permit[] = []
    let released = 0
    const authorize = (): Admission => {
      const permit: Permit = {
        decision: { allowed: true, reason: 'a test' },
        onWithdrawn: undefined,
        release: () => released++,
      }
      permits.push(permit)
      return { allowed: true, permit }
    }
    const { ends } = await serve(createServer(sayPeer), { authorize })
    const agent = createHboneAgent({ open: ends.open, keepAlive: false })
    const fetch = createHboneFetch({ open: ends.open })
    await (await fetch('http://app/')).text()
    await fetch.close()
    await quiet(ends)
    expect(released).toBe(1)
    const socket = await raw(ends.open)
    const reset = once(socket, 'error')
    const denial: Denial = { allowed: false, reason: 'denied by: shop/nobody', considered: [] }
    permits[1]?.onWithdrawn?.(denial)
    expect(((await reset) as [NodeJS.ErrnoException])[0].code).toBe('ECONNRESET')
    await quiet(ends)
    expect(released).toBe(2)
    agent.destroy()
  })

  it('may refuse with a denial', async () => {
    const denial: Denial = { allowed: false, reason: 'no', considered: [] }
    const { ends } = await serve(createServer(sayPeer), { authorize: () => ({ allowed: false, denial }) })
    expect((await failure(ends.connect())).status).toBe(401)
  })
})

describe('a drain', () => {
  it('says Connection: close, lets responses finish, ends what is idle, refuses new tunnels', async () => {
    const clock = createManualClock()
    const held = deferred<() => void>()
    const server = createServer((request, response) => {
      if (request.url === '/slow') held.resolve(() => response.end('done'))
      else response.end('ok')
    })
    const { ends, handler } = await serve(server, { clock })
    const [busy, idle, late] = [await raw(ends.open), await raw(ends.open), await raw(ends.open)]
    const answers = [busy, idle, late].map(socket => text(socket))
    busy.write('GET /slow HTTP/1.1\r\nhost: app\r\n\r\n')
    const finish = await held.promise
    handler.drain()
    expect((await failure(ends.connect())).status).toBe(503)
    // One that was on its way when the drain began is served still.
    late.write('GET /late HTTP/1.1\r\nhost: app\r\n\r\n')
    expect(await answers[2]).toMatch(/Connection: close\r\n[\s\S]*ok$/)
    clock.advance(1_000)
    expect(await answers[1]).toBe('')
    while (handler.connections > 1) await new Promise(resolve => setImmediate(resolve))
    finish()
    expect(await answers[0]).toMatch(/Connection: close\r\n[\s\S]*done$/)
    for (const socket of [busy, idle, late]) socket.end()
    await handler.close()
    await quiet(ends)
  })

  it('leaves a request that has begun its time, and cuts what is left in the end', async () => {
    const clock = createManualClock()
    const { ends, handler } = await serve(createServer(sayPeer), { clock })
    const socket = await raw(ends.open)
    socket.write('GET /half HTT')
    while (handler.connections === 0) await new Promise(resolve => setImmediate(resolve))
    const reset = once(socket, 'error')
    const closed = handler.close({ graceMs: 5_000 })
    clock.advance(4_999)
    expect(handler.connections).toBe(1)
    clock.advance(1)
    await closed
    expect(((await reset) as [NodeJS.ErrnoException])[0].code).toBe('ECONNRESET')
    await quiet(ends)
  })
})

describe('a caller', () => {
  it('that is slow with its head is answered 408, though the server never listens', async () => {
    const server = createServer({ headersTimeout: 20, connectionsCheckingInterval: 10 }, sayPeer)
    const { ends } = await serve(server)
    const socket = await raw(ends.open)
    socket.write('GET / HTTP/1.1\r\nhost:')
    expect(await text(socket)).toMatch(/^HTTP\/1\.1 408 /)
    socket.end()
    await quiet(ends)
  })

  it('that sends what is no HTTP is answered 400, to the end', async () => {
    const { ends } = await serve(createServer(sayPeer))
    const socket = await raw(ends.open)
    socket.write('\u0000nonsense\r\n\r\n')
    expect(await text(socket)).toMatch(/^HTTP\/1\.1 400 /)
    socket.end()
    await quiet(ends)
  })

  it('that half-closes after its request is answered', async () => {
    const { ends } = await serve(createServer(sayPeer))
    const socket = await raw(ends.open)
    socket.end('GET /half HTTP/1.1\r\nhost: app\r\n\r\n')
    expect(await text(socket)).toMatch(new RegExp(`${WEB} /half$`))
    await quiet(ends)
  })

  it('that resets an upgraded connection harms nobody', async () => {
    const server = createServer()
    server.on('upgrade', (_request, socket) => socket.write('HTTP/1.1 101 Switching Protocols\r\n\r\n'))
    const { ends, handler } = await serve(server)
    const socket = await raw(ends.open)
    socket.write('GET / HTTP/1.1\r\nhost: app\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n')
    await once(socket, 'data')
    socket.resetAndDestroy()
    while (handler.connections > 0) await new Promise(resolve => setImmediate(resolve))
    await quiet(ends)
  })

  it('that pipelines is answered in order', async () => {
    const { ends } = await serve(createServer(sayPeer))
    const socket = await raw(ends.open)
    const heads = ['/1', '/2', '/3'].map(path => `GET ${path} HTTP/1.1\r\nhost: app\r\n`)
    socket.write(`${heads.join('\r\n')}connection: close\r\n\r\n`)
    const answered = await text(socket)
    expect([...answered.matchAll(/ \/(\d)/g)].map(match => match[1])).toEqual(['1', '2', '3'])
    socket.end()
    await quiet(ends)
  })
})

describe('serveHttp', () => {
  it('listens, serves and drains in one call', async () => {
    const held = deferred<() => void>()
    const server = createServer((_request, response) => held.resolve(() => response.end('done')))
    const meshed = await serveHttp(server, { host: '127.0.0.1', port: 0, credentials: () => db })
    const pool = createHbonePool()
    const open = tunnelsVia({ pool, credentials: () => web, to: meshed, expect: [db.id] })
    const fetch = createHboneFetch({ open })
    const answered = fetch('http://app/')
    const finish = await held.promise
    expect(meshed.connections).toBe(1)
    const closed = meshed.close()
    finish()
    const response = await answered
    expect(response.headers.get('connection')).toBe('close')
    expect(await response.text()).toBe('done')
    await closed
    await expect(fetch('http://app/')).rejects.toMatchObject({
      cause: { code: 'AMBIENT_E_HBONE_UNREACHABLE' },
    })
    await meshed.close()
    await fetch.close()
    await pool.close()
    server.close()
  })
})
