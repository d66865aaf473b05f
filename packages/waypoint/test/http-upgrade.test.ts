/** WebSocket through the reading room with `ws` at both ends, and curl's offer of h2c. */
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { promisify } from 'node:util'
import { PassThrough, Readable } from 'node:stream'
import { afterEach, describe, expect, it } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import { HeaderFields } from '../src/http/header-fields.ts'
import { readsUpgradeBodies } from '../src/http/node-types.ts'
import type { DispatchOrder, DispatchResult } from '../src/upstream/order.ts'
import { answer, type Fixture, rawExchange, startFixture, textOf } from './http-fixture.ts'

let fixture: Fixture | undefined
let server: WebSocketServer | undefined
afterEach(async () => {
  await fixture?.close()
  fixture = undefined
  for (const client of server?.clients ?? []) client.terminate()
  server?.close()
  server = undefined
})

async function startEcho(): Promise<number> {
  server = new WebSocketServer({ port: 0, host: '127.0.0.1' })
  server.on('connection', socket =>
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary })),
  )
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

/** Takes the upgrade to a server, as room 10 does. */
function upgradeTo(port: number): (order: DispatchOrder) => Promise<DispatchResult> {
  return ({ request }) =>
    new Promise((resolve, reject) => {
      const headers = {
        ...Object.fromEntries(request.headers),
        connection: 'upgrade',
        upgrade: request.upgrade,
      }
      const upstream = httpRequest({ port, host: '127.0.0.1', path: request.path, headers })
      upstream.on('upgrade', (message, socket, head) => {
        if (head.length > 0) socket.unshift(head)
        const fields = new HeaderFields()
        for (let at = 0; at < message.rawHeaders.length; at += 2)
          fields.add(message.rawHeaders[at] ?? '', message.rawHeaders[at + 1] ?? '')
        resolve(answer({ status: 101, headers: fields, upgraded: socket }))
      })
      upstream.on('error', reject)
      upstream.end()
    })
}

describe('WebSocket', () => {
  it('passes, and its end is the end of the exchange', async () => {
    const port = await startEcho()
    fixture = await startFixture({ protocol: 'HTTP11', respond: upgradeTo(port) })
    const socket = new WebSocket(`ws://127.0.0.1:${fixture.port}/chat?room=1`)
    await once(socket, 'open')
    const big = Buffer.alloc(300_000, 'x')
    socket.send(big)
    const [data] = await once(socket, 'message')
    expect(Buffer.compare(data, big)).toBe(0)
    socket.close(1000, 'done')
    const [code, reason] = await once(socket, 'close')
    expect([code, String(reason)]).toEqual([1000, 'done'])
    await fixture.recorded(1)
    expect(fixture.orders[0]?.request).toMatchObject({
      upgrade: 'websocket',
      path: '/chat?room=1',
      body: undefined,
    })
    const outcome = fixture.ledger[0]?.outcome
    expect(outcome).toMatchObject({ status: 101, detail: 'via_upstream', isComplete: true })
    expect(outcome?.receivedBytes).toBeGreaterThan(300_000)
    expect(outcome?.sentBytes).toBeGreaterThan(300_000)
    await expect.poll(() => fixture?.room.connections).toBe(0)
  })

  it('a server that is killed resets the caller; a caller that is cut ends the upstream', async () => {
    const port = await startEcho()
    fixture = await startFixture({ protocol: 'HTTP11', respond: upgradeTo(port) })
    const first = new WebSocket(`ws://127.0.0.1:${fixture.port}/`)
    await once(first, 'open')
    for (const client of server?.clients ?? []) client.terminate()
    const [code] = await once(first, 'close')
    expect(code).toBe(1006)
    const second = new WebSocket(`ws://127.0.0.1:${fixture.port}/`)
    await once(second, 'open')
    second.terminate()
    await expect.poll(() => server?.clients.size).toBe(0)
    await fixture.recorded(2)
  })

  it('may be denied, or answered without an upgrade', async () => {
    fixture = await startFixture({
      protocol: 'HTTP11',
      desk: {
        authorize: (_stream, head) => ({
          allowed: head.path !== '/no',
          reason: 'x',
          detail: 'y',
          considered: [],
        }),
      },
      respond: () => answer({ status: 404, body: Readable.from([Buffer.alloc(200_000, 'x')]) }),
    })
    const statuses: unknown[] = []
    for (const path of ['/no', '/absent']) {
      const socket = new WebSocket(`ws://127.0.0.1:${fixture.port}${path}`)
      const [, message] = await once(socket, 'unexpected-response')
      let bytes = 0
      for await (const chunk of message) bytes += chunk.length
      statuses.push([message.statusCode, bytes])
    }
    expect(statuses).toEqual([
      [403, 19],
      [404, 200_000],
    ])
    await fixture.recorded(2)
    expect(fixture.ledger.map(({ outcome }) => outcome?.status)).toEqual([403, 404])
    await expect.poll(() => fixture?.room.connections).toBe(0)
  })
})

