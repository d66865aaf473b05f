/** HTTP/2 at the reading room: Node's client, grpc-js, frames by hand. */
import { once } from 'node:events'
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  type OutgoingHttpHeaders,
} from 'node:http2'
import { connect as connectTcp, type Socket } from 'node:net'
import { PassThrough, Readable } from 'node:stream'
import { Client, credentials, Metadata, status as grpcStatus } from '@grpc/grpc-js'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { HeaderFields } from '../src/http/header-fields.ts'
import { answer, type Fixture, type FixtureOptions, startFixture } from './http-fixture.ts'

let fixture: Fixture | undefined
let session: ClientHttp2Session | undefined
afterEach(async () => {
  session?.destroy()
  session = undefined
  await fixture?.close()
  fixture = undefined
})

async function start(
  options: FixtureOptions = {},
): Promise<Fixture & { readonly client: ClientHttp2Session }> {
  fixture = await startFixture({ protocol: 'HTTP2', ...options })
  session = connect(`http://127.0.0.1:${fixture.port}`)
  // Each test looks at its streams; a session that is cut on purpose is none of its errors.
  session.on('error', () => {})
  return Object.assign(fixture, { client: session })
}

interface Reply {
  readonly headers: Record<string, unknown>
  readonly trailers: Record<string, unknown> | undefined
  readonly body: string
  readonly rstCode: number
}

async function ask(client: ClientHttp2Session, headers: OutgoingHttpHeaders, body?: string): Promise<Reply> {
  const stream = client.request({ ':path': '/', ...headers }, { endStream: body === undefined })
  if (body !== undefined) stream.end(body)
  return reply(stream)
}

function reply(stream: ClientHttp2Stream): Promise<Reply> {
  return new Promise((resolve, reject) => {
    let headers: Record<string, unknown> = {}
    let trailers: Record<string, unknown> | undefined
    let text = ''
    stream.on('response', fields => {
      headers = { ...fields }
    })
    stream.on('trailers', fields => {
      trailers = Object.fromEntries(Object.entries(fields))
    })
    stream.on('data', chunk => {
      text += String(chunk)
    })
    stream.on('error', reject)
    stream.on('close', () => resolve({ headers, trailers, body: text, rstCode: stream.rstCode ?? 0 }))
  })
}

async function textOf(stream: Readable | undefined): Promise<string> {
  let text = ''
  for await (const chunk of stream ?? []) text += String(chunk)
  return text
}

