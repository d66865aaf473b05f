/** Trailers through the waypoint: only those that mean nothing before the body, over any HTTP, and none ends the process. */
import { once } from 'node:events'
import { type IncomingMessage, request as httpRequest, type ServerResponse } from 'node:http'
import { connect, createServer as createHttp2Server, type IncomingHttpHeaders } from 'node:http2'
import type { Socket } from 'node:net'
import { type Duplex, Readable } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { HeaderFields } from '../src/http/header-fields.ts'
import { answer, startFixture, textOf } from './http-fixture.ts'
import { cleanup, createWorld, type World } from './world.ts'

const forged = [
  ['X-Forwarded-Client-Cert', 'By=spiffe://evil'],
  ['X-Envoy-Retry-On', '5xx'],
  ['Authorization', 'Bearer x'],
  ['Host', 'evil'],
  ['Cookie', 'a=b'],
  ['Connection', 'close'],
  ['Keep-Alive', '1'],
  ['Referer', 'a'],
  ['Referer', 'b'],
  ['X-Sum', '7'],
] as const
const block = forged.map(([name, value]) => `${name}: ${value}\r\n`).join('')
const chunked = `1\r\na\r\n0\r\n${block}\r\n`
const kept = ['referer', 'a', 'x-sum', '7']

/** What is sent and what comes until the caller's tunnel ends. */
async function raw(world: World, bytes: string): Promise<string> {
  const socket = (await world.tunnel()).socket()
  socket.on('error', () => {})
  socket.write(bytes)
  return textOf(Readable.from(socket))
}

const post = `POST / HTTP/1.1\r\nhost: web\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n${chunked}`

describe('trailers of a request', () => {
  it('from HTTP/1.1 to HTTP/1.1', async () => {
    const seen: string[][] = []
    const app = (request: IncomingMessage, response: ServerResponse): void =>
      void request.resume().on('end', () => {
        seen.push(request.rawTrailers.map(text => text.toLowerCase()))
        response.end()
      })
    const world = await createWorld({ protocol: 'HTTP11', app })
    expect(await raw(world, post)).toMatch(/^HTTP\/1.1 200/)
    expect(seen).toEqual([kept])
  })

  it('from HTTP/1.1 to HTTP/2', async () => {
    const seen: unknown[] = []
    const app = createHttp2Server()
    app.on('stream', stream => {
      stream.on('trailers', fields => seen.push(Object.fromEntries(Object.entries(fields))))
      stream.resume().on('end', () => stream.respond({ ':status': 200 }, { endStream: true }))
    })
    const world = await createWorld({ protocol: 'HTTP2', tcp: socket => void app.emit('connection', socket) })
    expect(await raw(world, post)).toMatch(/^HTTP\/1.1 200/)
    expect(seen).toEqual([{ referer: 'a', 'x-sum': '7' }])
  })

  it('from HTTP/2 to HTTP/1.1', async () => {
    const seen: string[][] = []
    const app = (request: IncomingMessage, response: ServerResponse): void =>
      void request.resume().on('end', () => {
        seen.push(request.rawTrailers)
        response.end()
      })
    const world = await createWorld({ protocol: 'HTTP11', app })
    const tunnel = await world.tunnel()
    const client = connect('http://web', { createConnection: (): Duplex => tunnel.socket() })
    cleanup(() => client.destroy())
    const stream = client.request({ ':method': 'POST', ':path': '/' }, { waitForTrailers: true })
    stream.on('wantTrailers', () =>
      stream.sendTrailers({ 'x-forwarded-client-cert': 'By=evil', host: 'evil', 'x-sum': '7' }),
    )
    stream.end('a')
    const [head] = (await once(stream, 'response')) as [IncomingHttpHeaders]
    await once(stream.resume(), 'close')
    expect(head[':status']).toBe(200)
    expect(seen).toEqual([['x-sum', '7']])
  })
})

describe('trailers of a response', () => {
  const serve = (socket: Socket): void =>
    void socket.once('data', () =>
      socket.write(`HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n${chunked}`),
    )

  it('from HTTP/1.1 to HTTP/2: what Node refuses to send ends neither the stream nor the process', async () => {
    const world = await createWorld({ protocol: 'HTTP11', tcp: serve })
    const tunnel = await world.tunnel()
    const client = connect('http://web', { createConnection: (): Duplex => tunnel.socket() })
    cleanup(() => client.destroy())
    const stream = client.request({ ':path': '/' })
    let trailers = {}
    stream.on('trailers', fields => {
      trailers = Object.fromEntries(Object.entries(fields))
    })
    expect(await textOf(stream)).toBe('a')
    expect(trailers).toEqual({ referer: 'a', 'x-sum': '7' })
  })

  it('from HTTP/1.1 to HTTP/1.1', async () => {
    const world = await createWorld({ protocol: 'HTTP11', tcp: serve })
    const socket = (await world.tunnel()).socket()
    const request = httpRequest({ path: '/', createConnection: () => socket as unknown as Socket })
    request.end()
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    expect(await textOf(response)).toBe('a')
    expect(response.rawTrailers.map(text => text.toLowerCase())).toEqual(kept)
    socket.destroy()
  })

  it('that no HTTP can carry are left out', async () => {
    const fixture = await startFixture({
      protocol: 'HTTP2',
      respond: () =>
        answer({
          body: Readable.from([Buffer.from('a')]),
          trailers: () =>
            new HeaderFields([
              ['a b', '1'],
              ['x-a', '1\n2'],
              ['x-b', '\u20ac'],
              ['x-c', '3'],
            ]),
        }),
    })
    cleanup(() => fixture.close())
    const client = connect(`http://127.0.0.1:${fixture.port}`)
    cleanup(() => client.destroy())
    const stream = client.request({ ':path': '/' })
    let trailers = {}
    stream.on('trailers', fields => {
      trailers = Object.fromEntries(Object.entries(fields))
    })
    expect(await textOf(stream)).toBe('a')
    expect(trailers).toEqual({ 'x-c': '3' })
  })
})
