/** The dispatch desk where connections end at the wrong moment, and where callers, copies and upstreams misbehave. */
import { once } from 'node:events'
import { createServer as createHttpServer, type ServerResponse } from 'node:http'
import { createServer, type Http2Server, type ServerHttp2Stream } from 'node:http2'
import { createServer as createTcpServer, type Server, type Socket } from 'node:net'
import { PassThrough } from 'node:stream'
import { text } from 'node:stream/consumers'
import { pump } from '@ambient/core'
import { channelPair } from '@ambient/core/testing'
import { dial } from '@ambient/core/node'
import { createHbonePool, createTunnelSocket } from '@ambient/hbone'
import { describe, expect, it } from 'vitest'
import type { DispatchResponse, DispatchResult } from '../src/upstream/dispatch.ts'
import { backend, cleanup, cluster, desk, order, textOf } from './upstream-fixtures.ts'

function http2(onStream: (stream: ServerHttp2Stream) => void): Http2Server {
  const server = createServer()
  server.on('stream', stream => {
    stream.on('error', () => {})
    onStream(stream)
  })
  server.on('session', session => cleanup(() => session.destroy()))
  return server
}

/** A server that says what it is told to, byte by byte. */
function tcp(onConnection: (socket: Socket, serial: number) => void): Server {
  let serial = 0
  return createTcpServer({ allowHalfOpen: true }, socket => {
    socket.on('error', () => {})
    cleanup(() => socket.destroy())
    onConnection(socket, ++serial)
  })
}

function responded(result: DispatchResult): DispatchResponse {
  if (result.kind === 'failed') throw new Error(`${result.detail}: ${result.reason}`)
  return result
}

describe('HTTP/2: an end is an end', () => {
  const half = (stream: ServerHttp2Stream, cut: () => void): void => {
    stream.respond({ ':status': 200 })
    stream.write('half', () => setImmediate(cut))
  }
  // What Node's own server does when a handler destroys its stream: a reset with NO_ERROR and no END_STREAM.
  it.each<[string, (stream: ServerHttp2Stream) => void]>([
    ['destroyed without a reason', stream => half(stream, () => stream.destroy())],
    ['destroyed with an error', stream => half(stream, () => stream.destroy(new Error('broken')))],
    ['with its session', stream => half(stream, () => stream.session?.destroy())],
  ])('a response that was cut is an error (%s)', async (_, onStream) => {
    const dispatcher = await desk([await backend(http2(onStream))])
    const { response } = responded(await dispatcher.dispatch(order({ protocol: 'HTTP2' })))
    await expect(textOf(response)).rejects.toMatchObject({ code: 'ECONNRESET' })
  })

  it.each<[string, string, (stream: ServerHttp2Stream) => void]>([
    [
      'after data',
      'all',
      stream => {
        stream.respond({ ':status': 200 })
        stream.end('all')
      },
    ],
    ['with the head', '', stream => stream.respond({ ':status': 200 }, { endStream: true })],
    [
      'with trailers',
      'all',
      stream => {
        stream.respond({ ':status': 200 }, { waitForTrailers: true })
        stream.on('wantTrailers', () => stream.sendTrailers({ sum: '3' }))
        stream.end('all')
      },
    ],
    [
      'and a reset that asks for no more of the request',
      'all',
      stream => {
        stream.respond({ ':status': 200 })
        stream.end('all', () => stream.close(0))
      },
    ],
  ])('a response that is complete is one (%s)', async (_, whole, onStream) => {
    const dispatcher = await desk([await backend(http2(onStream))])
    for (const body of [undefined, 'request']) {
      const result = await dispatcher.dispatch(
        order({ protocol: 'HTTP2', ...(body === undefined ? {} : { method: 'POST', body }) }),
      )
      expect(await textOf(responded(result).response)).toBe(whole)
    }
    await expect.poll(() => dispatcher.active).toBe(0)
  })
})

describe('an upload that its caller gives up', () => {
  it('is reset upstream over HTTP/2, never ended', async () => {
    const { promise: arrived, resolve: onStream } = deferred<ServerHttp2Stream>()
    const dispatcher = await desk([await backend(http2(onStream))])
    const caller = new AbortController()
    const body = new PassThrough()
    const result = dispatcher.dispatch(
      order({ protocol: 'HTTP2', method: 'POST', body, signal: caller.signal }),
    )
    body.write('half')
    const stream = await arrived
    await once(stream, 'data')
    let hasEnded = false
    stream.on('end', () => {
      hasEnded = stream.rstCode === 0
    })
    caller.abort()
    await once(stream, 'close')
    expect({ hasEnded, code: stream.rstCode }).toEqual({ hasEnded: false, code: 8 })
    expect(await result).toMatchObject({ kind: 'failed', status: 0, flag: 'DC' })
  })

  it('is cut upstream over HTTP/1.1', async () => {
    const { promise: ending, resolve } = deferred<string>()
    const server = createHttpServer(request => {
      request.on('error', error => resolve('code' in error ? String(error.code) : 'error'))
      request.on('end', () => resolve('end'))
      request.resume()
      request.once('data', () => caller.abort())
    })
    const caller = new AbortController()
    const dispatcher = await desk([await backend(server)])
    const body = new PassThrough()
    body.write('half')
    const result = await dispatcher.dispatch(order({ method: 'POST', body, signal: caller.signal }))
    expect(result).toMatchObject({ kind: 'failed', flag: 'DC' })
    expect(await ending).toBe('ECONNRESET')
  })
})

