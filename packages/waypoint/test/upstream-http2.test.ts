/** The dispatch desk over HTTP/2: gRPC with its trailers, shared sessions, resets; and what a draining ztunnel does to it. */
import { createServer as createHttpServer } from 'node:http'
import { createServer, type Http2Server, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2'
import { Server as GrpcServer, ServerCredentials } from '@grpc/grpc-js'
import { connect } from 'node:net'
import { createServer as createTcpServer } from 'node:net'
import { describe, expect, it } from 'vitest'
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

/** A gRPC server of grpc-js, reached through a TCP server that the fixtures can bind. */
async function greeter() {
  const grpc = new GrpcServer()
  const raw = (value: Buffer): Buffer => value
  const method = {
    path: '/shop.Greeter/Hello',
    requestStream: false,
    responseStream: true,
    requestSerialize: raw,
    requestDeserialize: raw,
    responseSerialize: raw,
    responseDeserialize: raw,
  }
  grpc.addService(
    { Hello: method },
    {
      Hello: (call: { request: Buffer; write(bytes: Buffer): void; end(): void }) => {
        for (const part of ['one', 'two']) call.write(Buffer.from(`${call.request} ${part}`))
        call.end()
      },
    },
  )
  const port = await new Promise<number>((resolve, reject) =>
    grpc.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    ),
  )
  cleanup(() => grpc.forceShutdown())
  return createTcpServer(socket => {
    const to = connect(port, '127.0.0.1')
    socket.pipe(to).pipe(socket)
    for (const end of [socket, to]) end.on('error', () => {})
  })
}

/** One length-prefixed message of gRPC. */
function message(text: string): string {
  const head = Buffer.alloc(5)
  head.writeUInt32BE(text.length, 1)
  return head.toString('latin1') + text
}

const GRPC = { 'content-type': 'application/grpc', te: 'trailers' }

describe('HTTP/2 upstream', () => {
  it('carries gRPC of grpc-js: messages, then the status in trailers', async () => {
    const dispatcher = await desk([await backend(await greeter())])
    const result = await dispatcher.dispatch(
      order({
        method: 'POST',
        path: '/shop.Greeter/Hello',
        fields: GRPC,
        body: message('hello'),
        http2: true,
      }),
    )
    if (result.kind !== 'response') throw new Error(result.reason)
    expect(await textOf(result.response)).toBe(message('hello one') + message('hello two'))
    expect(result.response.trailers()?.get('grpc-status')).toBe('0')
  })

  it('shares one session among requests that run at the same time', async () => {
    const waiting: ServerHttp2Stream[] = []
    const web = await backend(
      http2(stream => {
        waiting.push(stream)
        if (waiting.length === 3)
          for (const one of waiting) {
            one.respond({ ':status': 200 })
            one.end('all')
          }
      }),
    )
    const dispatcher = await desk([web])
    const results = await Promise.all(
      [1, 2, 3].map(() => dispatcher.dispatch(order({ protocol: 'HTTP2', http2: true }))),
    )
    for (const result of results)
      expect(result.kind === 'response' && (await textOf(result.response))).toBe('all')
    expect(web.tunnels()).toBe(1)
    await expect.poll(() => dispatcher.idle).toBe(1)
  })

  it('never shows a cut response as a complete one', async () => {
    const cuts: readonly ((stream: ServerHttp2Stream) => void)[] = [
      stream => stream.close(2),
      stream => stream.close(8),
      stream => stream.session?.destroy(),
    ]
    for (const cut of cuts) {
      const web = await backend(
        http2(stream => {
          stream.respond({ ':status': 200, 'content-type': 'application/grpc' })
          stream.write('half', () => setImmediate(() => cut(stream)))
        }),
      )
      const dispatcher = await desk([web])
      const result = await dispatcher.dispatch(
        order({ method: 'POST', fields: GRPC, body: 'x', http2: true }),
      )
      if (result.kind !== 'response') throw new Error(result.reason)
      await expect(textOf(result.response)).rejects.toMatchObject({ code: 'ECONNRESET' })
    }
  })

  it('tries a refused stream again: the upstream has said that it did nothing', async () => {
    let asked = 0
    const web = await backend(
      http2(stream => {
        if (asked++ === 0) return stream.close(7)
        stream.respond({ ':status': 200 })
        stream.end('second')
      }),
    )
    const retry = { ...noRetry, attempts: 1, on: new Set(['refused-stream']) }
    const result = await (await desk([web])).dispatch(order({ protocol: 'HTTP2', retry, http2: true }))
    expect(result).toMatchObject({ kind: 'response', attempts: 2 })
  })
})

describe('a ztunnel that drains', () => {
  it.each(['HTTP11', 'HTTP2'] as const)('costs no request (%s)', { timeout: 20_000 }, async protocol => {
    const server =
      protocol === 'HTTP11'
        ? createHttpServer((_, response) => response.end('ok'))
        : http2(stream => {
            stream.respond({ ':status': 200 })
            stream.end('ok')
          })
    const web = await backend(server)
    const dispatcher = await desk([web])
    const ask = async (): Promise<string> => {
      const result = await dispatcher.dispatch(order({ protocol, http2: protocol === 'HTTP2' }))
      return result.kind === 'response' ? textOf(result.response) : `${result.status} ${result.reason}`
    }
    const answers = new Map<string, number>()
    const caller = async (): Promise<void> => {
      for (let count = 0; count < 100; count++) {
        const answer = await ask()
        answers.set(answer, (answers.get(answer) ?? 0) + 1)
        if (count % 25 === 10) web.ztunnel.retire()
      }
    }
    await Promise.all([caller(), caller(), caller(), caller()])
    expect([...answers]).toEqual([['ok', 400]])
    expect(web.tunnels()).toBeGreaterThan(1)
  })
})
