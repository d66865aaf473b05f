/**
 * What hostile peers send after their SETTINGS, and the code that ends the session: each row of the table of HTTP/2 attacks
 * (floods, resets, bombs, broken frames), by whom it can be sent.
 */
import { encodeHeaders, type HeaderList } from '../src/http2/hpack.ts'
import { CONNECT, frame, request, setting, TYPE, uint32 } from './raw-peer.ts'

export const CODE = {
  none: 0,
  protocol: 1,
  internal: 2,
  flowControl: 3,
  settingsTimeout: 4,
  streamClosed: 5,
  frameSize: 6,
  refused: 7,
  compression: 9,
  calm: 11,
} as const

/** Name → code of the GOAWAY, bytes. */
export type Attacks = Readonly<Record<string, readonly [number, Buffer]>>

const target = (port: number): HeaderList => [
  [':method', 'CONNECT'],
  [':authority', `127.0.0.1:${port}`],
]
/** A target that is never answered, so that nobody reads what is sent. */
export const UNANSWERED = target(1)
/** A target whose refusal is long. */
export const REFUSED = target(2)

export const many = (count: number, make: (index: number) => Buffer): Buffer =>
  Buffer.concat(Array.from({ length: count }, (_, index) => make(index)))

/** `count` streams, each opened and followed by what `then` says of it. */
const streams = (count: number, then: (id: number) => Buffer, head = CONNECT): Buffer =>
  many(count, index => Buffer.concat([request(2 * index + 1, 4, head), then(2 * index + 1)]))

/** One long literal put into the table, and as many references to it. */
export const bomb = (references: number): Buffer =>
  Buffer.concat([
    Buffer.from([0x40, 1, 0x61, 0x7f, 0x81, 0x1e]),
    Buffer.alloc(127 + 1 + (0x1e << 7), 0x62),
    Buffer.alloc(references, 0xbe),
  ])

/** Padding of 255 bytes around one. */
const padded = frame(TYPE.data, 8, 1, Buffer.concat([Buffer.of(255), Buffer.alloc(256, 0x78)]))
const POST: HeaderList = [
  [':method', 'POST'],
  [':scheme', 'https'],
  [':path', '/'],
  ['content-length', '0'],
]

