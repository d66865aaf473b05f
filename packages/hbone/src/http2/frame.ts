/**
 * Frames on the wire (RFC 9113 §4, §6): a reader that hands DATA on as it comes, without gathering it, and everything
 * else as whole frames.
 */
import { FLAG, FRAME, violation } from './codes.ts'

export const FRAME_HEADER_BYTES = 9
/** Longest frame, other than DATA and header blocks, that has a meaning; SETTINGS and GOAWAY can be long. */
const MAX_CONTROL_BYTES = 16_384

/** What a reader tells. Views are valid during the call only, unless `data` says otherwise. */
export interface FrameSink {
  /** A whole frame that is neither DATA nor unknown. */
  frame(type: number, flags: number, streamId: number, payload: Uint8Array): void
  /** A DATA frame begins; `length` is what flow control counts, padding included. */
  dataBegin(streamId: number, flags: number, length: number): void
  /** Some of its bytes. `false` when the view is kept. */
  data(bytes: Uint8Array): boolean
  /** `padding` bytes were skipped. */
  dataEnd(flags: number, padding: number): void
  /** A frame of a type we do not know was skipped, or is about to be. */
  unknown(type: number, length: number): void
}

const IDLE = 0
const GATHER = 1
const DATA_PAD_LENGTH = 2
const DATA = 3
const PADDING = 4
const SKIP = 5

export class FrameReader {
  /** Frames that have begun. */
  frames = 0
  readonly #sink: FrameSink
  readonly #maxFrameBytes: number
  readonly #maxHeaderBytes: number
  readonly #header = new Uint8Array(FRAME_HEADER_BYTES)
  #headerSize = 0
  #state = IDLE
  #type = 0
  #flags = 0
  #streamId = 0
  /** Bytes of the current part that are still to come. */
  #left = 0
  #padding = 0
  #gathered: Uint8Array | undefined
  #gatheredSize = 0
  #stopped = false

  constructor(sink: FrameSink, limits: { maxFrameBytes: number; maxHeaderBytes: number }) {
    this.#sink = sink
    this.#maxFrameBytes = limits.maxFrameBytes
    this.#maxHeaderBytes = limits.maxHeaderBytes
  }

  /** A frame other than DATA is incomplete. */
  get isGathering(): boolean {
    return this.#state === GATHER || this.#headerSize > 0
  }

  /** Nothing more is read, not even the rest of the chunk being fed. */
  stop(): void {
    this.#stopped = true
    this.#gathered = undefined
  }

