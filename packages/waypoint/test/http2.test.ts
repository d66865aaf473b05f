/** HTTP/2 at the reading room: Node's client, grpc-js, frames by hand. */
import { once } from 'node:events'
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  type OutgoingHttpHeaders,
} from 'node:http2'
import { PassThrough, Readable } from 'node:stream'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { HeaderFields } from '../src/http/header-fields.ts'
import {
  DATA,
  frameHead,
  GOAWAY,
  HEADERS,
  rawFrames,
  rawSession,
  requestFrame,
  RST_STREAM,
} from './http2-frames.ts'
import { answer, type Fixture, type FixtureOptions, startFixture, textOf } from './http-fixture.ts'

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

  it('100 Continue goes out when somebody reads', async () => {
    const { client } = await start({
      respond: async order =>
        answer({ body: Readable.from([Buffer.from(await textOf(order.request.body))]) }),
    })
    const stream = client.request({ ':path': '/', ':method': 'POST', expect: '100-continue' })
    await once(stream, 'continue')
    stream.end('body')
    expect((await reply(stream)).body).toBe('body')
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

  it('an authority in Host alone counts; with a user it is 400 or a reset, without any a reset', async () => {
    const { port, orders, ledger, recorded } = await start()
    await rawFrames(port, requestFrame([['host', 'app']], ''))
    const frames = await rawFrames(port, requestFrame([], ''))
    expect(frames.at(-1)?.type).toBe(RST_STREAM)
    // From Node 22 on nghttp2 refuses it before we see it.
    const refused = await rawFrames(port, requestFrame([], 'user@app'))
    const statuses = refused.at(-1)?.type === RST_STREAM ? [200] : [200, 400]
    await recorded(statuses.length)
    expect(orders.map(order => order.request.authority)).toEqual(['app'])
    expect(ledger.map(({ outcome }) => outcome?.status)).toEqual(statuses)
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