/** By either peer, on the connection. */
export const onConnection: Attacks = {
  'SETTINGS flood (CVE-2019-9515)': [CODE.calm, many(2_000, () => frame(TYPE.settings, 0, 0))],
  'SETTINGS acknowledgement flood': [CODE.calm, many(2_000, () => frame(TYPE.settings, 1, 0))],
  'SETTINGS with hundreds of entries': [
    CODE.calm,
    frame(
      TYPE.settings,
      0,
      0,
      many(100, () => setting(0x99, 1)),
    ),
  ],
  'PING flood (CVE-2019-9512)': [CODE.calm, many(5_000, () => frame(TYPE.ping, 0, 0, Buffer.alloc(8)))],
  'PING acknowledgement flood': [CODE.calm, many(5_000, () => frame(TYPE.ping, 1, 0, Buffer.alloc(8, 1)))],
  'PING acknowledgement flood with a payload of ours before any was sent': [
    CODE.calm,
    many(5_000, () => frame(TYPE.ping, 1, 0, Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]))),
  ],
  'PRIORITY churn (CVE-2019-9513)': [
    CODE.calm,
    many(20_000, () => frame(TYPE.priority, 0, 3, Buffer.alloc(5))),
  ],
  'unknown frame flood': [CODE.calm, many(20_000, () => frame(0x42, 0, 0))],
  'ORIGIN flood (CVE-2026-48619)': [CODE.calm, many(20_000, () => frame(0x0c, 0, 0, '\0\x09https://a'))],
  'WINDOW_UPDATE flood, data dribble (CVE-2019-9511)': [
    CODE.calm,
    many(20_000, () => frame(TYPE.update, 0, 0, uint32(1))),
  ],
  'WINDOW_UPDATE of 0 on the connection': [CODE.protocol, frame(TYPE.update, 0, 0, uint32(0))],
  'overflow of the connection window (CVE-2026-21714)': [
    CODE.flowControl,
    many(2, () => frame(TYPE.update, 0, 0, uint32(0x7fff_ffff))),
  ],
  'DATA on stream 0': [CODE.protocol, frame(TYPE.data, 0, 0, 'x')],
  'DATA on an idle stream': [CODE.protocol, frame(TYPE.data, 0, 99, 'x')],
  'DATA on an idle stream of the other parity': [CODE.protocol, frame(TYPE.data, 0, 98, 'x')],
  'PRIORITY of 4 bytes': [CODE.frameSize, frame(TYPE.priority, 0, 99, Buffer.alloc(4))],
  'HEADERS on stream 0': [CODE.protocol, request(0)],
  'a stream with an even id': [CODE.protocol, request(2)],
  'a header block that is no HPACK': [CODE.compression, frame(TYPE.headers, 4, 1, Buffer.from([0x80]))],
  'HEADERS with too much padding': [CODE.protocol, frame(TYPE.headers, 12, 1, Buffer.from([200, 0x82]))],
  'a frame inside a header block': [
    CODE.protocol,
    Buffer.concat([request(1, 0), frame(TYPE.ping, 0, 0, Buffer.alloc(8))]),
  ],
  'an unknown frame inside a header block': [
    CODE.protocol,
    Buffer.concat([request(1, 0), frame(0x42, 0, 0)]),
  ],
  'CONTINUATION of another stream': [
    CODE.protocol,
    Buffer.concat([request(1, 0), frame(TYPE.continuation, 4, 3)]),
  ],
  'CONTINUATION out of nowhere': [CODE.protocol, frame(TYPE.continuation, 4, 1)],
  'CONTINUATION flood, empty (CVE-2024-28182)': [
    CODE.calm,
    Buffer.concat([request(1, 0), many(1_000, () => frame(TYPE.continuation, 0, 1))]),
  ],
  'CONTINUATION flood, 16 KiB each (CVE-2024-27983)': [
    CODE.calm,
    Buffer.concat([request(1, 0), many(20, () => frame(TYPE.continuation, 0, 1, Buffer.alloc(16_384)))]),
  ],
  'HPACK bomb': [CODE.calm, frame(TYPE.headers, 5, 1, bomb(11_000))],
  PUSH_PROMISE: [CODE.protocol, frame(TYPE.push, 4, 1, uint32(2))],
  'RST_STREAM on an idle stream': [CODE.protocol, frame(TYPE.reset, 0, 97, uint32(8))],
  'RST_STREAM on stream 0': [CODE.protocol, frame(TYPE.reset, 0, 0, uint32(8))],
  'RST_STREAM of 3 bytes': [CODE.frameSize, frame(TYPE.reset, 0, 1, Buffer.alloc(3))],
  'WINDOW_UPDATE of 3 bytes': [CODE.frameSize, frame(TYPE.update, 0, 0, Buffer.alloc(3))],
  'WINDOW_UPDATE on an idle stream': [CODE.protocol, frame(TYPE.update, 0, 99, uint32(1))],
  'PING of 7 bytes': [CODE.frameSize, frame(TYPE.ping, 0, 0, Buffer.alloc(7))],
  'PING on a stream': [CODE.protocol, frame(TYPE.ping, 0, 1, Buffer.alloc(8))],
  'GOAWAY on a stream': [CODE.protocol, frame(TYPE.goaway, 0, 1, uint32(0, 0))],
  'GOAWAY of 4 bytes': [CODE.frameSize, frame(TYPE.goaway, 0, 0, uint32(0))],
  'SETTINGS of 5 bytes': [CODE.frameSize, frame(TYPE.settings, 0, 0, Buffer.alloc(5))],
  'SETTINGS on a stream': [CODE.protocol, frame(TYPE.settings, 0, 1)],
  'SETTINGS acknowledgement with a payload': [CODE.frameSize, frame(TYPE.settings, 1, 0, setting(4, 1))],
  'an initial window of 2^31': [CODE.flowControl, frame(TYPE.settings, 0, 0, setting(4, 0x8000_0000))],
  'a maximum frame size of 1': [CODE.protocol, frame(TYPE.settings, 0, 0, setting(5, 1))],
  'ENABLE_PUSH of 2': [CODE.protocol, frame(TYPE.settings, 0, 0, setting(2, 2))],
  'a frame above the limit': [CODE.frameSize, Buffer.from([0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1])],
  'a control frame of a megabyte': [CODE.calm, Buffer.from([0x0f, 0, 0, 6, 0, 0, 0, 0, 0])],
}

/** By either peer, once stream 1 is open and answered. */
export const onStream: Attacks = {
  'GOAWAY flood (CVE-2025-23085)': [CODE.calm, many(2_000, () => frame(TYPE.goaway, 0, 0, uint32(1, 0)))],
  'empty DATA flood (CVE-2019-9518)': [CODE.calm, many(5_000, () => frame(TYPE.data, 0, 1))],
  'DATA of padding only flood': [CODE.calm, many(500, () => frame(TYPE.data, 8, 1, Buffer.from([1, 0])))],
  'DATA of 255 bytes of padding around one flood': [CODE.calm, many(20_000, () => padded)],
  'DATA with more padding than bytes': [CODE.protocol, frame(TYPE.data, 8, 1, Buffer.from([9, 0]))],
  'padded DATA without a pad length': [CODE.frameSize, frame(TYPE.data, 8, 1)],
  'WINDOW_UPDATE flood on a stream': [CODE.calm, many(20_000, () => frame(TYPE.update, 0, 1, uint32(1)))],
  'overflow of stream windows by SETTINGS': [
    CODE.flowControl,
    Buffer.concat([
      frame(TYPE.update, 0, 1, uint32(0x7fff_0000)),
      frame(TYPE.settings, 0, 0, setting(4, 0x7fff_ffff)),
    ]),
  ],
  'DATA after END_STREAM': [
    CODE.streamClosed,
    Buffer.concat([frame(TYPE.data, 1, 1), frame(TYPE.data, 0, 1, 'x')]),
  ],
  'HEADERS after END_STREAM': [CODE.streamClosed, Buffer.concat([frame(TYPE.data, 1, 1), request(1, 5)])],
  'DATA after RST_STREAM': [
    CODE.streamClosed,
    Buffer.concat([frame(TYPE.reset, 0, 1, uint32(8)), frame(TYPE.data, 0, 1, 'x')]),
  ],
}

