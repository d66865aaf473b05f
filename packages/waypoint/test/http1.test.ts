/** HTTP/1.1 at the reading room: real clients, raw bytes. */
import { Agent } from 'node:http'
import { connect } from 'node:net'
import { once } from 'node:events'
import { Readable } from 'node:stream'
import { createManualClock } from '@ambient/core/testing'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { HeaderFields } from '../src/http/header-fields.ts'
import type { RouteDecision } from '../src/route/decide.ts'
import { noEdits } from '../src/route/ir.ts'
import {
  answer,
  ask,
  cutAfter,
  type Fixture,
  type FixtureOptions,
  forwardTo,
  rawExchange,
  route,
  startFixture,
  textOf,
} from './http-fixture.ts'

let fixture: Fixture | undefined
afterEach(async () => {
  await fixture?.close()
  fixture = undefined
})

async function start(options: FixtureOptions = {}): Promise<Fixture> {
  fixture = await startFixture({ protocol: 'HTTP11', ...options })
  return fixture
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

describe('bodies', () => {
  it('a request body reaches the desk with its bytes, chunks and trailers; HEAD answers without one', async () => {
    const bodies: string[] = []
    const { port, ledger, recorded, orders } = await start({
      async respond(order) {
        bodies.push(await textOf(order.request.body))
        return answer({
          headers: new HeaderFields([['content-length', '5']]),
          body: order.request.method === 'HEAD' ? undefined : Readable.from([Buffer.from('12345')]),
        })
      },
    })
    await ask(port, { method: 'POST' }, 'in one piece')
    await ask(port, { method: 'PUT' }, Readable.from(['in ', 'two']))
    const head = await ask(port, { method: 'HEAD' })
    await rawExchange(
      port,
      'POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nx-checksum: 7\r\n\r\n',
    )
    expect(bodies).toEqual(['in one piece', 'in two', '', 'x'])
    expect(head.message.headers['content-length']).toBe('5')
    expect(orders[0]?.request.headers.get('content-length')).toBe('12')
    expect(orders[1]?.request.headers.get('transfer-encoding')).toBeUndefined()
    expect([...(orders[3]?.request.trailers() ?? [])]).toEqual([['x-checksum', '7']])
    await recorded(4)
    expect(ledger.map(entry => entry.outcome?.receivedBytes)).toEqual([12, 6, 0, 1])
    expect(ledger.map(entry => entry.outcome?.sentBytes)).toEqual([5, 5, 0, 5])
  })

  it('100 Continue goes out when somebody reads, and not to the denied', async () => {
    const { port, recorded } = await start({
      desk: {
        authorize: (_stream, head) => ({
          allowed: head.path !== '/no',
          reason: 'test',
          detail: 'rbac_access_denied_matched_policy[none]',
          considered: [],
        }),
      },
      respond: async order =>
        answer({
          headers: new HeaderFields([['content-length', '2']]),
          body: Readable.from([Buffer.from(await textOf(order.request.body))]),
        }),
    })
    const expecting = (path: string): string =>
      `POST ${path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n`
    const socket = connect(port, '127.0.0.1')
    socket.write(expecting('/yes'))
    const [first] = await once(socket, 'data')
    expect(String(first)).toBe('HTTP/1.1 100 Continue\r\n\r\n')
    socket.write('ok')
    expect(await textOf(socket)).toMatch(/^HTTP\/1.1 200 OK\r\n[\s\S]*ok$/)
    const denied = connect(port, '127.0.0.1')
    denied.write(expecting('/no'))
    const [answered] = await once(denied, 'data')
    expect(String(answered)).toMatch(/^HTTP\/1.1 403 Forbidden\r\n/)
    denied.end()
    await recorded(2)
  })

  it('an upstream that is cut resets the caller', async () => {
    const { port, recorded, ledger } = await start({
      respond: () =>
        answer({ headers: new HeaderFields([['content-length', '10']]), body: cutAfter('half') }),
    })
    await expect(ask(port)).rejects.toMatchObject({ code: 'ECONNRESET' })
    await recorded(1)
    expect(ledger[0]?.outcome).toMatchObject({ status: 200, flags: ['UC'], isComplete: false, sentBytes: 4 })
  })

  it('a chunked response that is cut has no last chunk', async () => {
    const { port, recorded } = await start({ respond: () => answer({ body: cutAfter('half') }) })
    await expect(ask(port)).rejects.toMatchObject({ code: 'ECONNRESET' })
    await recorded(1)
  })

  it('trailers of a response follow its last chunk', async () => {
    const { port } = await start({
      respond: () =>
        answer({
          body: Readable.from([Buffer.from('x')]),
          trailers: () => new HeaderFields([['x-sum', '1']]),
        }),
    })
    const { message } = await ask(port)
    expect(message.trailers).toEqual({ 'x-sum': '1' })
  })

  it('a caller who reads slowly stops the upstream', async () => {
    let given = 0
    const endless = new Readable({
      read() {
        given += 65_536
        this.push(Buffer.alloc(65_536))
      },
    })
    const { port, recorded, ledger } = await start({ respond: () => answer({ body: endless }) })
    const socket = connect(port, '127.0.0.1')
    socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
    socket.pause()
    await stalled(() => given)
    expect(given).toBeLessThan(16 * 1_048_576)
    socket.destroy()
    await recorded(1)
    expect(endless.destroyed).toBe(true)
    expect(ledger[0]?.outcome).toMatchObject({
      status: 200,
      flags: ['DC'],
      detail: 'downstream_remote_disconnect',
    })
  })
})

describe('answers of our own', () => {
  it('a denial comes before anything is dialled, and keeps the connection', async () => {
    const { port, ledger, orders, recorded } = await start({
      desk: {
        authorize: () => ({
          allowed: false,
          reason: 'none allowed',
          detail: 'rbac_access_denied_matched_policy[none]',
          considered: [],
        }),
      },
    })
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    const first = await ask(port, { agent, method: 'POST' }, 'small body')
    const second = await ask(port, { agent, method: 'DELETE' })
    expect(second.localPort).toBe(first.localPort)
    agent.destroy()
    expect([second.message.statusCode, second.body]).toEqual([403, 'RBAC: access denied'])
    expect(second.message.headers).toMatchObject({
      'content-type': 'text/plain',
      'content-length': '19',
      server: 'istio-envoy',
    })
    await recorded(2)
    expect(orders).toEqual([])
    expect(ledger[1]?.steps).toEqual(['start', 'denied', 'done'])
    expect(ledger[1]?.outcome).toMatchObject({
      status: 403,
      flags: [],
      detail: 'rbac_access_denied_matched_policy[none]',
      sentBytes: 19,
    })
  })

  it('routes that answer themselves', async () => {
    const base = {
      route,
      fault: undefined,
      responseHeaders: [{ ...noEdits, set: [['x-route', '1'] as const] }],
    }
    const decisions: Record<string, RouteDecision> = {
      '/none': { kind: 'not-found' },
      '/redirect': { ...base, kind: 'redirect', status: 301, location: 'http://other/x' },
      '/text': { ...base, kind: 'respond', status: 418, body: 'teapot' },
      '/nc': { ...base, kind: 'missing', status: 503, flag: 'NC', reason: 'no such subset' },
      '/bad': { ...base, kind: 'missing', status: 500, flag: '-', reason: 'no such backend' },
    }
    const { port, ledger, recorded } = await start({
      desk: { route: (_stream, head) => decisions[head.path] ?? forwardTo(head) },
    })
    const seen: unknown[] = []
    for (const path of Object.keys(decisions)) {
      const { message, body } = await ask(port, { path })
      seen.push([message.statusCode, body, message.headers['x-route'], message.headers.location])
    }
    expect(seen).toEqual([
      [404, '', undefined, undefined],
      [301, '', '1', 'http://other/x'],
      [418, 'teapot', '1', undefined],
      [503, '', '1', undefined],
      [500, '', '1', undefined],
    ])
    await recorded(5)
    expect(ledger.map(({ outcome }) => [outcome?.flags.join(), outcome?.detail])).toEqual([
      ['NR', 'route_not_found'],
      ['', 'direct_response'],
      ['', 'direct_response'],
      ['NC', 'cluster_not_found'],
      ['', 'direct_response'],
    ])
  })

  it('faults: the delay first, then the abort', async () => {
    const clock = createManualClock()
    const { port, ledger, recorded, orders } = await start({
      desk: {
        clock,
        route: (_stream, head) => ({
          ...forwardTo(head),
          fault: { delayMs: 5000, abort: { status: 418, grpcStatus: undefined } },
        }),
      },
    })
    const reply = ask(port)
    await vi.waitFor(() => expect(ledger[0]?.steps).toContain('forward'))
    clock.advance(5000)
    const { message, body } = await reply
    expect([message.statusCode, body]).toEqual([418, 'fault filter abort'])
    await recorded(1)
    expect(orders).toEqual([])
    expect(ledger[0]?.outcome).toMatchObject({ flags: ['DI', 'FI'], detail: 'fault_filter_abort' })
  })

  it('what the dispatch desk could not do', async () => {
    const { port, ledger, recorded } = await start({
      respond: () => ({
        kind: 'failed',
        status: 504,
        flag: 'UT',
        flags: ['UT'],
        body: 'upstream request timeout',
        detail: 'upstream_response_timeout',
        reason: 'timeout',
        endpoint: undefined,
        attempts: 1,
      }),
    })
    const { message, body } = await ask(port)
    expect([message.statusCode, body]).toEqual([504, 'upstream request timeout'])
    await recorded(1)
    expect(ledger[0]?.outcome).toMatchObject({
      status: 504,
      flags: ['UT'],
      detail: 'upstream_response_timeout',
    })
  })

  it('a desk that throws is a 500 that tells the caller nothing', async () => {
    const { port, ledger, recorded, orders } = await start({
      desk: {
        authorize() {
          throw new Error('secret words')
        },
      },
    })
    const { message, body } = await ask(port)
    expect([message.statusCode, body]).toEqual([500, ''])
    await recorded(1)
    expect(orders).toEqual([])
    expect(ledger[0]?.outcome?.detail).toBe('internal_error{secret_words}')
  })

  it('gRPC gets its status in a response that is headers only', async () => {
    const { port } = await start({
      desk: { authorize: () => ({ allowed: false, reason: 'x', detail: 'y', considered: [] }) },
    })
    const { message, body } = await ask(port, {
      method: 'POST',
      headers: { 'content-type': 'application/grpc+proto' },
    })
    expect([
      message.statusCode,
      message.headers['grpc-status'],
      message.headers['grpc-message'],
      body,
    ]).toEqual([200, '7', 'RBAC: access denied', ''])
  })
})

/** Resolves when a number has stopped growing. */
async function stalled(measure: () => number): Promise<void> {
  let before = -1
  while (measure() !== before) {
    before = measure()
    // Two looks of the loop's timers without growth.
    await new Promise(resolve => setTimeout(resolve, 50))
  }
}