describe('HTTP/2', () => {
  it('carries request and response, with trailers both ways', async () => {
    const { client, orders, ledger, recorded } = await start({
      respond: async order => {
        const text = await textOf(order.request.body)
        return answer({
          headers: new HeaderFields([
            ['set-cookie', 'a=1'],
            ['set-cookie', 'b=2'],
            ['content-type', 'text/plain'],
            ['content-type', 'text/html'],
            ['connection', 'keep-alive'],
          ]),
          body: Readable.from([Buffer.from(`got ${text}`)]),
          trailers: () => new HeaderFields([['x-sum', '7']]),
        })
      },
    })
    const stream = client.request(
      { ':path': '/a//b?x', ':method': 'POST', ':authority': 'app:80', cookie: ['a=1', 'b=2'] },
      { waitForTrailers: true },
    )
    stream.on('wantTrailers', () => stream.sendTrailers({ 'x-check': '1' }))
    stream.end('body')
    const { headers, trailers, body } = await reply(stream)
    expect(headers).toMatchObject({
      ':status': 200,
      server: 'istio-envoy',
      'set-cookie': ['a=1', 'b=2'],
      'content-type': 'text/plain',
    })
    expect([body, trailers]).toEqual(['got body', { 'x-sum': '7' }])
    expect(orders[0]?.request).toMatchObject({
      method: 'POST',
      authority: 'app:80',
      path: '/a//b?x',
      scheme: 'http',
      protocol: 'HTTP/2',
    })
    expect(orders[0]?.request.headers.get('cookie')).toBe('a=1; b=2')
    expect([...(orders[0]?.request.trailers() ?? [])]).toEqual([['x-check', '1']])
    await recorded(1)
    expect(ledger[0]?.outcome).toMatchObject({
      status: 200,
      receivedBytes: 4,
      sentBytes: 8,
      isComplete: true,
    })
  })

  it('many exchanges at once; HEAD; an answer without a body', async () => {
    const { client, recorded } = await start({
      respond: order =>
        answer(order.request.path === '/0' ? {} : { body: Readable.from([Buffer.from(order.request.path)]) }),
    })
    const replies = await Promise.all(
      Array.from({ length: 20 }, (_, at) => ask(client, { ':path': `/${at}` })),
    )
    expect(replies.map(({ body }) => body)).toEqual([
      '',
      ...Array.from({ length: 19 }, (_, at) => `/${at + 1}`),
    ])
    await recorded(20)
  })

  it('a denial, also while a body is on its way', async () => {
    const { client, orders, ledger, recorded } = await start({
      desk: { authorize: () => ({ allowed: false, reason: 'x', detail: 'rbac', considered: [] }) },
    })
    expect(await ask(client, {})).toMatchObject({ headers: { ':status': 403 }, body: 'RBAC: access denied' })
    const upload = client.request({ ':path': '/', ':method': 'POST' })
    upload.on('error', () => {})
    upload.write('first')
    expect(await reply(upload)).toMatchObject({
      headers: { ':status': 403 },
      body: 'RBAC: access denied',
      rstCode: 0,
    })
    expect(await ask(client, {})).toMatchObject({ headers: { ':status': 403 } })
    await recorded(3)
    expect(orders).toEqual([])
    expect(ledger[0]?.outcome).toMatchObject({ status: 403, detail: 'rbac' })
  })

  it('a cut upstream is a RST_STREAM, never an end', async () => {
    const { port, recorded, ledger } = await start({
      respond: () => {
        let isGiven = false
        return answer({
          body: new Readable({
            read() {
              if (!isGiven) this.push('half')
              // When the first bytes have gone.
              else setImmediate(() => this.destroy(new Error('cut')))
              isGiven = true
            },
          }),
        })
      },
    })
    const frames = await rawFrames(port, requestFrame())
    await recorded(1)
    const types = frames.filter(frame => frame.stream === 1).map(({ type, flags }) => [type, flags & 1])
    expect(types).toEqual([
      [HEADERS, 0],
      [DATA, 0],
      [RST_STREAM, 0],
    ])
    expect(ledger[0]?.outcome).toMatchObject({ status: 200, flags: ['UC'], isComplete: false })
  })

  it('a caller that cancels, and an upload that is reset', async () => {
    const ends: string[] = []
    const { port, ledger, recorded } = await start({
      respond: order =>
        new Promise(resolve => {
          order.request.signal.addEventListener('abort', () => resolve(answer()))
          textOf(order.request.body).then(
            () => ends.push('end'),
            () => ends.push('cut'),
          )
        }),
    })
    const data = Buffer.concat([frameHead(5, DATA, 0, 1), Buffer.from('first')])
    const cancel = Buffer.concat([frameHead(4, RST_STREAM, 0, 1), Buffer.from([0, 0, 0, 8])])
    const socket = rawSession(port, Buffer.concat([requestFrame([], 'app', false), data]))
    await vi.waitFor(() => expect(ledger[0]?.steps).toContain('forward'))
    socket.write(cancel)
    await recorded(1)
    await vi.waitFor(() => expect(ends).toEqual(['cut']))
    expect(ledger[0]?.outcome).toMatchObject({ status: 0, flags: ['DC'], receivedBytes: 5 })
    socket.destroy()
  })

  it('too many fields are 431, far too many a reset', async () => {
    const { client, orders } = await start()
    const many = (count: number): OutgoingHttpHeaders =>
      Object.fromEntries(Array.from({ length: count }, (_, at) => [`x-${at}`, '1']))
    expect(await ask(client, many(101))).toMatchObject({ headers: { ':status': 431 } })
    expect(await ask(client, { 'x-a': 'x'.repeat(61_500) })).toMatchObject({ headers: { ':status': 431 } })
    await expect(ask(client, many(400))).rejects.toThrow(/ENHANCE_YOUR_CALM/)
    expect(orders).toEqual([])
    expect(await ask(client, {})).toMatchObject({ headers: { ':status': 200 } })
  })

  it.each([
    ['connection', [['connection', 'close']]],
    ['transfer-encoding', [['transfer-encoding', 'chunked']]],
    ['te that is not trailers', [['te', 'gzip']]],
    ['an upper-case name', [['X-A', '1']]],
    [
      'two different lengths',
      [
        ['content-length', '1'],
        ['content-length', '2'],
      ],
    ],
    ['two authorities', [[':authority', 'b']]],
  ] as const)('forbidden: %s', async (_name, fields) => {
    const { port, orders } = await start()
    const frames = await rawFrames(port, requestFrame(fields))
    const last = frames.filter(frame => frame.stream === 1).at(-1)
    const isReset = last?.type === RST_STREAM
    const isRefused = last?.type === HEADERS && frames.some(frame => frame.body.includes('400'))
    expect(isReset || isRefused || frames.some(frame => frame.type === GOAWAY)).toBe(true)
    expect(orders).toEqual([])
  })

  it('a value with a line break is left out', async () => {
    const { port, orders } = await start()
    await rawFrames(
      port,
      requestFrame([
        ['x-a', '1\r\nx-b: 2'],
        ['x-c', '3'],
      ]),
    )
    expect(orders.map(({ request }) => [request.headers.has('x-a'), request.headers.get('x-c')])).toEqual([
      [false, '3'],
    ])
  })

  it('an authority in Host alone counts; with a user it is 400, without any a reset', async () => {
    const { port, orders, ledger, recorded } = await start()
    await rawFrames(port, requestFrame([['host', 'app']], ''))
    const frames = await rawFrames(port, requestFrame([], ''))
    expect(frames.at(-1)?.type).toBe(RST_STREAM)
    await rawFrames(port, requestFrame([], 'user@app'))
    await recorded(2)
    expect(orders.map(order => order.request.authority)).toEqual(['app'])
    expect(ledger.map(({ outcome }) => outcome?.status)).toEqual([200, 400])
  })

  it('drains: a notice, then the requests that were on their way, then the end', async () => {
    let release: () => void = () => {}
    const { client, room, ledger } = await start({
      limits: { drainIdleMs: 30 },
      respond: () =>
        new Promise(resolve => {
          release = () => resolve(answer({ body: Readable.from(['late']) }))
        }),
    })
    const goaway = once(client, 'goaway')
    const pending = ask(client, {})
    await vi.waitFor(() => expect(ledger[0]?.steps).toContain('forward'))
    room.drain()
    const [code, last] = await goaway
    expect([code, last]).toEqual([0, 2 ** 31 - 1])
    const closed = once(client, 'close')
    release()
    expect((await pending).body).toBe('late')
    await closed
    await vi.waitFor(() => expect(room.connections).toBe(0))
  })

  it('an idle session ends', async () => {
    const { client } = await start({ limits: { idleMs: 30 } })
    await once(client, 'close')
  })

  it('WebSocket over HTTP/2 (RFC 8441)', async () => {
    const upstream = new PassThrough()
    const { client, orders, ledger, recorded } = await start({
      respond: () =>
        answer({
          status: 101,
          headers: new HeaderFields([
            ['sec-websocket-accept', 'x'],
            ['upgrade', 'websocket'],
          ]),
          upgraded: upstream,
        }),
    })
    await once(client, 'remoteSettings')
    const stream = client.request({
      ':method': 'CONNECT',
      ':protocol': 'websocket',
      ':path': '/chat',
      ':scheme': 'http',
      ':authority': 'app',
    })
    const [headers] = await once(stream, 'response')
    expect(headers).toMatchObject({ ':status': 200 })
    expect(headers).not.toHaveProperty('sec-websocket-accept')
    expect(orders[0]?.request).toMatchObject({ method: 'GET', path: '/chat', upgrade: 'websocket' })
    stream.end('echo')
    expect(await textOf(stream)).toBe('echo')
    await recorded(1)
    expect(ledger[0]?.outcome).toMatchObject({
      status: 101,
      receivedBytes: 4,
      sentBytes: 4,
      isComplete: true,
    })
  })
})

