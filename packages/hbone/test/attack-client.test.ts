/** Servers that break rules or waste our client's time: the request fails with its code, the session ends, the pool heals. */
import { describe, expect, it } from 'vitest'
import { Recorder } from '../../../test/contracts/channel.ts'
import type { HboneError, HbonePool, Tunnel } from '@ambient/hbone'
import { encodeHeaders, type HeaderList } from '../src/http2/hpack.ts'
import { bomb, CODE, many, onClient, onConnection, onStream } from './attack-rows.ts'
import { onTunnel, watchNeighbour } from './attack-victim.ts'
import { db, failure, harness, type Harness } from './harness.ts'
import {
  frame,
  onRequests,
  type RawPeer,
  rawServer,
  type RawServer,
  setting,
  TYPE,
  uint32,
} from './raw-peer.ts'

const LIMIT_MS = 2_000
const OK = encodeHeaders([[':status', '200']])

interface Scene {
  readonly at: Harness
  readonly pool: HbonePool
  readonly hostile: RawServer
  /** A tunnel through the hostile server. */
  readonly open: () => Promise<Tunnel>
  /** A tunnel of the same pool to a good server lives. */
  readonly neighbour: () => Promise<void>
}

/** `answers` is what the server says to each request; `undefined` leaves it waiting. */
async function scene(
  answers: (peer: RawPeer, id: number) => void = (peer, id) => peer.write(frame(TYPE.headers, 4, id, OK)),
  options: { readonly greet?: (peer: RawPeer) => void } & Parameters<typeof harness>[1] = {},
): Promise<Scene> {
  const { greet = peer => peer.settings(), ...poolOptions } = options
  const hostile = await rawServer(db, peer => {
    greet(peer)
    onRequests(peer, id => answers(peer, id))
  })
  const at = await harness({ onTunnel }, poolOptions)
  const to = { address: '127.0.0.1', port: hostile.port }
  const neighbour = await watchNeighbour(at)
  return { at, pool: at.pool, hostile, open: () => at.connect({ to }), neighbour }
}

async function refused(of: Scene): Promise<HboneError> {
  return failure(of.open())
}

describe('a session with a server ends', () => {
  for (const [name, [code, bytes]] of Object.entries({ ...onConnection, ...onStream, ...onClient }))
    it(`with its code after ${name}`, { timeout: 5_000 }, async () => {
      const all = await scene()
      const events = new Recorder()
      const tunnel = await all.open()
      tunnel.channel.start(events)
      const [peer] = all.hostile.peers
      if (peer === undefined) throw new Error('no session')
      await peer.sync()
      const since = performance.now()
      peer.write(bytes)
      await peer.closed
      expect(performance.now() - since).toBeLessThan(LIMIT_MS)
      expect(peer.goawayCode).toBe(code)
      await events.until(() => events.resetWith !== undefined || events.log.includes('end'))
      // The pool has a new session for the next one.
      const next = await all.open()
      next.channel.start(new Recorder())
      expect(all.hostile.peers).toHaveLength(2)
      await all.neighbour()
      expect([all.pool.sessions, all.pool.tunnels]).toEqual([2, 2])
    })

  it('when DATA goes beyond the window of a stream that nobody reads', async () => {
    const all = await scene()
    const events = new Recorder()
    const { channel } = await all.open()
    channel.pause()
    channel.start(events)
    const [peer] = all.hostile.peers
    peer?.write(many(8, () => frame(TYPE.data, 0, 1, Buffer.alloc(16_384))))
    await peer?.closed
    expect(peer?.goawayCode).toBe(CODE.flowControl)
    channel.resume()
    await events.seen('reset')
    // What was within the window is delivered before.
    expect(events.received).toBe(65_536)
    await all.neighbour()
  })

  it('when interim answers never end (103 and 100 flood)', async () => {
    const interim = frame(TYPE.headers, 4, 1, encodeHeaders([[':status', '103']]))
    const all = await scene((peer, id) => id === 1 && peer.write(many(20_000, () => interim)))
    const error = await refused(all)
    expect([error.code, error.h2Code]).toEqual(['AMBIENT_E_HBONE_PROTOCOL', 'ENHANCE_YOUR_CALM'])
    await all.neighbour()
  })
})

