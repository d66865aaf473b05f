/** What the dispatch desk holds at most: bytes that nobody reads, and exchanges that nobody ends. */
import { createServer as createHttpServer } from 'node:http'
import { createServer, type Http2Server, type ServerHttp2Stream } from 'node:http2'
import { parseSpiffeId } from '@ambient/core'
import { describe, expect, it } from 'vitest'
import { backend, cleanup, desk, order } from './upstream-fixtures.ts'

function http2(onStream: (stream: ServerHttp2Stream) => void): Http2Server {
  const server = createServer()
  server.on('stream', stream => {
    stream.on('error', () => {})
    onStream(stream)
  })
  server.on('session', session => cleanup(() => session.destroy()))
  return server
}

describe('responses over HTTP/2 that nobody reads', () => {
  it('cost a window each, however many there are', async () => {
    const CHUNK = Buffer.alloc(16_384)
    const sent = new Map<ServerHttp2Stream, number>()
    const windows = new Set<number | undefined>()
    const server = http2(stream => {
      stream.respond({ ':status': 200 })
      windows.add(stream.session?.remoteSettings.initialWindowSize)
      sent.set(stream, 0)
      const more = (): void => {
        stream.write(CHUNK, error => {
          if (error !== null && error !== undefined) return
          sent.set(stream, (sent.get(stream) ?? 0) + CHUNK.length)
          more()
        })
      }
      more()
    })
    const dispatcher = await desk([await backend(server)])
    const asked = Array.from({ length: 20 }, () => dispatcher.dispatch(order({ protocol: 'HTTP2' })))
    const results = await Promise.all(asked)
    await expect.poll(() => Math.min(...sent.values())).toBeGreaterThanOrEqual(65_536)
    expect([...windows]).toEqual([65_536])
    // A window, and what three queues on the way are given before they say stop.
    expect(Math.max(...sent.values())).toBeLessThanOrEqual(65_536 * 4)
    for (const result of results) if (result.kind === 'response') result.response.body?.destroy()
    await expect.poll(() => dispatcher.active).toBe(0)
  })
})

describe('exchanges that nobody ends', () => {
  const from = (account: string) => ({
    address: '127.0.0.1',
    port: 1,
    identity: parseSpiffeId(`spiffe://cluster.local/ns/shop/sa/${account}`),
  })
  const to = (hostname: string) => ({ cluster: { namespace: 'shop', hostname, port: 80, subset: undefined } })

  it('fill the places of their caller and of their service, and no others', async () => {
    const server = createHttpServer((request, response) => {
      if (request.url !== '/hang') response.end('ok')
    })
    const limits = { maxRequests: 6, maxRequestsPerService: 4, maxRequestsPerCaller: 2 }
    const dispatcher = await desk([await backend(server)], { limits })
    const callers = new AbortController()
    const hanging: Promise<unknown>[] = []
    const hang = (account: string, hostname: string): void => {
      const ask = { path: '/hang', signal: callers.signal, caller: from(account), ...to(hostname) }
      hanging.push(dispatcher.dispatch(order(ask)))
    }
    const answerOf = async (account: string, hostname: string): Promise<string> => {
      const result = await dispatcher.dispatch(order({ caller: from(account), ...to(hostname) }))
      if (result.kind === 'failed') return result.flag
      result.response.body?.resume()
      await expect.poll(() => dispatcher.active).toBe(hanging.length)
      return String(result.response.status)
    }
    for (const _ of [1, 2]) hang('greedy', 'slow')
    expect([await answerOf('greedy', 'slow'), await answerOf('greedy', 'web')]).toEqual(['UO', 'UO'])
    expect([await answerOf('other', 'slow'), await answerOf('other', 'web')]).toEqual(['200', '200'])
    for (const _ of [1, 2]) hang('other', 'slow')
    expect([await answerOf('third', 'slow'), await answerOf('third', 'web')]).toEqual(['UO', '200'])
    for (const _ of [1, 2]) hang('third', 'web')
    expect(await answerOf('fourth', 'more')).toBe('UO')
    callers.abort()
    await Promise.all(hanging)
    hanging.length = 0
    expect(await answerOf('greedy', 'slow')).toBe('200')
  })
})
