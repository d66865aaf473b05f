/** Peers that break rules or waste our time: the one session ends in time with the right code, its neighbour lives on. */
import { once } from 'node:events'
import type { Channel } from '@ambient/core'
import { createManualClock } from '@ambient/core/testing'
import { describe, expect, it } from 'vitest'
import { Recorder } from '../../../test/contracts/channel.ts'
import { encodeHeaders, type HeaderList } from '../src/http2/hpack.ts'
import { harness, type Harness, web } from './harness.ts'
import { CONNECT, frame, rawClient, type RawPeer, request, setting, TYPE, uint32 } from './raw-peer.ts'

const PROTOCOL_ERROR = 1
const FLOW_CONTROL_ERROR = 3
const SETTINGS_TIMEOUT = 4
const STREAM_CLOSED = 5
const FRAME_SIZE_ERROR = 6
const REFUSED_STREAM = 7
const COMPRESSION_ERROR = 9
const CALM = 11

/** A target whose refusal is long. */
const REFUSED: HeaderList = [
  [':method', 'CONNECT'],
  [':authority', '127.0.0.1:2'],
]
/** A target that is never answered, so that nobody reads what is sent. */
const UNANSWERED: HeaderList = [
  [':method', 'CONNECT'],
  [':authority', '127.0.0.1:1'],
]

const many = (count: number, make: (index: number) => Buffer): Buffer =>
  Buffer.concat(Array.from({ length: count }, (_, index) => make(index)))