const answer = (...fields: HeaderList): Buffer => encodeHeaders(fields)
const streamErrors: Readonly<Record<string, (id: number) => Buffer>> = {
  'an answer without a status': id => frame(TYPE.headers, 4, id, answer(['x', 'y'])),
  'a status of four digits': id => frame(TYPE.headers, 4, id, answer([':status', '2000'])),
  'two statuses': id => frame(TYPE.headers, 4, id, answer([':status', '200'], [':status', '403'])),
  'a request as an answer': id => frame(TYPE.headers, 4, id, answer([':method', 'GET'], [':path', '/'])),
  'an upper-case field': id => frame(TYPE.headers, 4, id, answer([':status', '200'], ['X-A', 'b'])),
  'a field with a line break': id =>
    frame(TYPE.headers, 4, id, answer([':status', '200'], ['a', 'b\r\nc: d'])),
  'transfer-encoding': id =>
    frame(TYPE.headers, 4, id, answer([':status', '200'], ['transfer-encoding', 'chunked'])),
  'a list of headers that is too long': id =>
    frame(TYPE.headers, 4, id, Buffer.concat([answer([':status', '200']), bomb(8)])),
  'a thousand fields': id =>
    frame(
      TYPE.headers,
      4,
      id,
      answer([':status', '200'], ...Array.from({ length: 400 }, () => ['x', ''] as const)),
    ),
  'an interim answer that ends the stream': id => frame(TYPE.headers, 5, id, answer([':status', '103'])),
  'DATA before the answer': id => frame(TYPE.data, 0, id, 'x'),
  'a window that overflows': id => frame(TYPE.update, 0, id, uint32(0x7fff_ffff)),
  'a WINDOW_UPDATE of 0': id => frame(TYPE.update, 0, id, uint32(0)),
}

describe('one request fails, its session serves the next', () => {
  for (const [name, bytes] of Object.entries(streamErrors))
    it(`when it is answered with ${name}`, async () => {
      const all = await scene((peer, id) => peer.write(id === 1 ? bytes(id) : frame(TYPE.headers, 4, id, OK)))
      const error = await refused(all)
      expect(error.code).toBe('AMBIENT_E_HBONE_RESET')
      expect(error.unprocessed).toBe(false)
      const [peer] = all.hostile.peers
      const code = name === 'a window that overflows' ? CODE.flowControl : CODE.protocol
      await peer?.until(() => peer.find(TYPE.reset, 1) !== undefined)
      expect(peer?.find(TYPE.reset, 1)?.payload).toEqual(uint32(code))
      const tunnel = await all.open()
      tunnel.channel.start(new Recorder())
      expect(all.hostile.peers).toHaveLength(1)
      await all.neighbour()
    })

  it('when it is reset by each code there is, and by one there is not', async () => {
    const codes = [...Array.from({ length: 14 }, (_, code) => code), 0xffff_ffff]
    const all = await scene((peer, id) => {
      const code = codes[(id - 1) / 2] ?? 0
      // REFUSED_STREAM is asked for once more.
      peer.write(frame(TYPE.reset, 0, id, uint32(code === CODE.refused ? CODE.internal : code)))
    })
    for (const code of codes) {
      const error = await refused(all)
      expect(error.code, String(code)).toBe('AMBIENT_E_HBONE_RESET')
    }
    expect(all.hostile.peers).toHaveLength(1)
    await all.neighbour()
  })

  it('when the tunnel is reset right after its answer, also with trailers and the end in between', async () => {
    const all = await scene((peer, id) =>
      peer.write(
        frame(TYPE.headers, 4, id, OK),
        frame(TYPE.data, 0, id, 'early'),
        ...(id === 3 ? [frame(TYPE.headers, 5, id, answer(['trailer', 'x']))] : []),
        frame(TYPE.reset, 0, id, uint32(CODE.internal)),
      ),
    )
    for (const last of ['reset', 'end']) {
      const events = new Recorder()
      const { channel } = await all.open()
      channel.start(events)
      await events.seen(last)
      expect(events.bytes.toString()).toBe('early')
      channel.reset('CANCEL', 'over')
    }
    await all.neighbour()
  })
})