describe('a kept connection', () => {
  const answer = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'
  /** Answers one request per connection and closes at the second one's arrival. */
  const onceEach = (): Server =>
    tcp(socket => {
      let seen = 0
      socket.on('data', () => (++seen === 1 ? socket.write(answer) : socket.destroy()))
    })

  it('that dies under a GET is replaced without a word', async () => {
    const web = await backend(onceEach())
    const dispatcher = await desk([web])
    for (let count = 0; count < 3; count++) {
      const result = responded(await dispatcher.dispatch(order()))
      expect(result.attempts).toBe(1)
      expect(await textOf(result.response)).toBe('ok')
      await expect.poll(() => dispatcher.idle).toBe(1)
    }
    expect(web.tunnels()).toBe(3)
  })

  it('that dies under a POST is a failure: it may have been acted upon', async () => {
    const dispatcher = await desk([await backend(onceEach())])
    await textOf(responded(await dispatcher.dispatch(order())).response)
    await expect.poll(() => dispatcher.idle).toBe(1)
    const result = await dispatcher.dispatch(order({ method: 'POST', body: 'x' }))
    expect(result).toMatchObject({ kind: 'failed', status: 503, flag: 'UC' })
  })

  it.each<[string, (socket: Socket) => void]>([
    ['ends it', socket => socket.end()],
    ['resets it', socket => socket.resetAndDestroy()],
    ['says something unasked', socket => socket.write('HTTP/1.1 408 Request Timeout\r\n\r\n')],
  ])('is dropped as soon as its server %s', async (_, spoil) => {
    const sockets: Socket[] = []
    const server = tcp(socket => {
      sockets.push(socket)
      socket.on('data', () => socket.write(answer))
    })
    const dispatcher = await desk([await backend(server)])
    await textOf(responded(await dispatcher.dispatch(order())).response)
    await expect.poll(() => dispatcher.idle).toBe(1)
    for (const socket of sockets) spoil(socket)
    await expect.poll(() => dispatcher.idle).toBe(0)
  })

  it('is given back a second before its server would close it', async () => {
    const server = tcp(socket => {
      socket.on('data', () =>
        socket.write('HTTP/1.1 200 OK\r\nkeep-alive: timeout=1\r\ncontent-length: 0\r\n\r\n'),
      )
    })
    const dispatcher = await desk([await backend(server)])
    await textOf(responded(await dispatcher.dispatch(order())).response)
    await expect.poll(() => dispatcher.active).toBe(0)
    expect(dispatcher.idle).toBe(0)
  })
})

describe('answers before the request was read', () => {
  it('are handed on, and the rest of the request is not sent', async () => {
    const server = tcp(socket => {
      socket.once('data', () => socket.write('HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno'))
    })
    const dispatcher = await desk([await backend(server)])
    const body = new PassThrough()
    body.write('first')
    const result = responded(await dispatcher.dispatch(order({ method: 'POST', body })))
    expect(result.response.status).toBe(413)
    expect(await textOf(result.response)).toBe('no')
    await expect.poll(() => dispatcher.active).toBe(0)
    expect(dispatcher.idle).toBe(0)
  })
})

describe('what is no HTTP', () => {
  it('is a protocol error', async () => {
    const dispatcher = await desk([await backend(tcp(socket => socket.end('220 mail ready\r\n')))])
    expect(await dispatcher.dispatch(order())).toMatchObject({ kind: 'failed', status: 502, flag: 'UPE' })
  })
})

describe('copies', () => {
  const mirrors = [{ cluster: { ...cluster, hostname: 'copy' } }]

  it('that nobody takes neither hold the request up nor its memory', async () => {
    const { promise: copied, resolve } = deferred<Socket>()
    // Reads the head and then nothing more.
    const stuck = tcp(socket => {
      socket.once('data', () => {
        socket.pause()
        resolve(socket)
      })
    })
    let received = 0
    const server = createHttpServer((request, response) => {
      request.on('data', (bytes: Buffer) => {
        received += bytes.length
      })
      request.on('end', () => response.end('done'))
    })
    const dispatcher = await desk([await backend(server)], { mirrors: [await backend(stuck)] })
    const body = new PassThrough()
    const result = dispatcher.dispatch(order({ method: 'POST', body, mirrors }))
    const piece = Buffer.alloc(65_536)
    for (let sent = 0; sent < 512; sent++) if (!body.write(piece)) await once(body, 'drain')
    body.end()
    expect(await textOf(responded(await result).response)).toBe('done')
    expect(received).toBe(512 * 65_536)
    const socket = await copied
    // Node may take a reset behind unread bytes for an end; that it comes at all is what counts.
    await new Promise(over => socket.on('end', over).on('close', over).resume())
    expect(socket.bytesRead).toBeLessThan(16 * 1_048_576)
  })

  it('of which the target is not there change nothing', async () => {
    const gone = await backend(createHttpServer())
    await gone.ztunnel.close({ graceMs: 0 })
    const dispatcher = await desk(
      [await backend(createHttpServer((request, response) => void request.pipe(response)))],
      { mirrors: [gone] },
    )
    const result = await dispatcher.dispatch(order({ method: 'POST', body: 'text', mirrors }))
    expect(await textOf(responded(result).response)).toBe('text')
  })
})

