/** The HTTP CONNECT listener over real HBONE: curl, Node's http, grpc-js by `grpc_proxy`, strict heads, refusals that say why. */
import { execFile, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { request } from 'node:http'
import type { Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { createManualClock } from '@ambient/core/testing'
import { createConnectProxy } from '@ambient/hbone/connect-proxy'
import * as grpc from '@grpc/grpc-js'
import { describe, expect, it } from 'vitest'
import { deferred, later } from './harness.ts'
import { drain, front, take, webServer } from './proxy-harness.ts'

const run = promisify(execFile)
const hasCurl = spawnSync('curl', ['--version']).status === 0
const established = 'HTTP/1.1 200 Connection established\r\n\r\n'

/** Sends a head and gives what comes first. */
async function ask(socket: Socket, target: string, fields = ''): Promise<string> {
  socket.write(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n${fields}\r\n`)
  return (await take(socket, established.length)).toString()
}

interface Refusal {
  readonly status: number
  readonly head: string
  readonly body: {
    readonly status: number
    readonly code: string
    readonly message: string
    readonly help: string
  }
}

async function refusal(socket: Socket): Promise<Refusal> {
  const { bytes, end } = await drain(socket)
  expect(end).toBe('fin')
  const [head = '', body = ''] = bytes.toString().split('\r\n\r\n')
  expect(head).toContain(`content-length: ${Buffer.byteLength(body)}`)
  return { status: Number(head.split(' ')[1]), head, body: JSON.parse(body) as Refusal['body'] }
}

describe('an HTTP CONNECT listener', () => {
  it.skipIf(!hasCurl)('serves curl (needs curl)', async () => {
    const { proxy, asked } = await front(createConnectProxy)
    const { port } = await webServer()
    const { stdout } = await run('curl', [
      ...['--silent', '--noproxy', '', '--proxytunnel', '--proxy', `http://127.0.0.1:${proxy.port}`],
      `http://reviews.shop:${port}/a`,
    ])
    expect(stdout).toBe(`GET /a of reviews.shop:${port}\n`)
    expect(asked).toEqual([`reviews.shop:${port}`])
  })

  it.skipIf(!hasCurl)('tells curl that does not tunnel what to do (needs curl)', async () => {
    const { proxy, asked } = await front(createConnectProxy)
    const { stdout } = await run('curl', [
      ...['--silent', '--noproxy', '', '--proxy', `http://127.0.0.1:${proxy.port}`],
      'http://reviews.shop/a',
    ])
    expect(JSON.parse(stdout)).toMatchObject({
      status: 405,
      code: 'AMBIENT_E_CONNECT_PROXY',
      message: expect.stringContaining('GET of an absolute URL'),
      help: expect.stringContaining('--proxytunnel'),
    })
    expect(asked).toEqual([])
  })

  it('passes the end of a client that says nothing more, and does not wait for the answer to end', async () => {
    const { promise: known, resolve: check } = deferred<boolean>()
    const asking = deferred<void>()
    const { client } = await front(createConnectProxy, {
      checkLogin: () => {
        asking.resolve()
        return known
      },
    })
    const socket = await client()
    const login = Buffer.from('me:it').toString('base64')
    socket.end(
      `CONNECT echo.test:80 HTTP/1.1\r\nHost: echo.test\r\nProxy-Authorization: Basic ${login}\r\n\r\n`,
    )
    await asking.promise
    // Its end arrives while it is still asked who it is.
    for (let turn = 0; turn < 20; turn++) await new Promise(resolve => setImmediate(resolve))
    check(true)
    expect(await drain(socket)).toEqual({ bytes: Buffer.from(established), end: 'fin' })
  })

  it("serves Node's http", async () => {
    const { proxy } = await front(createConnectProxy)
    const { port } = await webServer()
    const connecting = request({
      host: proxy.address,
      port: proxy.port,
      method: 'CONNECT',
      path: `web.shop:${port}`,
    }).end()
    const [response, socket] = (await once(connecting, 'connect')) as [{ statusCode: number }, Socket]
    expect(response.statusCode).toBe(200)
    const inner = request({ createConnection: () => socket, headers: { host: 'web.shop' }, path: '/b' }).end()
    const [answer] = (await once(inner, 'response')) as [NodeJS.ReadableStream]
    const chunks: Buffer[] = []
    for await (const chunk of answer) chunks.push(chunk as Buffer)
    expect(Buffer.concat(chunks).toString()).toBe('GET /b of web.shop\n')
    socket.destroy()
  })

  it('serves a grpc-js program by grpc_proxy', async () => {
    const { proxy, asked } = await front(createConnectProxy)
    const port = await greeter()
    const program = fileURLToPath(new URL('fixtures/grpc-client.mjs', import.meta.url))
    const { stdout } = await run(process.execPath, [program, `greeter.shop:${port}`], {
      env: { PATH: process.env['PATH'], grpc_proxy: `http://127.0.0.1:${proxy.port}` },
    })
    expect(stdout).toBe('hello child\n')
    expect(asked).toEqual([`greeter.shop:${port}`])
  })

  it('carries a megabyte each way, what came early too, and an end in either direction', async () => {
    const { client } = await front(createConnectProxy)
    const socket = await client()
    const bytes = randomBytes(1 << 20)
    socket.write('CONNECT echo.test:80 HTTP/1.1\r\nHost: echo.test:80\r\n\r\nearly')
    socket.end(bytes)
    const back = await drain(socket)
    expect(back.end).toBe('fin')
    const body = back.bytes.subarray(established.length)
    expect(body.subarray(0, 5).toString()).toBe('early')
    expect(body.subarray(5).equals(bytes)).toBe(true)
  })

  it('passes a reset of the far side', async () => {
    const { client } = await front(createConnectProxy)
    const socket = await client()
    expect(await ask(socket, 'reset.test:80')).toBe(established)
    socket.write('x')
    expect((await drain(socket)).end).toBe('reset')
  })

  it('asks for user name and password when it has somebody to ask', async () => {
    const checkLogin = (user: string, password: string): boolean => user === 'me' && password === 'a:b'
    const { client } = await front(createConnectProxy, { checkLogin })
    const basic = (text: string): string =>
      `Proxy-Authorization: Basic ${Buffer.from(text).toString('base64')}\r\n`
    expect(await ask(await client(), 'echo.test:80', basic('me:a:b'))).toBe(established)
    for (const fields of ['', basic('me:b'), basic('me'), 'Proxy-Authorization: Bearer x\r\n']) {
      const socket = await client()
      socket.write(`CONNECT echo.test:80 HTTP/1.1\r\nHost: echo.test:80\r\n${fields}\r\n`)
      const { status, head } = await refusal(socket)
      expect(status).toBe(407)
      expect(head).toContain('proxy-authenticate: Basic realm="ambient"')
    }
  })
})