describe('the pool heals', () => {
  it('from a server that says GOAWAY and no streams at once (CVE-2021-32780)', async () => {
    const all = await scene(undefined, {
      greet: peer => {
        peer.settings(setting(3, 0))
        peer.write(frame(TYPE.goaway, 0, 0, uint32(0, 0)))
      },
    })
    for (let round = 0; round < 5; round++) {
      const error = await refused(all)
      expect(error.code).toMatch(/^AMBIENT_E_HBONE_(RESET|SESSION_LOST)$/)
    }
    await Promise.all(all.hostile.peers.map(peer => peer.closed))
    expect([all.pool.sessions, all.pool.tunnels]).toEqual([1, 1])
    await all.neighbour()
  })

  it('from a server that never allows a stream, without keeping a session for each attempt', async () => {
    const all = await scene((peer, id) => peer.write(frame(TYPE.reset, 0, id, uint32(CODE.refused))), {
      greet: peer => peer.settings(setting(3, 0)),
    })
    for (let round = 0; round < 5; round++) expect((await refused(all)).h2Code).toBe('REFUSED_STREAM')
    await Promise.all(all.hostile.peers.map(peer => peer.closed))
    expect([all.pool.sessions, all.pool.tunnels]).toEqual([1, 1])
    await all.neighbour()
  })

  it('from a server that refuses every stream: each request is tried twice, not for ever', async () => {
    const all = await scene((peer, id) => peer.write(frame(TYPE.reset, 0, id, uint32(CODE.refused))))
    expect((await refused(all)).unprocessed).toBe(true)
    const asked = all.hostile.peers.reduce((sum, peer) => sum + peer.all(TYPE.headers).length, 0)
    expect(asked).toBe(2)
  })

  it('from a server that takes back all windows and gives them again', async () => {
    const all = await scene()
    const { channel } = await all.open()
    channel.start(new Recorder())
    const [peer] = all.hostile.peers
    for (const value of [0, 0x7fff_ffff, 1, 0, 65_535]) peer?.settings(setting(4, value))
    await peer?.sync()
    channel.write(Buffer.alloc(100_000))
    await peer?.until(() => bytesOf(peer) === 65_535)
    // What is granted goes out, to the byte.
    peer?.settings(setting(4, 0))
    peer?.write(frame(TYPE.update, 0, 0, uint32(100_000)), frame(TYPE.update, 0, 1, uint32(65_536)))
    await peer?.until(() => bytesOf(peer) === 65_536)
    peer?.settings(setting(4, 100_000))
    await peer?.until(() => bytesOf(peer) === 100_000)
    await all.neighbour()
  })

  it('from a server that speaks HTTP/1.1, or garbage, after the handshake', async () => {
    for (const words of ['HTTP/1.1 400 Bad Request\r\n\r\n', 'x'.repeat(9), '\0'.repeat(100)]) {
      const all = await scene(undefined, { greet: peer => peer.write(Buffer.from(words)) })
      expect((await refused(all)).code).toMatch(/^AMBIENT_E_(HBONE_PROTOCOL|TLS)$/)
      await all.neighbour()
    }
  })
})

function bytesOf(peer: RawPeer): number {
  return peer.all(TYPE.data, 1).reduce((sum, entry) => sum + entry.payload.length, 0)
}