/** By a client. */
export const onServer: Attacks = {
  'rapid reset (CVE-2023-44487)': [CODE.calm, streams(20_000, id => frame(TYPE.reset, 0, id, uint32(8)))],
  'rapid reset of requests that were complete': [
    CODE.calm,
    many(20_000, index =>
      Buffer.concat([request(2 * index + 1, 5), frame(TYPE.reset, 0, 2 * index + 1, uint32(8))]),
    ),
  ],
  'MadeYouReset by WINDOW_UPDATE of 0 (CVE-2025-8671)': [
    CODE.calm,
    streams(1_000, id => frame(TYPE.update, 0, id, uint32(0))),
  ],
  'MadeYouReset by overflow of a stream window': [
    CODE.calm,
    streams(1_000, id => frame(TYPE.update, 0, id, uint32(0x7fff_ffff))),
  ],
  'MadeYouReset by a PRIORITY that is short': [
    CODE.calm,
    streams(1_000, id => frame(TYPE.priority, 0, id, Buffer.alloc(4))),
  ],
  'MadeYouReset by self-dependency': [
    CODE.calm,
    streams(1_000, id => frame(TYPE.priority, 0, id, Buffer.concat([uint32(id), Buffer.from([1])]))),
  ],
  'MadeYouReset by HEADERS that depend on themselves': [
    CODE.calm,
    many(1_000, index => {
      const id = 2 * index + 1
      const priority = Buffer.concat([uint32(id), Buffer.from([1])])
      return frame(TYPE.headers, 0x24, id, Buffer.concat([priority, encodeHeaders(CONNECT)]))
    }),
  ],
  'MadeYouReset by DATA beyond content-length 0': [
    CODE.calm,
    streams(1_000, id => frame(TYPE.data, 0, id, 'x'), POST),
  ],
  'MadeYouReset by trailers that end nothing': [CODE.calm, streams(1_000, id => request(id, 4))],
  'MadeYouReset by DATA after END_STREAM': [
    CODE.streamClosed,
    many(1_000, index => Buffer.concat([request(2 * index + 1, 5), frame(TYPE.data, 0, 2 * index + 1, 'x')])),
  ],
  'malformed requests': [CODE.calm, streams(1_000, () => Buffer.alloc(0), [...CONNECT, ['Upper', 'x']])],
  'lists of headers that are too long, again and again': [
    CODE.calm,
    many(1_000, index =>
      frame(TYPE.headers, 4, 2 * index + 1, Buffer.concat([encodeHeaders(CONNECT), bomb(30)])),
    ),
  ],
  'streams without end, none of them read': [CODE.calm, streams(20_000, () => Buffer.alloc(0), UNANSWERED)],
  'a stream id that was passed over': [CODE.protocol, Buffer.concat([request(5), request(3)])],
  'a stream after the last one': [CODE.protocol, Buffer.concat([request(0x7fff_ffff), request(1)])],
  'DATA beyond the stream window': [
    CODE.flowControl,
    Buffer.concat([request(1, 4, UNANSWERED), many(8, () => frame(TYPE.data, 0, 1, Buffer.alloc(16_384)))]),
  ],
}

const answer = (...fields: HeaderList): Buffer => encodeHeaders([[':status', '200'], ...fields])

/** By a server whose client has stream 1 open and answered. */
export const onClient: Attacks = {
  'ENABLE_PUSH of 1': [CODE.protocol, frame(TYPE.settings, 0, 0, setting(2, 1))],
  'an answer on a stream that nobody opened': [CODE.protocol, frame(TYPE.headers, 4, 99, answer())],
  'answers on a stream that is over flood': [
    CODE.calm,
    Buffer.concat([
      frame(TYPE.update, 0, 1, uint32(0)),
      many(20_000, () => frame(TYPE.headers, 4, 1, answer())),
    ]),
  ],
  'MadeYouReset, again on the stream that is over': [
    CODE.calm,
    many(1_000, () => frame(TYPE.update, 0, 1, uint32(0))),
  ],
}