describe('a login that an HTTP CONNECT listener cannot check', () => {
  const login = Buffer.from('me:it').toString('base64')
  const head = `CONNECT echo.test:80 HTTP/1.1\r\nHost: echo.test\r\nProxy-Authorization: Basic ${login}\r\n\r\n`
  const cause = new Error('the directory of ldap.internal is down')

  it.each([
    ['rejects', () => Promise.reject(cause)],
    [
      'throws',
      () => {
        throw cause
      },
    ],
  ])('is 503, and tells the cause to nobody but us: one that %s', async (_, checkLogin) => {
    const { client, asked, failures, proxy } = await front(createConnectProxy, { checkLogin })
    const socket = await client()
    socket.write(head)
    const refused = await refusal(socket)
    expect(refused.status).toBe(503)
    expect(refused.body).toMatchObject({ status: 503, code: 'AMBIENT_E_LOGIN_CHECK' })
    expect(refused.body.help).not.toContain('docs/errors.md')
    expect(JSON.stringify(refused.body)).not.toContain('ldap')
    expect(failures.map(({ error }) => [error.code, error.cause])).toEqual([['AMBIENT_E_LOGIN_CHECK', cause]])
    expect(asked).toEqual([])
    socket.end()
    while (proxy.connections > 0) await new Promise(resolve => setImmediate(resolve))
  })

  it('is 503 after a time, and makes room for others; a verdict that comes later counts no more', async () => {
    const clock = createManualClock()
    const verdicts: ((isRight: boolean) => void)[] = []
    const { client, asked, failures, proxy } = await front(createConnectProxy, {
      clock,
      checkLogin: () => new Promise(resolve => verdicts.push(resolve)),
      limits: { maxPendingRequests: 1, requestMs: 7_000 },
    })
    const socket = await client()
    socket.write(head)
    while (verdicts.length < 1) await new Promise(resolve => setImmediate(resolve))
    clock.advance(7_000)
    const refused = await refusal(socket)
    expect([refused.status, refused.body.message]).toEqual([503, expect.stringContaining('7000 ms')])
    verdicts[0]?.(true)
    const next = await client()
    next.write(head)
    while (verdicts.length < 2) await new Promise(resolve => setImmediate(resolve))
    verdicts[1]?.(true)
    expect((await take(next, established.length)).toString()).toBe(established)
    expect(asked).toEqual(['echo.test:80'])
    expect(failures.map(({ error }) => error.code)).toEqual(['AMBIENT_E_LOGIN_CHECK'])
    for (const each of [socket, next]) each.destroy()
    while (proxy.connections > 0) await new Promise(resolve => setImmediate(resolve))
    expect(clock.pending).toBe(0)
  })

  it('holds nothing for a client that leaves meanwhile', async () => {
    const clock = createManualClock()
    const asking = deferred<void>()
    const { client, failures, proxy } = await front(createConnectProxy, {
      clock,
      checkLogin: () => {
        asking.resolve()
        return new Promise(() => {})
      },
    })
    const socket = await client()
    socket.write(head)
    await asking.promise
    socket.resetAndDestroy()
    while (failures.length === 0) await new Promise(resolve => setImmediate(resolve))
    expect(failures[0]?.error.code).toBe('AMBIENT_E_CLOSED')
    expect([proxy.connections, clock.pending]).toEqual([0, 0])
  })
})

