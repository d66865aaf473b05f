/** The dispatch desk and fields that are repeated, forged or out of place: in heads and behind bodies, over both HTTPs. */
import { once } from 'node:events'
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer, type Http2Server, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2'
import type { Server } from 'node:net'
import { describe, expect, it } from 'vitest'
import type { DispatchResponse, DispatchResult } from '../src/upstream/dispatch.ts'
import { backend, cleanup, desk, noRetry, order, textOf } from './upstream-fixtures.ts'

function http2(onStream: (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void): Http2Server {
  const server = createServer()
  server.on('stream', (stream, headers) => {
    stream.on('error', () => {})
    onStream(stream, headers)
  })
  server.on('session', session => cleanup(() => session.destroy()))
  return server
}

function responded(result: DispatchResult): DispatchResponse {
  if (result.kind === 'failed') throw new Error(`${result.detail}: ${result.reason}`)
  return result
}

/** What a caller would like a back end to believe, and one field that is a trailer indeed. */
const forged = [
  ['x-forwarded-client-cert', 'URI=spiffe://cluster.local/ns/shop/sa/admin'],
  ['x-envoy-original-path', '/admin'],
  ['host', 'admin'],
  ['connection', 'close'],
  ['transfer-encoding', 'chunked'],
  ['content-length', '7'],
  ['authorization', 'Bearer none'],
  ['cookie', 'user=admin'],
  ['te', 'trailers'],
  ['trailer', 'host'],
  ['sum', '3'],
] as const

describe('trailers', () => {
  it('of a request say upstream nothing that a head would not have said (HTTP/1.1)', async () => {
    let seen: NodeJS.Dict<string> = {}
    const server = createHttpServer(async (request, response) => {
      request.resume()
      await once(request, 'end')
      seen = request.trailers
      response.end('ok')
    })
    const dispatcher = await desk([await backend(server)])
    const result = await dispatcher.dispatch(order({ method: 'POST', body: 'abc', trailers: forged }))
    expect(await textOf(responded(result).response)).toBe('ok')
    expect(seen).toEqual({ sum: '3' })
  })

  it('of a request say upstream nothing that a head would not have said (HTTP/2)', async () => {
    let seen: [string, unknown][] = []
    const server = http2(stream => {
      stream.on('trailers', fields => {
        seen = Object.entries(fields)
      })
      stream.resume().on('end', () => {
        stream.respond({ ':status': 200 })
        stream.end('ok')
      })
    })
    const dispatcher = await desk([await backend(server)])
    const ask = { method: 'POST', body: 'abc', trailers: forged, protocol: 'HTTP2' } as const
    expect(await textOf(responded(await dispatcher.dispatch(order(ask))).response)).toBe('ok')
    expect(seen).toEqual([['sum', '3']])
  })

  it.each([
    [
      'repeated',
      [
        ['referer', 'a'],
        ['referer', 'b'],
        ['sum', '3'],
      ],
    ],
    ['of no name', [['a b', 'c']]],
    [
      'of one connection',
      [
        ['keep-alive', 'timeout=5'],
        ['http2-settings', 'x'],
        ['upgrade', 'y'],
      ],
    ],
  ] as const)('that Node does not take end the request all the same (%s)', async (_, trailers) => {
    const server = http2(stream => {
      stream.resume().on('end', () => {
        stream.respond({ ':status': 200 })
        stream.end('ok')
      })
    })
    const dispatcher = await desk([await backend(server)])
    const ask = { method: 'POST', body: 'abc', trailers, protocol: 'HTTP2' } as const
    expect(await textOf(responded(await dispatcher.dispatch(order(ask))).response)).toBe('ok')
  })

  it.each<[string, () => Server]>([
    [
      'HTTP/1.1',
      () =>
        createHttpServer((_: IncomingMessage, response: ServerResponse) => {
          response.writeHead(200, { trailer: 'sum' })
          response.write('ok')
          // What else would change where the message ends Node refuses itself.
          const sent = forged.filter(([name]) => !/^(trailer|transfer-encoding|content-length)$/.test(name))
          response.addTrailers(sent.map(([name, value]): [string, string] => [name, value]))
          response.end()
        }),
    ],
    [
      'HTTP/2',
      () =>
        http2(stream => {
          stream.respond({ ':status': 200 }, { waitForTrailers: true })
          stream.on('wantTrailers', () =>
            stream.sendTrailers({
              'x-forwarded-client-cert': 'a',
              'x-envoy-upstream-service-time': '0',
              authorization: 'Bearer none',
              cookie: 'user=admin',
              sum: '3',
            }),
          )
          stream.end('ok')
        }),
    ],
  ])('of a response say nothing else either (%s)', async (version, server) => {
    const dispatcher = await desk([await backend(server())])
    const protocol = version === 'HTTP/2' ? 'HTTP2' : 'HTTP11'
    const { response } = responded(await dispatcher.dispatch(order({ protocol })))
    expect(await textOf(response)).toBe('ok')
    expect([...(response.trailers() ?? [])]).toEqual([['sum', '3']])
  })
})

describe('a field that is repeated', () => {
  it('goes upstream over HTTP/2 once where there is but one, and joined where it is a list', async () => {
    let seen: IncomingHttpHeaders = {}
    const server = http2((stream, headers) => {
      seen = headers
      stream.respond({ ':status': 200 })
      stream.end('ok')
    })
    const dispatcher = await desk([await backend(server)])
    const fields = [
      ['user-agent', 'one'],
      ['user-agent', 'two'],
      ['referer', 'one'],
      ['referer', 'two'],
      ['if-none-match', '"one"'],
      ['if-none-match', '"two"'],
      ['x-own', 'one'],
      ['x-own', 'two'],
    ] as const
    const result = await dispatcher.dispatch(order({ fields, protocol: 'HTTP2' }))
    expect(await textOf(responded(result).response)).toBe('ok')
    expect(seen).toMatchObject({
      'user-agent': 'one',
      referer: 'one',
      'if-none-match': '"one", "two"',
      'x-own': 'one, two',
    })
  })

  it('a head that HTTP/2 cannot carry is not tried again', async () => {
    const web = await backend(http2(stream => stream.respond({ ':status': 200 }, { endStream: true })))
    const dispatcher = await desk([web])
    const retry = { ...noRetry, attempts: 3, on: new Set(['refused-stream', '5xx']) }
    const ask = { fields: { 'a b': 'c' }, protocol: 'HTTP2', retry } as const
    const result = await dispatcher.dispatch(order(ask))
    expect(result).toMatchObject({ kind: 'failed', status: 502, flag: 'UPE', attempts: 1 })
    await expect.poll(() => dispatcher.active).toBe(0)
  })
})

describe('what its head calls application/grpc-something', () => {
  it.each([
    ['application/grpc-web', 'HTTP/1.1'],
    ['application/grpc-web+proto', 'HTTP/1.1'],
    ['application/grpcish', 'HTTP/1.1'],
    ['application/grpc', 'HTTP/2'],
    ['application/grpc+proto', 'HTTP/2'],
  ])('%s goes upstream over %s, as its port does not say otherwise', async (type, version) => {
    let first = ''
    const h1 = createHttpServer((request, response) => {
      first = `HTTP/${request.httpVersion}`
      response.end()
    })
    const h2 = http2(stream => {
      first = 'HTTP/2'
      stream.respond({ ':status': 200, 'grpc-status': '0' }, { endStream: true })
    })
    const dispatcher = await desk([await backend(version === 'HTTP/2' ? h2 : h1)])
    const ask = { method: 'POST', body: 'x', protocol: 'HTTP11', fields: { 'content-type': type } } as const
    await textOf(responded(await dispatcher.dispatch(order(ask))).response)
    expect(first).toBe(version)
  })

  it('needs no status of gRPC to be complete, when it is none', async () => {
    const server = http2(stream => {
      stream.respond({ ':status': 200, 'content-type': 'application/grpc-web' })
      stream.end('ok')
    })
    const dispatcher = await desk([await backend(server)])
    expect(await textOf(responded(await dispatcher.dispatch(order({ protocol: 'HTTP2' }))).response)).toBe(
      'ok',
    )
  })
})
