/** HTTP/1.1 at the reading room: real clients, raw bytes. */
import { Agent, request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http'
import { Readable } from 'node:stream'
import { afterEach, describe, expect, it } from 'vitest'
import { HeaderFields } from '../src/http/header-fields.ts'
import { answer, type Fixture, type FixtureOptions, rawExchange, startFixture } from './http-fixture.ts'

let fixture: Fixture | undefined
afterEach(async () => {
  await fixture?.close()
  fixture = undefined
})

async function start(options: FixtureOptions = {}): Promise<Fixture> {
  fixture = await startFixture({ protocol: 'HTTP11', ...options })
  return fixture
}

interface Reply {
  readonly message: IncomingMessage
  readonly body: string
}

function ask(port: number, options: RequestOptions = {}, body?: string | Readable): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({ host: '127.0.0.1', port, agent: false, ...options }, message => {
      let text = ''
      message.setEncoding('utf8')
      message.on('data', chunk => {
        text += chunk
      })
      message.on('end', () => resolve({ message, body: text }))
      message.on('error', reject)
    })
    request.on('error', reject)
    if (body instanceof Readable) body.pipe(request)
    else request.end(body)
  })
}

describe('an exchange', () => {
  it('goes to the dispatch desk and back', async () => {
    const { port, ledger, orders, recorded } = await start({
      respond: () =>
        answer({
          headers: new HeaderFields([
            ['content-type', 'text/plain'],
            ['server', 'nginx'],
            ['connection', 'x-secret'],
            ['x-secret', '1'],
          ]),
          body: Readable.from([Buffer.from('hello '), Buffer.from('world')]),
        }),
    })
    const { message, body } = await ask(port, { path: '/a/../b?q=1', headers: { host: 'app:80' } })
    expect([message.statusCode, body]).toEqual([200, 'hello world'])
    expect(message.headers).toMatchObject({
      server: 'istio-envoy',
      'content-type': 'text/plain',
      'x-envoy-upstream-service-time': '3',
    })
    expect(message.headers).not.toHaveProperty('x-secret')
    await recorded(1)
    expect(orders[0]?.request).toMatchObject({ method: 'GET', path: '/b?q=1', authority: 'app:80' })
    expect(orders[0]?.request.body).toBeUndefined()
    expect(ledger[0]?.steps).toEqual(['start', 'allowed', 'forward', 'dispatched response', 'done'])
    expect(ledger[0]?.outcome).toMatchObject({
      status: 200,
      flags: [],
      detail: 'via_upstream',
      sentBytes: 11,
      receivedBytes: 0,
      isComplete: true,
    })
  })

  it('keeps the connection and serves pipelined requests in order', async () => {
    const { port, recorded, ledger } = await start({
      respond: order => answer({ body: Readable.from([Buffer.from(order.request.path)]) }),
    })
    const line = (path: string): string => `GET ${path} HTTP/1.1\r\nhost: app\r\n`
    const text = await rawExchange(
      port,
      `${line('/p1')}\r\n${line('/p2')}\r\n${line('/p3')}connection: close\r\n\r\n`,
    )
    expect(text.match(/\/p\d/g)).toEqual(['/p1', '/p2', '/p3'])
    await recorded(3)
    expect(ledger.map(entry => entry.outcome?.status)).toEqual([200, 200, 200])
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    await ask(port, { agent })
    const { message } = await ask(port, { agent })
    expect(message.headers.connection).toBeUndefined()
    agent.destroy()
  })
})
