/** Which rules, once broken, end a stream or a session, and with which word. */
import { FLAG, FRAME } from '../http2/codes.ts'
import { endsWith } from './server-http2.ts'
import type { ServerCase } from './server-case.ts'
import type { Target } from './target.ts'
import { check } from './verdict.ts'
import { frame, headersFrame, PREFACE, uint32, windowUpdate } from './wire.ts'

/** Each is sent on a session that works, and must end it. */
const VIOLATIONS: readonly (readonly [
  id: string,
  what: string,
  codes: readonly string[],
  frames: (target: Target) => readonly Buffer[],
])[] = [
  [
    'data-on-stream-0',
    'DATA on stream 0',
    ['PROTOCOL_ERROR'],
    () => [frame(FRAME.data, 0, 0, Buffer.from('x'))],
  ],
  [
    'data-on-idle-stream',
    'DATA on a stream that was never opened',
    ['PROTOCOL_ERROR', 'STREAM_CLOSED'],
    () => [frame(FRAME.data, 0, 7, Buffer.from('x'))],
  ],
  ['stream-even', 'a stream of an even number', ['PROTOCOL_ERROR'], target => [headersFrame(2, target.head)]],
  [
    'stream-backwards',
    'stream numbers that go back',
    ['PROTOCOL_ERROR', 'STREAM_CLOSED'],
    target => [headersFrame(9, target.head), headersFrame(5, target.head)],
  ],
  [
    'settings-length',
    'SETTINGS of five bytes',
    ['FRAME_SIZE_ERROR'],
    () => [frame(FRAME.settings, 0, 0, Buffer.alloc(5))],
  ],
  [
    'ping-length',
    'PING of seven bytes',
    ['FRAME_SIZE_ERROR'],
    () => [frame(FRAME.ping, 0, 0, Buffer.alloc(7))],
  ],
  [
    'continuation-alone',
    'CONTINUATION without HEADERS',
    ['PROTOCOL_ERROR'],
    () => [frame(FRAME.continuation, FLAG.endHeaders, 1, Buffer.alloc(0))],
  ],
  [
    'headers-interrupted',
    'a frame between HEADERS and CONTINUATION',
    ['PROTOCOL_ERROR'],
    () => [frame(FRAME.headers, 0, 1, Buffer.from([0x82])), frame(FRAME.ping, 0, 0, Buffer.alloc(8))],
  ],
  [
    'hpack-index',
    'a header index that nothing has',
    ['COMPRESSION_ERROR'],
    () => [frame(FRAME.headers, FLAG.endHeaders, 1, Buffer.from([0xfe]))],
  ],
  [
    'push',
    'PUSH_PROMISE of a client',
    ['PROTOCOL_ERROR'],
    () => [frame(FRAME.pushPromise, FLAG.endHeaders, 1, uint32(2))],
  ],
]

export const errorCases: readonly ServerCase[] = [
  {
    id: 'error-preface',
    title: 'ends a connection that does not begin with the preface',
    requirement: 'HBONE-ERR-1',
    level: 'MUST',
    run: async target => {
      const wire = target.wire(await target.secure())
      wire.send(Buffer.from('GET / HTTP/1.1\r\nhost: example.invalid\r\n\r\n'))
      // A server that answers in HTTP/1 fails here as well.
      check(await wire.closes(), 'the connection stayed open')
      check(wire.garbled === undefined, 'it answered in another protocol')
    },
  },
  {
    id: 'error-first-frame',
    title: 'ends a connection whose first frame is not SETTINGS',
    requirement: 'HBONE-ERR-1',
    level: 'MUST',
    run: async target => {
      const wire = target.wire(await target.secure())
      wire.send(PREFACE, frame(FRAME.ping, 0, 0, Buffer.alloc(8)))
      await endsWith(wire, ['PROTOCOL_ERROR'])
    },
  },
  ...VIOLATIONS.map(
    ([id, what, codes, frames]): ServerCase => ({
      id: `error-${id}`,
      title: `ends the session over ${what}`,
      requirement: 'HBONE-ERR-1',
      level: 'MUST',
      run: async target => {
        const wire = await target.session()
        wire.send(...frames(target))
        await endsWith(wire, codes)
      },
    }),
  ),
  {
    id: 'error-says-goaway',
    title: 'says GOAWAY before it ends a session over an error',
    requirement: 'HBONE-ERR-2',
    level: 'SHOULD',
    run: async target => {
      const wire = await target.session()
      wire.send(frame(FRAME.data, 0, 0))
      check(await wire.closes(), 'the connection stayed open')
      check(wire.goaways.length > 0, 'there was no GOAWAY')
    },
  },
  {
    id: 'error-of-a-stream',
    title: 'resets a stream over WINDOW_UPDATE of 0, with PROTOCOL_ERROR',
    requirement: 'HBONE-ERR-3',
    level: 'SHOULD',
    run: async target => {
      const wire = await target.session()
      const [wrong, neighbour] = [await target.tunnel(wire), await target.tunnel(wire)]
      wire.send(windowUpdate(wrong.id, 0))
      const code = await wire.until('RST_STREAM', () => wrong.resetCode)
      check(code === 'PROTOCOL_ERROR', `the stream was reset with ${code}`)
      await target.echoes(wire, neighbour, 'unharmed')
    },
  },
  {
    id: 'error-data-after-end',
    title: 'takes no DATA after END_STREAM',
    requirement: 'HBONE-ERR-4',
    level: 'MUST',
    run: async target => {
      const wire = await target.session({ refill: false })
      const stream = await target.tunnel(wire)
      wire.send(
        frame(FRAME.data, FLAG.endStream, stream.id, Buffer.from('end')),
        frame(FRAME.data, 0, stream.id, Buffer.from('more')),
      )
      const code = await wire.until('STREAM_CLOSED', () => stream.resetCode ?? wire.goaways.at(-1)?.code)
      check(code === 'STREAM_CLOSED' || code === 'PROTOCOL_ERROR', `it was answered with ${code}`)
    },
  },
]
