/** HTTP/1.1 at the reading room: callers that go, connections that end. */
import { once } from 'node:events'
import { connect } from 'node:net'
import { Readable } from 'node:stream'
import { afterEach, describe, expect, it, vi } from 'vitest'
import {
  answer,
  type Fixture,
  type FixtureOptions,
  rawExchange,
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

describe('the caller goes', () => {
  it('and what is under way is cancelled', async () => {
    let cancelled: () => void = () => {}
    const isCancelled = new Promise<void>(resolve => {
      cancelled = resolve
    })
    const { port, ledger, recorded } = await start({
      respond: order =>
        new Promise(resolve => {
          order.request.signal.addEventListener('abort', () => {
            cancelled()
            resolve(answer({ body: Readable.from(['late']) }))
          })
        }),
    })
    const socket = connect(port, '127.0.0.1')
    socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
    await vi.waitFor(() => expect(ledger[0]?.steps).toContain('forward'))
    socket.resetAndDestroy()
    await isCancelled
    await recorded(1)
    expect(ledger[0]?.outcome).toMatchObject({ status: 0, flags: ['DC'], isComplete: false })
  })

  it('half: whoever only ends its direction is still answered, for a while', async () => {
    const { port, ledger, recorded } = await start({
      limits: { halfCloseMs: 50 },
      respond: order =>
        order.request.path === '/fast'
          ? answer({ body: Readable.from([Buffer.from('kind')]) })
          : new Promise(resolve => {
              order.request.signal.addEventListener('abort', () => resolve(answer()))
            }),
    })
    expect(await rawExchange(port, 'GET /fast HTTP/1.1\r\nhost: a\r\n\r\n', true)).toMatch(
      /^HTTP\/1.1 200[\s\S]*kind/,
    )
    await expect(rawExchange(port, 'GET /slow HTTP/1.1\r\nhost: a\r\n\r\n', true)).rejects.toMatchObject({
      code: 'ECONNRESET',
    })
    await recorded(2)
    expect(ledger.map(({ outcome }) => outcome?.status)).toEqual([200, 0])
  })
})

describe('the end of a connection', () => {
  it('a head that does not come is 408, an idle connection is closed', async () => {
    const { port, ledger } = await start({ limits: { headMs: 30, idleMs: 60 } })
    expect(await rawExchange(port, 'GET / HTTP/1.1\r\nhost')).toMatch(/^HTTP\/1.1 408/)
    expect(ledger[0]?.outcome).toMatchObject({ status: 408, flags: ['DPE'] })
    expect(await rawExchange(port, 'GET / HTTP/1.1\r\nhost: a\r\n\r\n')).toMatch(/^HTTP\/1.1 200/)
    expect(await rawExchange(port, '')).toBe('')
  })

  it('draining: the next answer says that it is the last, an idle connection is closed', async () => {
    const { port, room, ledger } = await start({ limits: { drainIdleMs: 20 } })
    const idle = connect(port, '127.0.0.1')
    idle.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
    await once(idle, 'data')
    const busy = connect(port, '127.0.0.1')
    busy.write('GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\n')
    await once(busy, 'data')
    room.drain()
    busy.write('host: a\r\n\r\n')
    expect(await textOf(busy)).toMatch(/\r\nconnection: close\r\n/)
    expect(await textOf(idle)).toBe('')
    await vi.waitFor(() => expect(room.connections).toBe(0))
    expect(ledger.map(({ outcome }) => outcome?.status)).toEqual([200, 200, 200])
  })

  it('requests that came before the caller ended its direction are all answered', async () => {
    const { port } = await start({
      respond: order =>
        new Promise(resolve =>
          setImmediate(() => resolve(answer({ body: Readable.from([Buffer.from(order.request.path)]) }))),
        ),
    })
    const one = (path: string): string => `GET ${path} HTTP/1.1\r\nhost: a\r\n\r\n`
    const text = await rawExchange(port, one('/p1') + one('/p2') + one('/p3'), true)
    expect(text.match(/\/p\d/g)).toEqual(['/p1', '/p2', '/p3'])
  })

  it('a caller with too many requests in one breath is cut', async () => {
    const { port, ledger } = await start({ limits: { pipelinedRequests: 5 } })
    await expect(rawExchange(port, 'GET / HTTP/1.1\r\nhost: a\r\n\r\n'.repeat(10))).rejects.toMatchObject({
      code: 'ECONNRESET',
    })
    expect(ledger.length).toBeLessThan(10)
  })

  it('a request that was answered early does not become the next one', async () => {
    const { port, ledger } = await start({
      limits: { drainMs: 40 },
      desk: { authorize: () => ({ allowed: false, reason: 'x', detail: 'y', considered: [] }) },
    })
    const text = await rawExchange(
      port,
      'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n',
    )
    expect(text).toMatch(/^HTTP\/1.1 403/)
    expect(text).toContain('connection: close')
    expect(ledger).toHaveLength(1)
  })

  it('garbage behind a request leaves its answer alone', async () => {
    const { port, ledger } = await start({
      respond: () => new Promise(resolve => setImmediate(() => resolve(answer()))),
    })
    const text = await rawExchange(port, 'GET / HTTP/1.1\r\nhost: a\r\n\r\n\x00\x01garbage\r\n\r\n')
    expect(text.match(/HTTP\/1.1 \d+/g)).toEqual(['HTTP/1.1 200', 'HTTP/1.1 400'])
    expect(ledger.map(({ outcome }) => outcome?.status)).toEqual([200, 400])
  })

  it('a broken chunk ends its exchange with 400', async () => {
    const { port, ledger, recorded } = await start({
      async respond(order) {
        await textOf(order.request.body).catch(() => '')
        return answer()
      },
    })
    const text = await rawExchange(
      port,
      'POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\nxx\r\n',
    )
    expect(text).toMatch(/^HTTP\/1.1 400/)
    await recorded(1)
    expect(ledger.map(({ outcome }) => [outcome?.status, outcome?.flags.join()])).toEqual([[400, 'DPE']])
  })
})