describe('a refusal of an HTTP CONNECT listener', () => {
  it.each([
    ['status-401.test', 403, 'A policy'],
    ['status-403.test', 403, 'A policy'],
    ['status-503.test', 503, 'did not connect'],
    ['status-504.test', 504, 'did not connect'],
    ['status-400.test', 502, 'did not connect'],
  ])('of %s is %i, and says what to do', async (host, status, help) => {
    const { client, failures } = await front(createConnectProxy)
    const socket = await client()
    socket.write(`CONNECT ${host}:80 HTTP/1.1\r\nHost: ${host}:80\r\n\r\n`)
    const refused = await refusal(socket)
    expect(refused.status).toBe(status)
    expect(refused.body).toMatchObject({
      status,
      code: 'AMBIENT_E_HBONE_REFUSED',
      message: expect.stringContaining(`${host}:80`),
      help: expect.stringContaining(help),
    })
    expect(failures).toMatchObject([{ target: { host, port: 80 } }])
  })

  const connect = 'CONNECT a.test:80 HTTP/1.1\r\nHost: a.test:80\r\n'
  it.each([
    ['no port', 'CONNECT a.test HTTP/1.1\r\nHost: a.test\r\n\r\n', 400],
    ['a path for a target', 'CONNECT /a HTTP/1.1\r\nHost: a\r\n\r\n', 400],
    ['no Host', 'CONNECT a.test:80 HTTP/1.1\r\n\r\n', 400],
    ['two Hosts', `${connect}host: b.test:80\r\n\r\n`, 400],
    ['a body', `${connect}Content-Length: 5\r\n\r\nhello`, 400],
    ['a chunked body', `${connect}Transfer-Encoding: chunked\r\n\r\n`, 400],
    ['a continued line', `${connect}x: a\r\n b\r\n\r\n`, 400],
    ['a blank before a colon', `${connect}x : a\r\n\r\n`, 400],
    ['bare line feeds', 'CONNECT a.test:80 HTTP/1.1\nHost: a\n\r\n\r\n', 400],
    ['two blanks', 'CONNECT  a.test:80 HTTP/1.1\r\nHost: a\r\n\r\n', 400],
    ['another version', 'CONNECT a.test:80 HTTP/2.0\r\nHost: a\r\n\r\n', 400],
    ['TLS', '\x16\x03\x01', 400],
    ['HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400],
    ['another method', 'GET / HTTP/1.1\r\nHost: a\r\n\r\n', 405],
    ['a long head', `${connect}x: ${'a'.repeat(16_384)}`, 431],
  ])('for %s', async (_, bytes, status) => {
    const { client, asked, failures } = await front(createConnectProxy)
    const socket = await client()
    socket.write(bytes, 'latin1')
    const refused = await refusal(socket)
    expect(refused.status).toBe(status)
    expect(refused.body.code).toBe('AMBIENT_E_CONNECT_PROXY')
    expect(refused.body.help).not.toBe('')
    expect(asked).toEqual([])
    expect(failures).toHaveLength(1)
  })

  it('comes after a time, when a head does not end', async () => {
    const clock = createManualClock()
    const { client, failures } = await front(createConnectProxy, { clock })
    const socket = await client()
    socket.write(connect)
    while (clock.pending === 0) await new Promise(resolve => setImmediate(resolve))
    clock.advance(10_000)
    expect((await refusal(socket)).status).toBe(408)
    expect(failures[0]?.error.status).toBe(408)
  })
})

/** A gRPC server without TLS on loopback. */
async function greeter(): Promise<number> {
  const text = {
    serialize: (value: string) => Buffer.from(value),
    deserialize: (bytes: Buffer) => bytes.toString(),
  }
  const server = new grpc.Server()
  server.register(
    '/test.Greeter/Hello',
    (call: grpc.ServerUnaryCall<string, string>, reply: grpc.sendUnaryData<string>) =>
      reply(null, `hello ${call.request}`),
    text.serialize,
    text.deserialize,
    'unary',
  )
  later(async () => server.forceShutdown())
  return promisify(server.bindAsync.bind(server))('127.0.0.1:0', grpc.ServerCredentials.createInsecure())
}