/** What the peer sends after its SETTINGS, and the code that it gets. `silent` floods have no read answers to wait for. */
const attacks: Readonly<Record<string, readonly [number, Buffer]>> = {
  'SETTINGS flood': [CALM, many(2_000, () => frame(TYPE.settings, 0, 0))],
  'SETTINGS acknowledgement flood': [CALM, many(2_000, () => frame(TYPE.settings, 1, 0))],
  'SETTINGS with hundreds of entries': [
    CALM,
    frame(
      TYPE.settings,
      0,
      0,
      many(100, () => setting(0x99, 1)),
    ),
  ],
  'PING flood': [CALM, many(5_000, () => frame(TYPE.ping, 0, 0, Buffer.alloc(8)))],
  'PING acknowledgement flood': [CALM, many(5_000, () => frame(TYPE.ping, 1, 0, Buffer.alloc(8, 1)))],
  'PING acknowledgement flood with a payload of ours before any was sent': [
    CALM,
    many(5_000, () => frame(TYPE.ping, 1, 0, Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]))),
  ],
  'PRIORITY flood': [CALM, many(20_000, () => frame(TYPE.priority, 0, 3, Buffer.alloc(5)))],
  'unknown frame flood': [CALM, many(20_000, () => frame(0x42, 0, 0))],
  'WINDOW_UPDATE flood': [CALM, many(20_000, () => frame(TYPE.update, 0, 0, uint32(1)))],
  'GOAWAY flood': [
    CALM,
    Buffer.concat([request(1), many(2_000, () => frame(TYPE.goaway, 0, 0, uint32(0, 0)))]),
  ],
  'empty DATA flood': [CALM, Buffer.concat([request(1), many(5_000, () => frame(TYPE.data, 0, 1))])],
  'DATA of padding only flood': [
    CALM,
    Buffer.concat([request(1), many(500, () => frame(TYPE.data, 8, 1, Buffer.from([1, 0])))]),
  ],
  'rapid reset': [
    CALM,
    many(5_000, index =>
      Buffer.concat([request(2 * index + 1), frame(TYPE.reset, 0, 2 * index + 1, uint32(8))]),
    ),
  ],
  'streams that we must reset, by WINDOW_UPDATE of 0': [
    CALM,
    many(1_000, index =>
      Buffer.concat([request(2 * index + 1), frame(TYPE.update, 0, 2 * index + 1, uint32(0))]),
    ),
  ],
  'streams that we must reset, by overflow of their window': [
    CALM,
    many(1_000, index =>
      Buffer.concat([request(2 * index + 1), frame(TYPE.update, 0, 2 * index + 1, uint32(0x7fff_ffff))]),
    ),
  ],
  'streams that we must reset, by self-dependency': [
    CALM,
    many(1_000, index =>
      Buffer.concat([
        request(2 * index + 1),
        frame(TYPE.priority, 0, 2 * index + 1, Buffer.concat([uint32(2 * index + 1), Buffer.from([1])])),
      ]),
    ),
  ],
  'malformed requests': [CALM, many(1_000, index => request(2 * index + 1, 4, [...CONNECT, ['Upper', 'x']]))],
  'CONTINUATION flood, empty': [
    CALM,
    Buffer.concat([request(1, 0), many(1_000, () => frame(TYPE.continuation, 0, 1))]),
  ],
  'CONTINUATION flood, 16 KiB each': [
    CALM,
    Buffer.concat([request(1, 0), many(20, () => frame(TYPE.continuation, 0, 1, Buffer.alloc(16_384)))]),
  ],
  'HPACK bomb': [
    CALM,
    frame(
      TYPE.headers,
      4,
      1,
      Buffer.concat([
        Buffer.from([0x40, 1, 0x61, 0x7f, 0x81, 0x1e]),
        Buffer.alloc(127 + 1 + (0x1e << 7), 0x62),
        Buffer.alloc(16_000, 0xbe),
      ]),
    ),
  ],
  'a header block that is no HPACK': [COMPRESSION_ERROR, frame(TYPE.headers, 4, 1, Buffer.from([0x80]))],
  'WINDOW_UPDATE of 0 on the connection': [PROTOCOL_ERROR, frame(TYPE.update, 0, 0, uint32(0))],
  'overflow of the connection window': [
    FLOW_CONTROL_ERROR,
    many(2, () => frame(TYPE.update, 0, 0, uint32(0x7fff_ffff))),
  ],
  'overflow of stream windows by SETTINGS': [
    FLOW_CONTROL_ERROR,
    Buffer.concat([
      request(1),
      frame(TYPE.update, 0, 1, uint32(0x7fff_0000)),
      frame(TYPE.settings, 0, 0, setting(4, 0x7fff_ffff)),
    ]),
  ],
  'DATA beyond the stream window': [
    FLOW_CONTROL_ERROR,
    Buffer.concat([request(1, 4, UNANSWERED), many(8, () => frame(TYPE.data, 0, 1, Buffer.alloc(16_384)))]),
  ],
  'DATA on an idle stream': [PROTOCOL_ERROR, frame(TYPE.data, 0, 5, 'x')],
  'DATA on stream 0': [PROTOCOL_ERROR, frame(TYPE.data, 0, 0, 'x')],
  'DATA after END_STREAM': [STREAM_CLOSED, Buffer.concat([request(1, 5), frame(TYPE.data, 0, 1, 'x')])],
  'DATA after RST_STREAM': [
    STREAM_CLOSED,
    Buffer.concat([request(1), frame(TYPE.reset, 0, 1, uint32(8)), frame(TYPE.data, 0, 1, 'x')]),
  ],
  'PRIORITY of 4 bytes': [FRAME_SIZE_ERROR, frame(TYPE.priority, 0, 1, Buffer.alloc(4))],
  'HEADERS after END_STREAM': [STREAM_CLOSED, Buffer.concat([request(1, 5), request(1, 5)])],
  'a stream with an even id': [PROTOCOL_ERROR, request(2)],
  'a stream id that was passed over': [PROTOCOL_ERROR, Buffer.concat([request(5), request(3)])],
  'HEADERS on stream 0': [PROTOCOL_ERROR, request(0)],
  'HEADERS with too much padding': [PROTOCOL_ERROR, frame(TYPE.headers, 12, 1, Buffer.from([200, 0x82]))],
  'a frame inside a header block': [
    PROTOCOL_ERROR,
    Buffer.concat([request(1, 0), frame(TYPE.ping, 0, 0, Buffer.alloc(8))]),
  ],
  'an unknown frame inside a header block': [
    PROTOCOL_ERROR,
    Buffer.concat([request(1, 0), frame(0x42, 0, 0)]),
  ],
  'CONTINUATION of another stream': [
    PROTOCOL_ERROR,
    Buffer.concat([request(1, 0), frame(TYPE.continuation, 4, 3)]),
  ],
  'CONTINUATION out of nowhere': [PROTOCOL_ERROR, frame(TYPE.continuation, 4, 1)],
  PUSH_PROMISE: [PROTOCOL_ERROR, frame(TYPE.push, 4, 1, uint32(2))],
  'RST_STREAM on an idle stream': [PROTOCOL_ERROR, frame(TYPE.reset, 0, 7, uint32(8))],
  'RST_STREAM on stream 0': [PROTOCOL_ERROR, frame(TYPE.reset, 0, 0, uint32(8))],
  'RST_STREAM of 3 bytes': [FRAME_SIZE_ERROR, frame(TYPE.reset, 0, 1, Buffer.alloc(3))],
  'WINDOW_UPDATE of 3 bytes': [FRAME_SIZE_ERROR, frame(TYPE.update, 0, 0, Buffer.alloc(3))],
  'WINDOW_UPDATE on an idle stream': [PROTOCOL_ERROR, frame(TYPE.update, 0, 9, uint32(1))],
  'PING of 7 bytes': [FRAME_SIZE_ERROR, frame(TYPE.ping, 0, 0, Buffer.alloc(7))],
  'PING on a stream': [PROTOCOL_ERROR, frame(TYPE.ping, 0, 1, Buffer.alloc(8))],
  'GOAWAY on a stream': [PROTOCOL_ERROR, frame(TYPE.goaway, 0, 1, uint32(0, 0))],
  'GOAWAY of 4 bytes': [FRAME_SIZE_ERROR, frame(TYPE.goaway, 0, 0, uint32(0))],
  'SETTINGS of 5 bytes': [FRAME_SIZE_ERROR, frame(TYPE.settings, 0, 0, Buffer.alloc(5))],
  'SETTINGS on a stream': [PROTOCOL_ERROR, frame(TYPE.settings, 0, 1)],
  'SETTINGS acknowledgement with a payload': [FRAME_SIZE_ERROR, frame(TYPE.settings, 1, 0, setting(4, 1))],
  'an initial window of 2^31': [FLOW_CONTROL_ERROR, frame(TYPE.settings, 0, 0, setting(4, 0x8000_0000))],
  'a maximum frame size of 1': [PROTOCOL_ERROR, frame(TYPE.settings, 0, 0, setting(5, 1))],
  'ENABLE_PUSH of 2': [PROTOCOL_ERROR, frame(TYPE.settings, 0, 0, setting(2, 2))],
  'a frame above the limit': [FRAME_SIZE_ERROR, Buffer.from([0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1])],
}

