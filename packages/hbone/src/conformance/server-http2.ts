/** What a server must do as a peer of HTTP/2, as far as tunnels rest on it; h2spec asks the rest. */
import { FLAG, FRAME, SETTING } from '../http2/codes.ts'
import { encodeHeaders } from '../http2/hpack.ts'
import type { ServerCase } from './server-case.ts'
import { answer, answerOrEnd, isSuccess, type Target } from './target.ts'
import { check } from './verdict.ts'
import { frame, type Wire, windowUpdate } from './wire.ts'

const MAX_WINDOW = 0x7fff_ffff
/** A limit beyond this is not tried out. */
const MAX_STREAMS_TRIED = 1_000
/** GREASE: no type and no setting of this number will ever mean anything (RFC 8701's idea). */
const UNKNOWN_TYPE = 0x4b
const UNKNOWN_SETTING = 0x1a2a
const ENABLE_CONNECT_PROTOCOL = 8

export const http2Cases: readonly ServerCase[] = [
  {
    id: 'settings-first',
    title: 'says SETTINGS before anything else',
    requirement: 'HBONE-H2-1',
    level: 'MUST',
    run: async target => {
      const wire = await target.session()
      const first = wire.frames[0]
      check(
        first?.type === FRAME.settings && (first.flags & FLAG.ack) === 0,
        `the first frame has type ${first?.type}`,
      )
    },
  },
  {
    id: 'stream-limit-announced',
    title: 'announces how many streams it takes, at least 100',
    requirement: 'HBONE-H2-3',
    level: 'SHOULD',
    run: async target => {
      const limit = streamLimit(await target.session())
      check(limit !== undefined, 'MAX_CONCURRENT_STREAMS is not announced: there is no limit')
      check(limit >= 100, `MAX_CONCURRENT_STREAMS is ${limit}`)
    },
  },
  {
    id: 'stream-limit-kept',
    title: 'refuses the stream beyond its limit and keeps the others',
    requirement: 'HBONE-H2-4',
    level: 'MUST',
    run: streamLimitKept,
  },
  {
    id: 'no-extended-connect',
    title: 'does not offer extended CONNECT',
    requirement: 'HBONE-H2-5',
    level: 'SHOULD',
    run: async target => {
      const { settings } = await target.session()
      check(settings?.get(ENABLE_CONNECT_PROTOCOL) !== 1, 'ENABLE_CONNECT_PROTOCOL is 1')
    },
  },
  {
    id: 'stream-window',
    title: 'sends no more than a stream’s window allows',
    requirement: 'HBONE-H2-6',
    level: 'MUST',
    run: streamWindow,
  },
  {
    id: 'connection-window',
    title: 'sends no more than the connection’s window allows',
    requirement: 'HBONE-H2-6',
    level: 'MUST',
    run: connectionWindow,
  },
  {
    id: 'window-given-back',
    title: 'gives window back for what was passed on',
    requirement: 'HBONE-H2-7',
    level: 'MUST',
    run: async target => {
      const wire = await target.session()
      const stream = await target.tunnel(wire)
      const bytes = Buffer.alloc(1 << 20, 'window ')
      await wire.sendData(stream, bytes)
      await wire.until('1 MiB of echo', () => stream.bytes >= bytes.length)
    },
  },
  {
    id: 'window-overflow',
    title: 'answers a window beyond 2^31-1 with FLOW_CONTROL_ERROR',
    requirement: 'HBONE-H2-8',
    level: 'MUST',
    run: windowOverflow,
  },
  {
    id: 'frame-size',
    title: 'takes DATA frames as long as it announces',
    requirement: 'HBONE-H2-9',
    level: 'MUST',
    run: longestFrame,
  },
  {
    id: 'frame-too-long',
    title: 'ends the session over a longer frame with FRAME_SIZE_ERROR',
    requirement: 'HBONE-H2-9',
    level: 'MUST',
    run: async target => {
      const wire = await target.session()
      const size = wire.maxFrameBytes + 1
      // Its payload would only be dropped; the header is enough to know.
      wire.send(frame(FRAME.ping, 0, 0, Buffer.alloc(size)))
      await endsWith(wire, ['FRAME_SIZE_ERROR'])
    },
  },
  {
    id: 'ping',
    title: 'answers PING with the same eight bytes',
    requirement: 'HBONE-H2-10',
    level: 'MUST',
    run: async target => {
      const wire = await target.session()
      wire.send(frame(FRAME.ping, 0, 0, Buffer.from('conform!')))
      await wire.until('the answer to PING', () => wire.answered('conform!'))
    },
  },
  {
    id: 'unknown-ignored',
    title: 'ignores unknown frames, settings and flags',
    requirement: 'HBONE-H2-11',
    level: 'MUST',
    run: async target => {
      const wire = await target.session({ settings: [[UNKNOWN_SETTING, 7]] })
      wire.send(
        frame(UNKNOWN_TYPE, 0xff, 0, Buffer.from('grease')),
        frame(FRAME.ping, 0xfe, 0, Buffer.alloc(8)),
      )
      await target.stillWorks(wire)
    },
  },
  {
    id: 'continuation',
    title: 'puts a head together from HEADERS and CONTINUATION',
    requirement: 'HBONE-H2-12',
    level: 'MUST',
    run: async target => {
      const wire = await target.session()
      const block = encodeHeaders(target.head)
      const id = wire.nextId
      wire.nextId += 2
      wire.send(
        frame(FRAME.headers, 0, id, block.subarray(0, 3)),
        frame(FRAME.continuation, 0, id, block.subarray(3, 9)),
        frame(FRAME.continuation, FLAG.endHeaders, id, block.subarray(9)),
      )
      const status = await answer(wire, wire.stream(id))
      check(status === '200', `such a CONNECT was answered ${status}`)
    },
  },
  {
    id: 'hpack',
    title: 'reads dynamic entries and Huffman strings',
    requirement: 'HBONE-H2-13',
    level: 'MUST',
    run: dynamicHeads,
  },
  {
    id: 'header-limit',
    title: 'does not take a head of 1 MiB',
    requirement: 'HBONE-H2-14',
    level: 'SHOULD',
    run: hugeHead,
  },
]

