/** A tunnel where a `net.Socket` is expected: HTTP clients and servers, upgrades, drivers, half-close, resets, timeouts. */
import { once } from 'node:events'
import {
  Agent,
  type ClientRequestArgs,
  createServer,
  type IncomingMessage,
  request as httpRequest,
  type Server,
} from 'node:http'
import type { Socket } from 'node:net'
import { type Duplex, PassThrough } from 'node:stream'
import { text } from 'node:stream/consumers'
import type { Channel } from '@ambient/core'
import { channelPair as bareChannelPair } from '@ambient/core/testing'
import { createTunnelSocket, type HbonePool, type TunnelSocket, type ConnectRequest } from '@ambient/hbone'
import { describe, expect, it } from 'vitest'
import { Recorder } from '../../../test/contracts/channel.ts'
import { db, harness, later, web } from './harness.ts'

const facts = { remoteAddress: '10.0.0.1', remotePort: 80, localAddress: '10.0.0.2', localPort: 4_000 }

/** The far end is over when the test is: a socket that was destroyed before waits a while for it. */
function channelPair(): readonly [Channel, Channel] {
  const [near, far] = bareChannelPair()
  later(async () => far.reset('CANCEL', 'the test is over'))
  return [near, far]
}

/** An HTTP server that is reached through tunnels only. */
async function meshed(server: Server): ReturnType<typeof harness> {
  later(async () => server.closeAllConnections())
  return harness({
    onTunnel: request => {
      const { address, port, id } = request.peer
      const { local } = request
      const socket = createTunnelSocket(request.accept(), {
        remoteAddress: address,
        remotePort: port,
        localAddress: local.address,
        localPort: local.port,
        peer: id,
      })
      server.emit('connection', socket)
    },
  })
}

/** An agent whose connections are tunnels. */
class TunnelAgent extends Agent {
  readonly opened: TunnelSocket[] = []
  readonly #pool: HbonePool
  readonly #request: ConnectRequest

  constructor(pool: HbonePool, request: ConnectRequest) {
    super({ keepAlive: true, maxSockets: 1 })
    this.#pool = pool
    this.#request = request
  }

  override createConnection(
    _options: ClientRequestArgs,
    done: (error: Error | null, stream: Duplex) => void = () => {},
  ): null {
    this.#pool.connect(this.#request).then(
      tunnel => {
        const socket = tunnel.socket()
        this.opened.push(socket)
        done(null, socket)
      },
      (error: Error) => done(error, new PassThrough()),
    )
    return null
  }
}

function get(agent: Agent, path: string, body = ''): Promise<{ response: IncomingMessage; body: string }> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({ agent, host: 'app', path, method: body === '' ? 'GET' : 'POST' })
    request.on('error', reject)
    request.on('response', response => {
      text(response).then(read => resolve({ response, body: read }), reject)
    })
    request.end(body)
  })
}

describe('HTTP through tunnels', () => {
  it('keeps connections alive, and the server knows the peer', async () => {
    const server = createServer((request, response) => {
      const { peer } = request.socket as unknown as TunnelSocket
      text(request).then(body => response.end(`${peer?.uri} ${request.url} ${body.length}`))
    })
    const { pool, request, server: hbone } = await meshed(server)
    const agent = new TunnelAgent(pool, request())
    expect((await get(agent, '/a')).body).toBe(`${web.id.uri} /a 0`)
    expect((await get(agent, '/b', 'x'.repeat(300_000))).body).toBe(`${web.id.uri} /b 300000`)
    expect(agent.opened).toHaveLength(1)
    expect(agent.opened[0]?.peer?.uri).toBe(db.id.uri)
    agent.destroy()
    while (hbone.tunnels + pool.tunnels > 0) await new Promise(resolve => setImmediate(resolve))
  })

  it('opens another tunnel when the server has ended a connection that was kept', async () => {
    const server = createServer((_request, response) => response.end('ok'))
    server.keepAliveTimeout = 1
    const { pool, request } = await meshed(server)
    const agent = new TunnelAgent(pool, request())
    await get(agent, '/')
    const [first] = agent.opened
    if (first !== undefined && !first.destroyed) await once(first, 'close')
    expect((await get(agent, '/')).body).toBe('ok')
    expect(agent.opened).toHaveLength(2)
    agent.destroy()
  })

  it('streams a large answer with a slow reader', async () => {
    const chunk = Buffer.alloc(100_000, 'x')
    const server = createServer((_request, response) => {
      let left = 80
      const more = (): void => {
        while (left-- > 0) if (!response.write(chunk)) return void response.once('drain', more)
        response.end()
      }
      more()
    })
    const { pool, request } = await meshed(server)
    const agent = new TunnelAgent(pool, request())
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      httpRequest({ agent, host: 'app' }).on('response', resolve).on('error', reject).end()
    })
    let received = 0
    for await (const piece of response) {
      received += Buffer.from(piece).length
      await new Promise(resolve => setImmediate(resolve))
    }
    expect(received).toBe(8_000_000)
    agent.destroy()
  })

  it('upgrades', async () => {
    const server = createServer()
    server.on('upgrade', (_request, socket, head) => {
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n')
      socket.write(head)
      socket.pipe(socket)
    })
    const { pool, request } = await meshed(server)
    const agent = new TunnelAgent(pool, request())
    const outgoing = httpRequest({
      agent,
      host: 'app',
      headers: { connection: 'Upgrade', upgrade: 'echo' },
    })
    outgoing.end()
    const [, socket] = (await once(outgoing, 'upgrade')) as [IncomingMessage, Socket]
    socket.end('hello')
    expect(await text(socket)).toBe('hello')
    agent.destroy()
  })

  it('reports a tunnel that is cut in the middle of an answer', async () => {
    const server = createServer((request, response) => {
      response.writeHead(200, { 'content-length': '100' })
      response.write('some')
      request.socket.resetAndDestroy()
    })
    const { pool, request } = await meshed(server)
    const agent = new TunnelAgent(pool, request())
    await expect(get(agent, '/')).rejects.toMatchObject({ code: 'ECONNRESET' })
    agent.destroy()
  })
})

