/** The frame reader: the same events however the bytes are cut, and the right error for each malformed frame. */
import type { HboneError } from '@ambient/hbone'
import { describe, expect, it } from 'vitest'
import { FrameReader, type FrameSink } from '../src/http2/frame.ts'
import { seededRandom } from './random.ts'

const LIMITS = { maxFrameBytes: 65_536, maxHeaderBytes: 32_768 }

/** Writes down what it is told; pieces of DATA are joined, since cuts may divide them anywhere. */
class Log implements FrameSink {
  readonly lines: string[] = []
  #data = ''

  frame(type: number, flags: number, streamId: number, payload: Uint8Array): void {
    this.lines.push(`frame ${type} ${flags} ${streamId} ${Buffer.from(payload).toString('hex')}`)
  }

  dataBegin(streamId: number, flags: number, length: number): void {
    this.#data = ''
    this.lines.push(`data ${streamId} ${flags} ${length}`)
  }

  data(bytes: Uint8Array): boolean {
    this.#data += Buffer.from(bytes).toString('hex')
    return true
  }

  dataEnd(flags: number, padding: number): void {
    this.lines.push(`end ${this.#data} ${flags} ${padding}`)
  }

  unknown(type: number, length: number): void {
    this.lines.push(`unknown ${type} ${length}`)
  }
}

function frame(type: number, flags: number, streamId: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(9)
  header.writeUIntBE(payload.length, 0, 3)
  header[3] = type
  header[4] = flags
  header.writeUInt32BE(streamId, 5)
  return Buffer.concat([header, payload])
}

const wire = Buffer.concat([
  frame(4, 0, 0, Buffer.alloc(0)),
  frame(4, 0, 0, Buffer.from('000300000064', 'hex')),
  frame(0, 0, 1, Buffer.from('hello')),
  frame(0, 1, 1, Buffer.alloc(0)),
  frame(0, 8, 3, Buffer.from([3, 65, 66, 0, 0, 0])),
  frame(0, 8, 3, Buffer.from([2, 0, 0])),
  frame(0, 9, 3, Buffer.from([0])),
  frame(0x42, 255, 0x7fff_ffff, Buffer.from('whatever')),
  frame(0x42, 0, 0, Buffer.alloc(0)),
  frame(1, 4, 5, Buffer.from('82', 'hex')),
  frame(8, 0, 0x8000_0005, Buffer.from('00000001', 'hex')),
  frame(0, 1, 5, Buffer.from('bye')),
])

const expected = [
  'frame 4 0 0 ',
  'frame 4 0 0 000300000064',
  'data 1 0 5',
  'end 68656c6c6f 0 0',
  'data 1 1 0',
  'end  1 0',
  'data 3 8 6',
  'end 4142 8 4',
  'data 3 8 3',
  'end  8 3',
  'data 3 9 1',
  'end  9 1',
  'unknown 66 8',
  'unknown 66 0',
  'frame 1 4 5 82',
  'frame 8 0 5 00000001',
  'data 5 1 3',
  'end 627965 1 0',
]

function read(...chunks: readonly Uint8Array[]): string[] {
  const log = new Log()
  const reader = new FrameReader(log, LIMITS)
  for (const chunk of chunks) reader.feed(chunk)
  return log.lines
}

describe('frame reader', () => {
  it('tells frames in order', () => expect(read(wire)).toEqual(expected))

  it('tells the same when the bytes are cut in two anywhere', () => {
    for (let cut = 0; cut <= wire.length; cut++)
      expect(read(wire.subarray(0, cut), wire.subarray(cut)), `cut at ${cut}`).toEqual(expected)
  })

  it('tells the same byte by byte', () => {
    expect(read(...Array.from(wire, byte => Uint8Array.of(byte)))).toEqual(expected)
  })

  it('tells the same when cut at random', () => {
    const random = seededRandom(9113)
    for (let round = 0; round < 500; round++) {
      const chunks: Buffer[] = []
      for (let at = 0; at < wire.length; ) {
        const end = at + 1 + Math.floor(random() * 20)
        chunks.push(wire.subarray(at, end))
        at = end
      }
      expect(read(...chunks)).toEqual(expected)
    }
  })

  const broken: Readonly<Record<string, readonly [string, Buffer]>> = {
    'a frame above the limit': ['FRAME_SIZE_ERROR', frame(0, 0, 1, Buffer.alloc(0)).fill(0xff, 0, 3)],
    'padded DATA without a pad length': ['FRAME_SIZE_ERROR', frame(0, 8, 1, Buffer.alloc(0))],
    'padding as long as its frame': ['PROTOCOL_ERROR', frame(0, 8, 1, Buffer.from([5, 0, 0, 0, 0]))],
    'HEADERS above the header limit': ['ENHANCE_YOUR_CALM', frame(1, 4, 1, Buffer.alloc(32_769))],
    'a control frame above any use': ['ENHANCE_YOUR_CALM', frame(4, 0, 0, Buffer.alloc(16_386))],
  }
  for (const [name, [code, bytes]] of Object.entries(broken))
    it(`refuses ${name} with ${code}`, () => {
      for (const chunks of [[bytes], Array.from(bytes.subarray(0, 12), byte => Uint8Array.of(byte))])
        expect(() => read(...chunks)).toThrowError(
          expect.objectContaining({
            code: 'AMBIENT_E_HBONE_PROTOCOL',
            h2Code: code,
          } satisfies Partial<HboneError>),
        )
    })

  it('reads nothing after it was stopped, not even the rest of the chunk', () => {
    const log = new Log()
    const reader = new FrameReader(log, LIMITS)
    log.frame = () => reader.stop()
    reader.feed(wire)
    reader.feed(wire)
    expect(log.lines).toEqual([])
  })
})