  /** Reads a chunk. `false` when someone keeps a view of it. @throws HboneError for a connection error. */
  feed(chunk: Uint8Array): boolean {
    let at = 0
    let free = true
    while (at < chunk.length && !this.#stopped) {
      if (this.#state === IDLE) at = this.#readHeader(chunk, at)
      else if (this.#state === DATA) {
        const end = Math.min(chunk.length, at + this.#left)
        this.#left -= end - at
        if (!this.#sink.data(chunk.subarray(at, end))) free = false
        at = end
        if (this.#left === 0) this.#afterData()
      } else at = this.#readRest(chunk, at)
    }
    return free
  }

  #readHeader(chunk: Uint8Array, from: number): number {
    let at = from
    let header: Uint8Array = this.#header
    let offset = 0
    if (this.#headerSize === 0 && chunk.length - at >= FRAME_HEADER_BYTES) {
      header = chunk
      offset = at
      at += FRAME_HEADER_BYTES
    } else {
      const take = Math.min(FRAME_HEADER_BYTES - this.#headerSize, chunk.length - at)
      this.#header.set(chunk.subarray(at, at + take), this.#headerSize)
      this.#headerSize += take
      at += take
      if (this.#headerSize < FRAME_HEADER_BYTES) return at
      this.#headerSize = 0
    }
    this.frames++
    const length = readUint24(header, offset)
    this.#type = header[offset + 3] ?? 0
    this.#flags = header[offset + 4] ?? 0
    this.#streamId = readUint31(header, offset + 5)
    if (length > this.#maxFrameBytes)
      throw violation('FRAME_SIZE_ERROR', `frame of ${length} bytes, ${this.#maxFrameBytes} are allowed`)
    if (this.#type === FRAME.data) this.#beginData(length)
    else return this.#beginOther(chunk, at, length)
    return at
  }

  #beginData(length: number): void {
    this.#padding = 0
    const padded = (this.#flags & FLAG.padded) !== 0
    if (padded && length === 0) throw violation('FRAME_SIZE_ERROR', 'padded DATA without a pad length')
    this.#sink.dataBegin(this.#streamId, this.#flags, length)
    this.#left = length
    if (padded) this.#state = DATA_PAD_LENGTH
    else if (length > 0) this.#state = DATA
    else this.#sink.dataEnd(this.#flags, 0)
  }

  #beginOther(chunk: Uint8Array, at: number, length: number): number {
    if (this.#type > FRAME.continuation) {
      this.#sink.unknown(this.#type, length)
      this.#left = length
      this.#state = length > 0 ? SKIP : IDLE
      return at
    }
    const isBlock = this.#type === FRAME.headers || this.#type === FRAME.continuation
    if (length > (isBlock ? this.#maxHeaderBytes : MAX_CONTROL_BYTES))
      throw violation('ENHANCE_YOUR_CALM', `frame of type ${this.#type} has ${length} bytes`)
    if (chunk.length - at >= length) {
      this.#sink.frame(this.#type, this.#flags, this.#streamId, chunk.subarray(at, at + length))
      return at + length
    }
    this.#gathered = new Uint8Array(length)
    this.#gatheredSize = 0
    this.#left = length
    this.#state = GATHER
    return at
  }

  #readRest(chunk: Uint8Array, at: number): number {
    if (this.#state === DATA_PAD_LENGTH) {
      this.#padding = chunk[at] ?? 0
      this.#left -= 1 + this.#padding
      if (this.#left < 0) throw violation('PROTOCOL_ERROR', 'padding is longer than its DATA frame')
      this.#state = DATA
      if (this.#left === 0) this.#afterData()
      return at + 1
    }
    const end = Math.min(chunk.length, at + this.#left)
    this.#left -= end - at
    if (this.#state === GATHER && this.#gathered !== undefined) {
      this.#gathered.set(chunk.subarray(at, end), this.#gatheredSize)
      this.#gatheredSize += end - at
    }
    if (this.#left === 0) this.#finishRest()
    return end
  }

  #finishRest(): void {
    const state = this.#state
    const gathered = this.#gathered
    this.#state = IDLE
    this.#gathered = undefined
    if (state === PADDING) this.#sink.dataEnd(this.#flags, this.#padding + 1)
    else if (state === GATHER && gathered !== undefined)
      this.#sink.frame(this.#type, this.#flags, this.#streamId, gathered)
  }

  /** The bytes of a DATA frame are through; padding may follow. */
  #afterData(): void {
    if (this.#padding > 0) {
      this.#left = this.#padding
      this.#state = PADDING
      return
    }
    this.#state = IDLE
    this.#sink.dataEnd(this.#flags, (this.#flags & FLAG.padded) !== 0 ? 1 : 0)
  }
}

export function readUint24(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 16) | ((bytes[at + 1] ?? 0) << 8) | (bytes[at + 2] ?? 0)
}

export function readUint32(bytes: Uint8Array, at: number): number {
  return (
    (((bytes[at] ?? 0) << 24) |
      ((bytes[at + 1] ?? 0) << 16) |
      ((bytes[at + 2] ?? 0) << 8) |
      (bytes[at + 3] ?? 0)) >>>
    0
  )
}

/** The top bit is reserved and ignored. */
export function readUint31(bytes: Uint8Array, at: number): number {
  return readUint32(bytes, at) & 0x7fffffff
}

export function readUint16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0)
}

export function writeUint32(out: Uint8Array, at: number, value: number): void {
  out[at] = value >>> 24
  out[at + 1] = value >>> 16
  out[at + 2] = value >>> 8
  out[at + 3] = value
}

/** Nine bytes: length, type, flags, stream. */
export function writeFrameHeader(
  out: Uint8Array,
  at: number,
  length: number,
  type: number,
  flags: number,
  streamId: number,
): void {
  out[at] = length >>> 16
  out[at + 1] = length >>> 8
  out[at + 2] = length
  out[at + 3] = type
  out[at + 4] = flags
  writeUint32(out, at + 5, streamId)
}