/** A server that answers every tunnel with its own bytes, and a tunnel of a neighbour that must not notice. */
async function victim(): Promise<{ at: Harness; neighbour: () => Promise<void> }> {
  const at = await harness({
    onTunnel: async tunnel => {
      if (tunnel.authority === '127.0.0.1:1') await once(tunnel.signal, 'abort')
      else if (tunnel.authority === '127.0.0.1:2') tunnel.refuse(403, [['reason', 'x'.repeat(8_000)]])
      else echo(tunnel.accept())
    },
  })
  const tunnel = await at.connect()
  const seen = new Recorder()
  tunnel.channel.start(seen)
  return {
    at,
    neighbour: async () => {
      const before = seen.received
      tunnel.channel.write(Buffer.from('still here'))
      await seen.until(() => seen.received === before + 10)
    },
  }
}

function echo(channel: Channel): void {
  channel.start({
    data: bytes => {
      if (channel.write(bytes)) return true
      channel.pause()
      return false
    },
    drained: () => channel.resume(),
    end: () => channel.end(),
    finished: () => {},
    reset: () => {},
  })
}

describe('a session', () => {
  for (const [name, [code, bytes]] of Object.entries(attacks))
    it(`ends after ${name}`, { timeout: 5_000 }, async () => {
      const { at, neighbour } = await victim()
      const peer = await rawClient(at.port.port, web)
      peer.settings()
      await peer.sync()
      const since = performance.now()
      peer.write(bytes)
      await peer.closed
      expect(performance.now() - since).toBeLessThan(2_000)
      expect(peer.goawayCode).toBe(code)
      await neighbour()
      expect(at.server.sessions).toBe(1)
      expect(at.server.tunnels).toBe(1)
    })

  it('that does not begin with SETTINGS, or not with HTTP/2, ends', async () => {
    const { at, neighbour } = await victim()
    const early = await rawClient(at.port.port, web)
    early.write(request(1))
    await early.closed
    expect(early.goawayCode).toBe(PROTOCOL_ERROR)
    const other = await rawClient(at.port.port, web)
    // The preface was said already, so this is no frame; a preface of another protocol is the same to the reader.
    other.write(Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'))
    await other.closed
    expect(other.goawayCode).toBe(FRAME_SIZE_ERROR)
    await neighbour()
  })

  it('that reads none of its answers ends', { timeout: 10_000 }, async () => {
    const { at, neighbour } = await victim()
    const peer = await rawClient(at.port.port, web)
    peer.settings()
    await peer.sync()
    peer.socket.pause()
    let id = 1
    const one = (): Buffer => {
      id += 2
      return request(id, 5, REFUSED)
    }
    while (at.server.sessions > 1 && id < 100_000) {
      if (!peer.socket.destroyed) peer.write(many(100, one))
      await new Promise(resolve => setImmediate(resolve))
    }
    expect(at.server.sessions).toBe(1)
    await neighbour()
  })

  it('may open as many streams as were announced; more are refused, the session lives', async () => {
    const at = await harness({
      onTunnel: tunnel => void tunnel.accept(),
      limits: { maxConcurrentStreams: 3 },
    })
    const peer = await rawClient(at.port.port, web)
    peer.settings()
    await peer.until(() => peer.find(TYPE.settings) !== undefined)
    expect(peer.find(TYPE.settings)?.payload.subarray(0, 6)).toEqual(setting(3, 3))
    peer.write(...[1, 3, 5, 7].map(id => request(id)))
    await peer.until(() => peer.find(TYPE.reset) !== undefined)
    expect(peer.find(TYPE.reset)).toMatchObject({ id: 7, payload: uint32(REFUSED_STREAM) })
    peer.write(frame(TYPE.reset, 0, 1, uint32(8)), request(9))
    await peer.until(() => peer.find(TYPE.headers, 9) !== undefined)
    expect(at.server.tunnels).toBe(3)
  })

  it('may not pile up bytes in streams that it has reset', async () => {
    const channels: Channel[] = []
    const at = await harness({
      onTunnel: tunnel => {
        const channel = tunnel.accept()
        channels.push(channel)
        channel.start(new Recorder())
        channel.pause()
      },
      limits: { maxConcurrentStreams: 3 },
    })
    const peer = await rawClient(at.port.port, web)
    peer.settings()
    for (const id of [1, 3, 5]) {
      peer.write(request(id))
      await peer.until(() => peer.find(TYPE.headers, id) !== undefined)
      peer.write(frame(TYPE.data, 0, id, Buffer.alloc(16_384)), frame(TYPE.reset, 0, id, uint32(2)))
    }
    peer.write(request(7))
    await peer.until(() => peer.find(TYPE.reset, 7) !== undefined)
    expect(at.server.tunnels).toBe(0)
    // Once a reader has taken what is its own, there is room again.
    for (const channel of channels) channel.resume()
    peer.write(request(9))
    await peer.until(() => peer.find(TYPE.headers, 9) !== undefined)
  })

  it('with a list of headers that is too long loses the stream only', async () => {
    const { at, neighbour } = await victim()
    const peer = await rawClient(at.port.port, web)
    peer.settings()
    const block = Buffer.concat([
      encodeHeaders(CONNECT),
      Buffer.from([0x40, 1, 0x61, 0x7f, 0x81, 0x1e]),
      Buffer.alloc(127 + 1 + (0x1e << 7), 0x62),
      Buffer.alloc(30, 0xbe),
    ])
    peer.write(frame(TYPE.headers, 4, 1, block), request(3))
    await peer.until(() => peer.find(TYPE.headers, 3) !== undefined)
    expect(peer.find(TYPE.reset)).toMatchObject({ id: 1, payload: uint32(CALM) })
    await neighbour()
  })
})

describe('a peer that waits', () => {
  const cases: Readonly<Record<string, (peer: RawPeer) => void>> = {
    'and never says SETTINGS': () => {},
    'in the middle of a frame': peer => peer.write(frame(TYPE.settings, 0, 0), Buffer.from([0, 0, 8])),
    'in the middle of a control frame': peer =>
      peer.write(frame(TYPE.settings, 0, 0), frame(TYPE.ping, 0, 0, Buffer.alloc(8)).subarray(0, 12)),
    'for ever in a header block': peer => peer.write(frame(TYPE.settings, 0, 0), request(1, 0)),
  }
  for (const [name, begin] of Object.entries(cases))
    it(`${name} is dropped in time`, async () => {
      const clock = createManualClock()
      const at = await harness({ onTunnel: () => {}, clock })
      const peer = await rawClient(at.port.port, web)
      await peer.until(() => peer.find(TYPE.settings) !== undefined)
      begin(peer)
      if (name !== 'and never says SETTINGS')
        await peer.until(() => peer.all(TYPE.settings).some(entry => entry.flags === 1))
      clock.advance(9_999)
      expect(at.server.sessions).toBe(1)
      clock.advance(1)
      await peer.closed
      expect(peer.goawayCode).toBe(SETTINGS_TIMEOUT)
      expect(at.server.sessions).toBe(0)
      await at.server.close()
      expect(clock.pending).toBe(0)
    })

  it('in the middle of DATA is none', async () => {
    const clock = createManualClock()
    const at = await harness({ onTunnel: tunnel => echo(tunnel.accept()), clock })
    const peer = await rawClient(at.port.port, web)
    peer.settings()
    peer.write(request(1))
    await peer.until(() => peer.find(TYPE.headers, 1) !== undefined)
    const data = frame(TYPE.data, 0, 1, Buffer.from('0123456789'))
    peer.write(data.subarray(0, 14))
    await peer.until(() => peer.find(TYPE.data, 1) !== undefined)
    clock.advance(9_000)
    clock.advance(9_000)
    peer.write(data.subarray(14))
    await peer.until(
      () => peer.all(TYPE.data, 1).reduce((sum, entry) => sum + entry.payload.length, 0) === 10,
    )
    expect(at.server.sessions).toBe(1)
  })
})
