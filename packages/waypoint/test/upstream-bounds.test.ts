/** What the dispatch desk holds at most: bytes that nobody reads, and exchanges that nobody ends. */
import { createServer, type Http2Server, type ServerHttp2Stream } from 'node:http2'
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