describe('callers of HTTP/2', () => {
  it('get HTTP/2 upstream where the port does not say what it speaks', async () => {
    const web = await backend(http2(stream => stream.respond({ ':status': 204 }, { endStream: true })))
    const dispatcher = await desk([web])
    const result = await dispatcher.dispatch(order({ http2: true }))
    expect(responded(result).response.status).toBe(204)
    expect(responded(await dispatcher.dispatch(order({ http2: true, protocol: 'HTTP2' }))).attempts).toBe(1)
    expect(web.tunnels()).toBe(1)
  })

  it('share the failure of the one dial that they wait for', async () => {
    const gone = await backend(createHttpServer())
    await gone.ztunnel.close({ graceMs: 0 })
    let dials = 0
    const pool = createHbonePool({
      dial: options => {
        dials++
        return dial(options)
      },
    })
    cleanup(() => pool.close({ graceMs: 0 }))
    const dispatcher = await desk([gone], { pool })
    const results = await Promise.all(
      Array.from({ length: 20 }, () => dispatcher.dispatch(order({ http2: true }))),
    )
    expect(new Set(results.map(({ kind }) => kind))).toEqual(new Set(['failed']))
    expect(results[0]).toMatchObject({ status: 503, flag: 'UF' })
    expect(dials).toBe(1)
  })
})

describe('at the end', () => {
  it('what is under way may finish in its time, and nothing is left', async () => {
    const { promise: arrived, resolve } = deferred<ServerResponse>()
    const server = createHttpServer((request, response) => {
      if (request.url === '/slow') resolve(response)
      else response.end('ok')
    })
    const web = await backend(server)
    const dispatcher = await desk([web])
    await textOf(responded(await dispatcher.dispatch(order())).response)
    const slow = dispatcher.dispatch(order({ path: '/slow' }))
    const response = await arrived
    const closed = dispatcher.close({ graceMs: 10_000 })
    expect(await dispatcher.dispatch(order())).toMatchObject({ kind: 'failed', status: 503 })
    response.end('in time')
    expect(await textOf(responded(await slow).response)).toBe('in time')
    await closed
    expect({ active: dispatcher.active, idle: dispatcher.idle }).toEqual({ active: 0, idle: 0 })
    await expect.poll(() => web.ztunnel.tunnels).toBe(0)
  })

  it('what takes longer is cut', async () => {
    const server = createHttpServer((_, response) => void response.write('half'))
    const dispatcher = await desk([await backend(server)])
    const { response } = responded(await dispatcher.dispatch(order()))
    const body = textOf(response)
    await dispatcher.close({ graceMs: 0 })
    await expect(body).rejects.toMatchObject({ code: 'ECONNRESET' })
  })
})

describe('TCP', () => {
  it('reaches an endpoint through a tunnel, server first, and half-closes', async () => {
    const server = tcp(socket => {
      socket.write('hello ')
      socket.pipe(socket)
    })
    const dispatcher = await desk([await backend(server)])
    const { request, caller } = order()
    const result = await dispatcher.connectTcp({ cluster, caller, signal: request.signal })
    if (result.kind === 'failed') throw new Error(result.reason)
    const [near, far] = channelPair()
    const socket = createTunnelSocket(near, {
      remoteAddress: '127.0.0.1',
      remotePort: 1,
      localAddress: '127.0.0.1',
      localPort: 2,
    })
    const pumped = pump(far, result.channel)
    socket.end('world')
    expect(await text(socket)).toBe('hello world')
    expect((await pumped).ending.kind).toBe('ended')
    result.release()
  })

  it('asks another endpoint when one cannot be reached', async () => {
    const gone = await backend(tcp(() => {}))
    await gone.ztunnel.close({ graceMs: 0 })
    const dispatcher = await desk([gone, await backend(tcp(socket => socket.end('here')))])
    const { request, caller } = order()
    const result = await dispatcher.connectTcp({ cluster, caller, signal: request.signal })
    expect(result).toMatchObject({ kind: 'connected', attempts: 2 })
    if (result.kind === 'connected') result.channel.reset('CANCEL', 'done')
  })
})

function deferred<T>(): { readonly promise: Promise<T>; readonly resolve: (value: T) => void } {
  let resolve: (value: T) => void = () => {}
  const promise = new Promise<T>(done => {
    resolve = done
  })
  return { promise, resolve }
}
