/** Callers that begin and do not go on, or do not begin at all: each of them has its time. */
import { once } from 'node:events'
import { connect } from 'node:net'
import { type AppProtocol, type Channel, systemClock } from '@ambient/core'
import { channelPair } from '@ambient/core/testing'
import { createTunnelSocket, type TunnelSocket } from '@ambient/hbone'
import { afterEach, describe, expect, it } from 'vitest'
import { HeadBlocks } from '../src/http/http2-heads.ts'
import type { Served } from '../src/http/room.ts'
import { type Fixture, type FixtureOptions, inbound, startFixture } from './http-fixture.ts'
import { DATA, frameHead, HEADERS } from './http2-frames.ts'
import { createWorld } from './world.ts'

let fixture: Fixture | undefined
afterEach(async () => {
  await fixture?.close()
  fixture = undefined
})

const facts = { remoteAddress: '127.0.0.1', remotePort: 1, localAddress: '10.0.0.1', localPort: 80 }
const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')

async function start(
  options: FixtureOptions,
): Promise<{ readonly near: Channel; readonly caller: TunnelSocket; readonly served: Promise<Served> }> {
  fixture = await startFixture(options)
  const [near, far] = channelPair()
  const socket = createTunnelSocket(far, facts)
  const caller = createTunnelSocket(near, facts)
  caller.on('error', () => {}).resume()
  return { near, caller, served: fixture.room.serve(socket, inbound(socket, options.protocol)) }
}

describe('who has begun has headMs', () => {
  it.each<[string, AppProtocol | undefined, string]>([
    ['a request line where nothing is declared', undefined, 'GET /half'],
    ['half a preface where HTTP is declared', 'HTTP2', 'PRI * H'],
  ])('%s', async (_name, protocol, begun) => {
    fixture = await startFixture({ protocol, limits: { headMs: 30 } })
    const socket = connect(fixture.port, '127.0.0.1')
    socket.write(begun)
    await once(socket.resume(), 'end')
    socket.end()
    expect(await fixture.served[0]).toEqual({ kind: 'http' })
  })

  it.each([
    ['a block without its end', frameHead(3, HEADERS, 0, 1), Buffer.from([0x82, 0x84, 0x86])],
    ['half a frame', frameHead(9, HEADERS, 4, 1), Buffer.from([0x82])],
  ])('HTTP/2: %s', async (_name, head, part) => {
    const { caller, served } = await start({ protocol: 'HTTP2', limits: { headMs: 30 } })
    caller.write(Buffer.concat([preface, frameHead(0, 4, 0, 0), head, part]))
    expect(await served).toEqual({ kind: 'http' })
    await fixture?.recorded(1)
    expect(fixture?.ledger[0]?.outcome).toMatchObject({ detail: 'request_header_timeout', isComplete: false })
    caller.destroy()
  })

  it('blocks are found however the bytes are cut', () => {
    const bytes = Buffer.concat([
      preface,
      frameHead(0, 4, 0, 0),
      frameHead(1, HEADERS, 4, 1),
      Buffer.from([0x82]),
      frameHead(2, DATA, 0, 1),
      Buffer.from([1, 4]),
      frameHead(1, HEADERS, 0, 1),
      Buffer.from([0x82]),
      frameHead(0, 9, 4, 1),
    ])
    const opened = 24 + 9 + 9 + 1 + 9 + 2 + 9 + 1
    for (const size of [1, 2, 7, 1_000]) {
      const blocks = new HeadBlocks()
      let isOpen = false
      for (let at = 0; at < bytes.length; at += size) isOpen = blocks.take(bytes.subarray(at, at + size))
      expect(isOpen).toBe(false)
    }
    const half = new HeadBlocks()
    expect([half.take(bytes.subarray(0, opened)), half.take(bytes.subarray(opened))]).toEqual([true, false])
  })
})

describe('a drain', () => {
  it('does not wait for a caller that has said nothing on a port of HTTP', async () => {
    const world = await createWorld({ protocol: 'HTTP11' })
    const socket = (await world.tunnel()).socket()
    const ended = new Promise(resolve =>
      socket
        .on('error', () => {})
        .resume()
        .once('end', resolve),
    )
    const before = systemClock.now()
    const closed = world.waypoint.close({ graceMs: 60_000 })
    await ended
    socket.end()
    await closed
    expect(systemClock.now() - before).toBeLessThan(10_000)
  })
})