describe('gRPC', () => {
  const identity = (bytes: Buffer): Buffer => bytes
  const message = (text: string): Buffer =>
    Buffer.concat([Buffer.from([0, 0, 0, 0, text.length]), Buffer.from(text)])

  async function startGrpc(
    options: FixtureOptions,
  ): Promise<{ readonly fixture: Fixture; readonly client: Client }> {
    fixture = await startFixture({ protocol: 'GRPC', ...options })
    return { fixture, client: new Client(`127.0.0.1:${fixture.port}`, credentials.createInsecure()) }
  }

  const unary = (
    client: Client,
  ): Promise<{ readonly code: number; readonly details: string; readonly value?: string }> =>
    new Promise(resolve => {
      const call = client.makeUnaryRequest(
        '/s/M',
        identity,
        identity,
        Buffer.from('hi'),
        new Metadata(),
        (error, value) =>
          resolve(
            error === null
              ? { code: 0, details: '', value: String(value) }
              : { code: error.code, details: error.details },
          ),
      )
      call.on('error', () => {})
    })

  it('unary and server streaming, with the status of the trailers', async () => {
    const { fixture: room, client } = await startGrpc({
      respond: order =>
        answer({
          headers: new HeaderFields([['content-type', 'application/grpc']]),
          body: Readable.from(
            order.request.path === '/s/Many' ? [message('a'), message('b')] : [message('one')],
          ),
          trailers: () =>
            new HeaderFields(
              order.request.path === '/s/Many'
                ? [
                    ['grpc-status', '5'],
                    ['grpc-message', 'no more'],
                  ]
                : [['grpc-status', '0']],
            ),
        }),
    })
    expect(await unary(client)).toEqual({ code: 0, details: '', value: 'one' })
    const call = client.makeServerStreamRequest('/s/Many', identity, identity, Buffer.from('hi'))
    const got: string[] = []
    call.on('data', value => got.push(String(value)))
    const [error] = await once(call, 'error')
    expect([got, error.code, error.details]).toEqual([['a', 'b'], grpcStatus.NOT_FOUND, 'no more'])
    await room.recorded(2)
    expect(room.ledger.map(({ outcome }) => outcome?.grpcStatus)).toEqual([0, 5])
    expect(room.ledger[0]?.start?.isGrpc).toBe(true)
    client.close()
  })

  it('a denial is PERMISSION_DENIED, an upstream that failed UNAVAILABLE, a cut one neither OK', async () => {
    let mode: 'denied' | 'failed' | 'cut' = 'denied'
    const { client } = await startGrpc({
      desk: { authorize: () => ({ allowed: mode !== 'denied', reason: 'x', detail: 'y', considered: [] }) },
      respond: () =>
        mode === 'failed'
          ? {
              kind: 'failed',
              status: 503,
              flag: 'UH',
              flags: ['UH'],
              body: 'no healthy upstream',
              detail: 'no_healthy_upstream',
              reason: '',
              endpoint: undefined,
              attempts: 0,
            }
          : answer({
              headers: new HeaderFields([['content-type', 'application/grpc']]),
              body: new Readable({
                read() {
                  this.destroy(new Error('cut'))
                },
              }),
            }),
    })
    expect(await unary(client)).toEqual({
      code: grpcStatus.PERMISSION_DENIED,
      details: 'RBAC: access denied',
    })
    mode = 'failed'
    expect(await unary(client)).toEqual({ code: grpcStatus.UNAVAILABLE, details: 'no healthy upstream' })
    mode = 'cut'
    expect((await unary(client)).code).toBe(grpcStatus.INTERNAL)
    client.close()
  })
})