async function streamLimitKept(target: Target): Promise<void> {
  const wire = await target.session()
  const limit = streamLimit(wire)
  if (limit === undefined || limit > MAX_STREAMS_TRIED) return
  const streams = Array.from({ length: limit }, () => wire.request(target.head))
  for (const stream of streams) {
    const status = await answer(wire, stream)
    check(status === '200', `of ${limit} tunnels that it allows, one was ${status}`)
  }
  const status = await answerOrEnd(wire, wire.request(target.head))
  const allowed = ['reset with REFUSED_STREAM', 'reset with PROTOCOL_ERROR']
  check(allowed.includes(status), `stream ${limit + 1} of ${limit}: ${status}`)
  const [first] = streams
  if (first !== undefined) await target.echoes(wire, first, 'still open')
}

async function streamWindow(target: Target): Promise<void> {
  const wire = await target.session({ settings: [[SETTING.initialWindowSize, 10]], refill: false })
  const stream = await target.tunnel(wire)
  await wire.sendData(stream, Buffer.from('0123456789abcdefghij'))
  await wire.until('10 bytes of echo', () => stream.bytes >= 10)
  // Whatever else it has to send has been sent when it answers a PING that follows the echo's way.
  await target.stillSilent(wire, stream, 10)
  wire.send(windowUpdate(stream.id, 5))
  await wire.until('5 bytes more', () => stream.bytes >= 15)
  await target.stillSilent(wire, stream, 15)
}