/** A socket over one end of a pair, and the other end as it is. */
function pair(): { socket: TunnelSocket; far: Channel; events: Recorder } {
  const [near, far] = channelPair()
  const events = new Recorder()
  far.start(events)
  return { socket: createTunnelSocket(near, facts), far, events }
}

describe('TunnelSocket', () => {
  it('tells its addresses and states', () => {
    const { socket } = pair()
    expect(socket).toMatchObject({ ...facts, remoteFamily: 'IPv4', connecting: false, readyState: 'open' })
    expect(socket.address()).toEqual({ address: '10.0.0.2', port: 4_000, family: 'IPv4' })
    expect(socket.setNoDelay().setKeepAlive().ref().unref()).toBe(socket)
    socket.destroy()
    expect(socket.readyState).toBe('closed')
  })

  it('says that it is connected to a driver that dials what it is given', async () => {
    const { socket } = pair()
    const connected = new Promise<void>(resolve => void socket.connect(5432, 'db', resolve))
    await Promise.all([connected, once(socket, 'ready')])
    socket.destroy()
  })

  it('half-closes in either order', async () => {
    const { socket, far, events } = pair()
    socket.end('question')
    await events.seen('end')
    expect(events.bytes.toString()).toBe('question')
    expect(socket.readyState).toBe('readOnly')
    far.write(Buffer.from('answer'))
    far.end()
    expect(await text(socket)).toBe('answer')
    const other = pair()
    other.far.end()
    other.socket.resume()
    await once(other.socket, 'end')
    expect(other.socket.readyState).toBe('writeOnly')
    other.socket.end('late')
    await other.events.seen('end')
    expect(other.events.bytes.toString()).toBe('late')
  })

  it('sees a reset as ECONNRESET, not as an end', async () => {
    const { socket, far } = pair()
    let ended = false
    socket.on('end', () => {
      ended = true
    })
    socket.resume()
    far.reset('INTERNAL_ERROR', 'gone')
    const [error] = (await once(socket, 'error')) as [NodeJS.ErrnoException]
    expect(error.code).toBe('ECONNRESET')
    expect(ended).toBe(false)
    expect(socket.destroyed).toBe(true)
  })

  it('destroyed with an error or with unsent bytes, resets; destroyed at rest, ends', async () => {
    const failed = pair()
    failed.socket.on('error', () => {})
    failed.socket.destroy(new Error('broken'))
    await failed.events.seen('reset')
    const full = pair()
    full.far.pause()
    const written = new Promise(resolve => void full.socket.write(Buffer.alloc(100_000), resolve))
    full.socket.destroy()
    expect(await written).toBeInstanceOf(Error)
    full.far.resume()
    await full.events.seen('reset')
    const quiet = pair()
    quiet.socket.write('last words')
    quiet.socket.destroy()
    await quiet.events.seen('end')
    expect(quiet.events.bytes.toString()).toBe('last words')
    // Whoever goes on talking to a closed socket is told.
    quiet.far.write(Buffer.from('hello?'))
    await quiet.events.seen('reset')
  })

  it('destroySoon sends everything first', async () => {
    const { socket, events } = pair()
    socket.write('all')
    socket.write(' of it')
    socket.destroySoon()
    await events.seen('end')
    expect(events.bytes.toString()).toBe('all of it')
    await once(socket, 'close')
  })

  it('times out without activity, and not with', async () => {
    const { socket } = pair()
    const seen = once(socket, 'timeout')
    socket.setTimeout(5)
    await seen
    expect(socket.destroyed).toBe(false)
    expect(socket.setTimeout(0).timeout).toBe(0)
    socket.destroy()
  })

  it('holds the writer back, and the reader’s peer', async () => {
    const { socket, far } = pair()
    far.pause()
    let size = 0
    while (socket.write(Buffer.alloc(16_384))) size += 16_384
    expect(size).toBeLessThan(1 << 20)
    const drained = once(socket, 'drain')
    far.resume()
    await drained
    const other = pair()
    let accepted = 0
    while (other.far.write(Buffer.alloc(16_384)) && accepted < 10 << 20) {
      accepted += 16_384
      await new Promise(resolve => setImmediate(resolve))
    }
    expect(accepted).toBeLessThan(10 << 20)
    socket.destroy()
    other.socket.destroy()
  })

  it('an exception in a listener is the listener’s, not the session’s', async () => {
    const { connect, pool } = await harness({
      onTunnel: request => {
        const channel = request.accept()
        channel.start(new Recorder())
        channel.write(Buffer.from('boo'))
      },
    })
    const socket = (await connect()).socket()
    const listeners = process.listeners('uncaughtException')
    process.removeAllListeners('uncaughtException')
    const uncaught = once(process, 'uncaughtException')
    socket.once('data', () => {
      throw new Error('a bug of the application')
    })
    const [error] = (await uncaught) as [Error]
    for (const listener of listeners) process.on('uncaughtException', listener)
    expect(error.message).toBe('a bug of the application')
    expect(pool.tunnels).toBe(1)
    socket.destroy()
  })
})