const [DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY] = [0, 1, 3, 4, 7]

interface Frame {
  readonly type: number
  readonly flags: number
  readonly stream: number
  readonly body: Buffer
}

/** GET / on stream 1, END_STREAM; every field a literal without index. */
function requestFrame(
  fields: readonly (readonly [string, string])[] = [],
  authority = 'app',
  isEnd = true,
): Buffer {
  const pseudo: (readonly [string, string])[] = [
    [':method', 'GET'],
    [':scheme', 'http'],
    [':path', '/'],
  ]
  if (authority !== '') pseudo.push([':authority', authority])
  const isPseudo = ([name]: readonly [string, string]): boolean => name.startsWith(':')
  const all = [...pseudo, ...fields.filter(isPseudo), ...fields.filter(field => !isPseudo(field))]
  const block = Buffer.concat(
    all.map(([name, value]) =>
      Buffer.concat([
        Buffer.from([0, name.length]),
        Buffer.from(name),
        Buffer.from([value.length]),
        Buffer.from(value),
      ]),
    ),
  )
  return Buffer.concat([frameHead(block.length, HEADERS, isEnd ? 0x5 : 0x4, 1), block])
}

function frameHead(length: number, type: number, flags: number, stream: number): Buffer {
  const head = Buffer.alloc(9)
  head.writeUIntBE(length, 0, 3)
  head[3] = type
  head[4] = flags
  head.writeUInt32BE(stream, 5)
  return head
}

/** Sends the preface and these frames. */
function rawSession(port: number, frames: Buffer): Socket {
  const socket = connectTcp(port, '127.0.0.1')
  socket.on('error', () => {})
  socket.write(
    Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frameHead(0, SETTINGS, 0, 0), frames]),
  )
  return socket
}

/** Collects what comes until stream 1 is over or the connection is. */
function rawFrames(port: number, frames: Buffer): Promise<Frame[]> {
  const socket = rawSession(port, frames)
  const got: Frame[] = []
  let bytes = Buffer.alloc(0)
  return new Promise(resolve => {
    socket.on('close', () => resolve(got))
    socket.on('data', chunk => {
      bytes = Buffer.concat([bytes, chunk])
      while (bytes.length >= 9 && bytes.length >= 9 + bytes.readUIntBE(0, 3)) {
        const body = bytes.subarray(9, 9 + bytes.readUIntBE(0, 3))
        const frame = { type: bytes[3] ?? 0, flags: bytes[4] ?? 0, stream: bytes.readUInt32BE(5), body }
        bytes = bytes.subarray(9 + body.length)
        got.push(frame)
        const isEnd = frame.type === RST_STREAM || (frame.type <= HEADERS && (frame.flags & 1) === 1)
        if ((frame.stream === 1 && isEnd) || frame.type === GOAWAY) socket.destroy()
      }
    })
  })
}