async function connectionWindow(target: Target): Promise<void> {
  const wire = await target.session({
    settings: [[SETTING.initialWindowSize, 1 << 20]],
    narrow: true,
    refill: false,
  })
  const stream = await target.tunnel(wire)
  // The server may read no further while its echo waits for us: what fits into its first window is sent.
  await wire.sendData(stream, Buffer.alloc(65_535, 'x'))
  await wire.until('65,535 bytes of echo', () => stream.bytes >= 65_535)
  await wire.sendData(stream, Buffer.from('one more'))
  await target.stillSilent(wire, stream, 65_535)
  wire.send(windowUpdate(0, 8))
  await wire.until('the rest', () => stream.bytes >= 65_543)
}

async function windowOverflow(target: Target): Promise<void> {
  const wire = await target.session()
  const stream = await target.tunnel(wire)
  wire.send(windowUpdate(stream.id, MAX_WINDOW))
  const what = await wire.until('an end of the stream', () => stream.resetCode ?? wire.goaways.at(-1)?.code)
  check(what === 'FLOW_CONTROL_ERROR', `a stream window beyond 2^31-1: ${what}`)
  const other = await target.session()
  other.send(windowUpdate(0, MAX_WINDOW))
  await endsWith(other, ['FLOW_CONTROL_ERROR'])
}

async function longestFrame(target: Target): Promise<void> {
  const wire = await target.session()
  const stream = await target.tunnel(wire)
  const size = Math.min(wire.maxFrameBytes, wire.sendWindow, stream.sendWindow)
  wire.send(frame(FRAME.data, 0, stream.id, Buffer.alloc(size, 'long ')))
  await wire.until(`the echo of a frame of ${size} bytes`, () => stream.bytes >= size)
}

/** The second head is four bytes of references to what the first one left in the table. */
async function dynamicHeads(target: Target): Promise<void> {
  const wire = await target.session()
  const authority = Buffer.from(target.authority)
  // `www.example.com` in Huffman's code, RFC 7541 C.4.1, as the value of a field that nobody knows.
  const huffman = Buffer.from('8cf1e3c2e5f23a6ba0ab90f4ff', 'hex')
  const first = Buffer.concat([
    Buffer.from([0x42, 7]),
    Buffer.from('CONNECT'),
    Buffer.from([0x41, authority.length]),
    authority,
    Buffer.from([0x40, 7]),
    Buffer.from('x-probe'),
    huffman,
  ])
  const second = Buffer.from([0x80 | 64, 0x80 | 63, 0x80 | 62])
  for (const block of [first, second]) {
    const id = wire.nextId
    wire.nextId += 2
    wire.send(frame(FRAME.headers, FLAG.endHeaders, id, block))
    const status = await answerOrEnd(wire, wire.stream(id))
    check(status === '200', `${block === first ? 'literal' : 'indexed'} fields: ${status}`)
  }
}

async function hugeHead(target: Target): Promise<void> {
  const wire = await target.session()
  const id = wire.nextId
  const field = encodeHeaders([['x-much', 'x'.repeat(15_000)]])
  wire.send(frame(FRAME.headers, 0, id, encodeHeaders(target.head)))
  for (let sent = 0; sent < 70 && !wire.ended; sent++)
    wire.send(frame(FRAME.continuation, sent === 69 ? FLAG.endHeaders : 0, id, field))
  const status = await answerOrEnd(wire, wire.stream(id))
  check(!isSuccess(status), `it was answered ${status}`)
}

/** The connection ends, and if it says why, then with one of these, or with the code that says least. */
export async function endsWith(wire: Wire, codes: readonly string[]): Promise<void> {
  check(await wire.closes(), `the connection stayed open${said(wire)}`)
  const code = wire.goaways.at(-1)?.code
  const allowed = ['PROTOCOL_ERROR', ...codes]
  check(code === undefined || allowed.includes(code), `GOAWAY says ${code ?? ''}, not ${codes.join(' or ')}`)
}

function said(wire: Wire): string {
  const code = wire.goaways.at(-1)?.code
  return code === undefined ? '' : ` after GOAWAY (${code})`
}

function streamLimit(wire: Wire): number | undefined {
  return wire.settings?.get(SETTING.maxConcurrentStreams)
}
