/** Frames: 100,000 random streams of them mean the same however they are cut into chunks, and what is written is read. */
import { HboneError } from '@ambient/hbone'
import { describe } from 'vitest'
import { defaultLimits, type HboneLimits } from '../src/limits.ts'
import { FrameReader, type FrameSink, writeFrameHeader } from '../src/http2/frame.ts'
import { type HeaderBlock, HeaderBlocks } from '../src/http2/header-block.ts'
import { ModelEncoder } from './hpack-model.ts'
import { property, type Random } from './property.ts'

const MAX_FRAME_BYTES = 20_000
const MAX_HEADER_BYTES = 300

/** Writes down what it is told; DATA that came in pieces is one entry. */
class Log implements FrameSink {
  readonly entries: string[] = []
  #data: string[] = []

  frame(type: number, flags: number, streamId: number, payload: Uint8Array): void {
    this.entries.push(`frame ${type} ${flags} ${streamId} ${hex(payload)}`)
  }

  dataBegin(streamId: number, flags: number, length: number): void {
    this.entries.push(`data ${streamId} ${flags} ${length}`)
  }

  data(bytes: Uint8Array): boolean {
    if (bytes.length === 0) throw new Error('DATA without bytes was told')
    this.#data.push(hex(bytes))
    return true
  }

  dataEnd(flags: number, padding: number): void {
    this.entries.push(`bytes ${this.#data.join('')}`, `end ${flags} ${padding}`)
    this.#data = []
  }

  unknown(type: number, length: number): void {
    this.entries.push(`unknown ${type} ${length}`)
  }

  /** With what of a DATA frame came before the end of everything. */
  get all(): string {
    return [...this.entries, this.#data.join('')].join('\n')
  }
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

interface Written {
  readonly bytes: Buffer
  /** What a sink must hear of it. */
  readonly means: readonly string[]
}

function frame(random: Random): Written {
  const type = random.chance(0.4) ? 0 : random.int(1, 12)
  const size = random.chance(0.02) ? random.int(250, 4_000) : random.int(0, 24)
  const isBlock = type === 1 || type === 9
  const payload = random.bytes(isBlock ? Math.min(size, MAX_HEADER_BYTES) : size)
  // On its own bit, so that padding is as frequent as not.
  const flags = random.int(0, 255)
  const id = random.int(0, 0x7fff_ffff)
  if (type === 0 && (flags & 8) !== 0)
    payload[0] = payload.length === 0 ? 0 : random.int(0, Math.min(255, payload.length - 1))
  const reserved = random.chance(0.2) ? 0x8000_0000 : 0
  const bytes = Buffer.alloc(9 + payload.length)
  writeFrameHeader(bytes, 0, payload.length, type, flags, id + reserved)
  bytes.set(payload, 9)
  return { bytes, means: meaning(type, flags, id, payload) }
}

function meaning(type: number, flags: number, id: number, payload: Buffer): readonly string[] {
  if (type > 9) return [`unknown ${type} ${payload.length}`]
  if (type !== 0) return [`frame ${type} ${flags} ${id} ${hex(payload)}`]
  const isPadded = (flags & 8) !== 0
  // A pad length that is not there ends the session.
  if (isPadded && payload.length === 0) return []
  const padding = isPadded ? 1 + (payload[0] ?? 0) : 0
  const body = isPadded ? payload.subarray(1, payload.length - padding + 1) : payload
  return [`data ${id} ${flags} ${payload.length}`, `bytes ${hex(body)}`, `end ${flags} ${padding}`]
}

/** What a reader told of the chunks, and the error that ended it. */
function read(chunks: readonly Uint8Array[]): string {
  const log = new Log()
  const reader = new FrameReader(log, { maxFrameBytes: MAX_FRAME_BYTES, maxHeaderBytes: MAX_HEADER_BYTES })
  try {
    for (const chunk of chunks) reader.feed(chunk)
  } catch (error) {
    if (!(error instanceof HboneError) || error.h2Code === undefined) throw error
    return `${log.all}\n${error.h2Code}: ${error.message}`
  }
  return log.all
}

function same(actual: string, wanted: string): void {
  if (actual !== wanted) throw new Error(`\n${actual}\n--- is not ---\n${wanted}`)
}

/** HEADERS and its CONTINUATION frames, with padding and priority now and then. */
function cutBlock(block: Buffer, random: Random): { flags: number; payload: Buffer }[] {
  const pieces = random.split(block, 40)
  const first = pieces.shift() ?? Buffer.alloc(0)
  const [padded, priority] = [random.chance(0.3), random.chance(0.3)]
  const padding = padded ? random.int(0, 20) : 0
  const head = Buffer.concat([
    padded ? Buffer.of(padding) : Buffer.alloc(0),
    priority ? Buffer.of(0, 0, 0, 7, 1) : Buffer.alloc(0),
    first,
    Buffer.alloc(padding),
  ])
  return [
    { flags: (padded ? 8 : 0) + (priority ? 32 : 0), payload: head },
    ...pieces.map(piece => ({ flags: 0, payload: Buffer.from(piece) })),
  ]
}

describe('frames', () => {
  property('mean what was written, in whatever pieces they come', 60_000, random => {
    const frames = Array.from({ length: random.int(1, 8) }, () => frame(random))
    const broken = frames.findIndex(entry => entry.means.length === 0)
    const good = broken < 0 ? frames : frames.slice(0, broken)
    const bytes = Buffer.concat(frames.map(entry => entry.bytes))
    const told = read(random.split(bytes, 60))
    const wanted = `${good.flatMap(entry => entry.means).join('\n')}`
    if (broken < 0) same(told.trim(), wanted.trim())
    else same(told.trim(), `${wanted}\n\nFRAME_SIZE_ERROR: padded DATA without a pad length`.trim())
  })

  property('that are no frames mean the same in whatever pieces they come', 30_000, random => {
    const bytes = Buffer.concat([
      ...Array.from({ length: random.int(0, 2) }, () => frame(random).bytes),
      random.bytes(random.int(1, 80)),
    ])
    // Lengths are random too, and most are too long to be looked at: keep some small.
    if (random.chance(0.8) && bytes.length > 9) bytes[bytes.length - 9] = 0
    if (random.chance(0.8) && bytes.length > 9) bytes[bytes.length - 8] = 0
    const whole = read([bytes])
    same(read(random.split(bytes, 30)), whole)
    same(read(Array.from(bytes, byte => Uint8Array.of(byte))), whole)
  })

  const limits: HboneLimits = { ...defaultLimits, maxContinuations: 10_000 }
  property('of a header block mean the block, however it is continued', 10_000, random => {
    const blocks = new HeaderBlocks(65_536, limits)
    const encoder = new ModelEncoder()
    for (let round = random.int(1, 3); round > 0; round--) {
      const headers = Array.from(
        { length: random.int(0, 5) },
        () => [random.pick(['a', ':path', 'x']), random.bytes(5).toString('latin1')] as const,
      )
      const parts = cutBlock(encoder.encode(headers, random), random)
      let block: HeaderBlock | undefined
      for (const [index, { flags, payload }] of parts.entries()) {
        const end = index === parts.length - 1 ? 4 : 0
        block = index === 0 ? blocks.headers(7, flags | end, payload) : blocks.continuation(end, payload)
        if (end === 0 && (block !== undefined || blocks.expects !== 7)) throw new Error('ended too early')
      }
      same(JSON.stringify(block?.headers), JSON.stringify(headers))
      if (blocks.expects !== undefined) throw new Error('is still expected')
    }
  })
})