describe('what comes before the 101', () => {
  const upgrading = 'GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n'

  it.each([
    ['in one piece', '', upgrading],
    ['behind another request', 'GET /1 HTTP/1.1\r\nhost: a\r\n\r\n', upgrading],
  ])('%s reaches the upstream', async (_name, before, head) => {
    const upgraded = new PassThrough()
    let accept: () => void = () => {}
    fixture = await startFixture({
      protocol: 'HTTP11',
      respond: ({ request }) =>
        request.upgrade === undefined
          ? new Promise(resolve => setImmediate(() => resolve(answer())))
          : new Promise(resolve => {
              accept = () => resolve(answer({ status: 101, upgraded }))
            }),
    })
    const socket = connect(fixture.port, '127.0.0.1')
    socket.write(`${before}${head}first `)
    await expect.poll(() => fixture?.orders.at(-1)?.request.upgrade).toBe('websocket')
    // Written, and on the other side, before anybody has taken the upgrade.
    await new Promise(resolve => socket.write('second ', resolve))
    await new Promise(resolve => setImmediate(resolve))
    accept()
    socket.end('third')
    expect(await textOf(socket)).toMatch(/HTTP\/1.1 101 [\s\S]*\r\n\r\nfirst second third$/)
    await fixture.recorded(fixture.orders.length)
    expect(fixture.ledger.at(-1)?.outcome).toMatchObject({ status: 101, receivedBytes: 18, isComplete: true })
  })
})

describe('an offer of h2c', () => {
  const plain = (path: string): string => `GET ${path} HTTP/1.1\r\nhost: a\r\n\r\n`
  const offer = (path: string, fields = ''): string =>
    `POST ${path} HTTP/1.1\r\nhost: a\r\nconnection: upgrade, http2-settings${fields}\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\ncontent-length: 4\r\n\r\nbody`
  const respond = async ({ request }: DispatchOrder): Promise<DispatchResult> => {
    const text = await textOf(request.body)
    await new Promise(resolve => setImmediate(resolve))
    return answer({ body: Readable.from([Buffer.from(`<${request.path}${text}>`)]) })
  }

  it('among others holds nobody up', async () => {
    fixture = await startFixture({ protocol: 'HTTP11', respond })
    const last = offer('/4', ', close')
    const text = await rawExchange(fixture.port, plain('/1') + offer('/2') + plain('/3') + last)
    const all = ['</1>', '</2body>', '</3>', '</4body>']
    expect(text.match(/<[^>]+>/g)).toEqual(readsUpgradeBodies ? all.slice(0, 2) : all)
  })

  it('again and again leaves nothing behind', async () => {
    fixture = await startFixture({ protocol: 'HTTP11' })
    const warnings: Error[] = []
    const onWarning = (warning: Error): void => void warnings.push(warning)
    process.on('warning', onWarning)
    const text = await rawExchange(fixture.port, offer('/').repeat(40) + offer('/', ', close'))
    process.off('warning', onWarning)
    expect(text.match(/HTTP\/1.1 200/g)).toHaveLength(readsUpgradeBodies ? 1 : 41)
    expect(warnings).toEqual([])
  })
})

describe('a 101 that nobody asked for', () => {
  it.each([
    ['with a stream', true],
    ['without one', false],
  ])('%s is 502, and the next request is judged like any other', async (_name, isUpgraded) => {
    const upgraded = new PassThrough()
    fixture = await startFixture({
      protocol: 'HTTP11',
      respond: ({ request }) =>
        request.path === '/next' ? answer() : answer({ status: 101, ...(isUpgraded && { upgraded }) }),
    })
    const text = await rawExchange(
      fixture.port,
      'GET / HTTP/1.1\r\nhost: a\r\n\r\nGET /next HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n',
      true,
    )
    expect(text.match(/HTTP\/1.1 \d+/g)).toEqual(['HTTP/1.1 502', 'HTTP/1.1 200'])
    expect(upgraded.destroyed).toBe(isUpgraded)
    await fixture.recorded(2)
    expect(fixture.ledger[0]?.outcome).toMatchObject({ status: 502, flags: ['UPE'] })
  })
})

describe('curl', () => {
  const curl = async (...options: string[]): Promise<string> => {
    const { stdout } = await promisify(execFile)('curl', [
      '-s',
      '-m',
      '5',
      '-w',
      ' %{http_version} %{http_code}',
      ...options,
    ])
    return stdout
  }

  it.each([
    ['--http1.1', '1.1'],
    // An upgrade that is left lying.
    ['--http2', '1.1'],
    ['--http2-prior-knowledge', '2'],
  ])('%s', async (option, version) => {
    fixture = await startFixture({
      respond: async ({ request }) => {
        let text = ''
        for await (const chunk of request.body ?? []) text += String(chunk)
        return answer({ body: Readable.from([Buffer.from(`${request.method} ${text}`)]) })
      },
    })
    const url = `http://127.0.0.1:${fixture.port}/x`
    expect(await curl(option, url)).toBe(`GET  ${version} 200`)
    expect(await curl(option, '-d', 'some=form', url)).toBe(`POST some=form ${version} 200`)
    expect(fixture.orders.map(({ request }) => request.headers.has('http2-settings'))).toEqual([false, false])
  })
})
