/** Callers that give up, and those who share a session with them. */
import { setMaxListeners } from 'node:events'
import { createServer as createHttpServer, type Server, type ServerResponse } from 'node:http'
import { createServer, type Http2Server, type ServerHttp2Stream } from 'node:http2'
import { parseSpiffeId } from '@ambient/core'
import { describe, expect, it } from 'vitest'
import type { DispatchResponse, DispatchResult } from '../src/upstream/dispatch.ts'
import { type Backend, backend, cleanup, cluster, desk, order, textOf } from './upstream-fixtures.ts'

function responded(result: DispatchResult): DispatchResponse {
  if (result.kind === 'failed') throw new Error(`${result.detail}: ${result.reason}`)
  return result
}

/** CONNECTs pass until it is shut, and again when it is opened. */
function gate() {
  let open = (): void => {}
  let opened = Promise.resolve()
  return {
    pass: () => opened,
    shut: () => {
      opened = new Promise(resolve => {
        open = resolve
      })
    },
    open: () => open(),
  }
}

/** Answers at once, but what `/slow` asks for only when told. */
function app(): { server: Server; slow: ServerResponse[] } {
  const slow: ServerResponse[] = []
  const server = createHttpServer((request, response) => {
    if (request.url !== '/slow') return void response.end('ok')
    response.write('slow ')
    slow.push(response)
  })
  cleanup(() => server.closeAllConnections())
  return { server, slow }
}

/** The same ztunnel, asked for another port: a connection of its own on the session that all share. */
function withPort(web: Backend, port: number): Backend {
  const key = `${web.endpoint.address}:${port}`
  return { ...web, endpoint: { ...web.endpoint, key, port } }
}

const caller = {
  address: '127.0.0.1',
  port: 1,
  identity: parseSpiffeId('spiffe://cluster.local/ns/shop/sa/a'),
}

describe('a caller that gives up while its connection is on its way', () => {
  it.each(['HTTP', 'TCP'])('never resets a CONNECT, so that its neighbours go on (%s)', async kind => {
    const { server, slow } = app()
    const { pass, shut, open } = gate()
    const web = await backend(server, { gate: pass })
    let asked = web
    const resolve = (wanted: typeof cluster) => ({
      cluster: wanted,
      key: wanted.hostname,
      service: undefined,
      endpoints: [asked.endpoint],
      loadBalancer: 'ROUND_ROBIN' as const,
      connectionPool: undefined,
    })
    const dispatcher = await desk([web], { resolve })
    const neighbour = responded(await dispatcher.dispatch(order({ path: '/slow' })))
    shut()
    const ROUND = 80
    for (let round = 1; round <= 4; round++) {
      asked = withPort(web, web.endpoint.port + round)
      const callers = new AbortController()
      setMaxListeners(0, callers.signal)
      const { signal } = callers
      const results = Array.from({ length: ROUND }, () =>
        kind === 'TCP'
          ? dispatcher.connectTcp({ cluster, caller, signal })
          : dispatcher.dispatch(order({ signal })),
      )
      await expect.poll(() => web.tunnels()).toBe(1 + round * ROUND)
      callers.abort()
      for (const result of await Promise.all(results)) expect(result).toMatchObject({ flag: 'DC' })
    }
    open()
    slow[0]?.end('but sure')
    expect(await textOf(neighbour.response)).toBe('slow but sure')
    await expect.poll(() => dispatcher.active).toBe(0)
    // What arrived for nobody is ended when it is TCP, and kept up to a number for whoever comes next when it is HTTP.
    const kept = kind === 'TCP' ? 1 : 1 + 4 * 64
    await expect.poll(() => dispatcher.idle).toBe(kept)
    await expect.poll(() => web.ztunnel.tunnels).toBe(kept)
  })

  it.each(['HTTP11', 'HTTP2'] as const)('leaves it to the next one (%s)', async protocol => {
    const { pass, shut, open } = gate()
    const h2 = http2(stream => {
      stream.respond({ ':status': 200 })
      stream.end('ok')
    })
    const web = await backend(protocol === 'HTTP2' ? h2 : app().server, { gate: pass })
    const dispatcher = await desk([web])
    shut()
    const first = new AbortController()
    const given = dispatcher.dispatch(order({ protocol, signal: first.signal }))
    await expect.poll(() => web.tunnels()).toBe(1)
    first.abort()
    expect(await given).toMatchObject({ flag: 'DC' })
    const second = dispatcher.dispatch(order({ protocol }))
    open()
    expect(await textOf(responded(await second).response)).toBe('ok')
    await expect.poll(() => dispatcher.idle).toBe(1)
    expect(web.tunnels()).toBe(1)
  })

  it.each(['HTTP11', 'HTTP2'] as const)(
    'may be the last one: it is kept until its time is up (%s)',
    async protocol => {
      const { pass, shut, open } = gate()
      const web = await backend(protocol === 'HTTP2' ? http2(() => {}) : app().server, { gate: pass })
      const dispatcher = await desk([web])
      shut()
      const caller = new AbortController()
      const given = dispatcher.dispatch(order({ protocol, signal: caller.signal }))
      await expect.poll(() => web.tunnels()).toBe(1)
      caller.abort()
      await given
      open()
      await expect.poll(() => dispatcher.idle).toBe(1)
      dispatcher.retire()
      await expect.poll(() => web.ztunnel.tunnels).toBe(0)
    },
  )
})

describe('callers that give up their requests over HTTP/2', () => {
  it('wear a session out, which is replaced before its server ends it', async () => {
    const waiting: ServerHttp2Stream[] = []
    let slow: ServerHttp2Stream | undefined
    // Less patient than Node's own default.
    const server = http2(
      (stream, path) => {
        if (path === '/slow') {
          slow = stream
          stream.respond({ ':status': 200 })
          stream.write('slow ')
        } else waiting.push(stream)
      },
      { streamResetBurst: 150, streamResetRate: 1 },
    )
    const web = await backend(server)
    const dispatcher = await desk([web])
    const neighbour = responded(await dispatcher.dispatch(order({ path: '/slow', protocol: 'HTTP2' })))
    for (let round = 1; round <= 5; round++) {
      const callers = new AbortController()
      setMaxListeners(0, callers.signal)
      const ask = { protocol: 'HTTP2', signal: callers.signal } as const
      const results = Array.from({ length: 50 }, () => dispatcher.dispatch(order(ask)))
      await expect.poll(() => waiting.length).toBe(round * 50)
      callers.abort()
      for (const result of await Promise.all(results)) expect(result).toMatchObject({ flag: 'DC' })
    }
    slow?.end('but sure')
    expect(await textOf(neighbour.response)).toBe('slow but sure')
    expect(web.tunnels()).toBeGreaterThan(1)
  })
})

function http2(
  onStream: (stream: ServerHttp2Stream, path: string | undefined) => void,
  options: { readonly streamResetBurst?: number; readonly streamResetRate?: number } = {},
): Http2Server {
  const server = createServer({ maxSessionMemory: 10, ...options })
  server.on('stream', (stream, headers) => {
    stream.on('error', () => {})
    onStream(stream, headers[':path'])
  })
  server.on('session', session => {
    session.on('error', () => {})
    cleanup(() => session.destroy())
  })
  return server
}
