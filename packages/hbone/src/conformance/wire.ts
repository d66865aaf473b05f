/**
 * HTTP/2 by hand, in either role: says what a case wants said, right or wrong, and remembers everything that came. What it
 * answers by itself (SETTINGS, PING, window) can be switched off.
 */
import type { Duplex } from 'node:stream'
import { type Clock, messageOf } from '@ambient/core'
import { errorName, errorNumber, FLAG, FRAME, type H2Code, SETTING } from '../http2/codes.ts'
import { DEFAULT_WINDOW } from '../http2/flow.ts'
import {
  FRAME_HEADER_BYTES,
  readUint16,
  readUint24,
  readUint31,
  readUint32,
  writeFrameHeader,
} from '../http2/frame.ts'
import { encodeHeaders, type HeaderList, HpackDecoder } from '../http2/hpack.ts'
import { Verdict } from './verdict.ts'

export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1')
const MIN_FRAME_BYTES = 16_384
/** We never allow more than the least; a longer frame is no HTTP/2 or a finding. */
const MAX_FRAME_BYTES = 16_384
/** Header lists of peers are shorter; a case that is sent more has its finding. */
const MAX_HEADER_BYTES = 262_144
const MAX_WINDOW = 0x7fff_ffff

export interface WireFrame {
  readonly type: number
  readonly flags: number
  readonly streamId: number
  readonly payload: Buffer
}

/** What came on one stream. */
export interface WireStream {
  readonly id: number
  /** Final answer, or the request. */
  head: HeaderList | undefined
  headEndedStream: boolean
  /** HEADERS after the head. */
  trailers: boolean
  readonly chunks: Buffer[]
  bytes: number
  ended: boolean
  resetCode: string | undefined
  /** What we may still send. */
  sendWindow: number
}

export interface Goaway {
  readonly lastId: number
  readonly code: string
}

export interface WireOptions {
  readonly role: 'client' | 'server'
  readonly clock: Clock
  /** For each thing that is waited for. */
  readonly timeoutMs: number
  /** Whether DATA is given its window back. Default true. */
  readonly refill?: boolean
}

export class Wire {
  readonly transport: Duplex
  readonly frames: WireFrame[] = []
  readonly streams = new Map<number, WireStream>()
  readonly goaways: Goaway[] = []
  /** The peer's first SETTINGS. */
  settings: ReadonlyMap<number, number> | undefined
  settingsAcks = 0
  /** Nothing more comes. */
  ended = false
  /** The peer's bytes before anything else were no preface, or not HTTP/2. */
  garbled: string | undefined
  sendWindow = DEFAULT_WINDOW
  /** Switched off, DATA is received and no window is given back. */
  refill: boolean
  nextId = 1
  readonly #options: WireOptions
  readonly #decoder = new HpackDecoder(MAX_HEADER_BYTES)
  readonly #pongs: string[] = []
  #bytes: Buffer<ArrayBufferLike> = Buffer.alloc(0)
  #preface: number
  #block: { streamId: number; flags: number; parts: Buffer[] } | undefined
  #waiting: (() => void)[] = []
  #marks = 0
  #initialWindow = DEFAULT_WINDOW

  constructor(transport: Duplex, options: WireOptions) {
    this.transport = transport
    this.#options = options
    this.refill = options.refill ?? true
    this.#preface = options.role === 'server' ? PREFACE.length : 0
    this.ended = transport.destroyed || transport.readableEnded
    transport.on('error', () => {})
    transport.on('data', (chunk: Buffer) => this.#read(chunk))
    transport.on('end', () => this.#end())
    transport.on('close', () => this.#end())
  }

  /** Frames that are none are sent as well. `false` when the transport is gone. */
  send(...bytes: readonly Uint8Array[]): boolean {
    if (this.transport.destroyed || this.transport.writableEnded) return false
    this.transport.write(Buffer.concat(bytes))
    return true
  }

  /** Waits until `find` finds. A peer that ends the connection meanwhile, or takes too long, has failed the case. */
  async until<T>(what: string, find: () => T | undefined | false): Promise<T> {
    let late = false
    const timer = this.#options.clock.after(
      this.#options.timeoutMs,
      () => {
        late = true
        this.#wake()
      },
      { keepAlive: true },
    )
    try {
      for (;;) {
        const found = find()
        if (found !== undefined && found !== false) return found
        if (this.garbled !== undefined) throw new Verdict('fail', `${what}: no HTTP/2 came: ${this.garbled}`)
        if (this.ended)
          throw new Verdict('fail', `${what}: the peer closed the connection${this.#lastWords()}`)
        if (late) throw new Verdict('fail', `${what}: nothing within ${this.#options.timeoutMs} ms`)
        await new Promise<void>(resolve => this.#waiting.push(resolve))
      }
    } finally {
      timer.cancel()
    }
  }

  /** Whether the peer ends the connection in time. */
  async closes(): Promise<boolean> {
    if (!this.ended) await this.until('', () => this.ended || undefined).catch(() => {})
    return this.ended
  }

  /** The peer has read everything that we sent, and we have read what it sent before. */
  async sync(): Promise<void> {
    const mark = `sync${String(this.#marks++).padStart(4, '0')}`
    this.send(frame(FRAME.ping, 0, 0, Buffer.from(mark)))
    await this.until('PING', () => this.#pongs.includes(mark))
  }

  /** Whether a PING with these eight bytes was answered with the same. */
  answered(payload: string): boolean {
    return this.#pongs.includes(payload)
  }

  stream(id: number): WireStream {
    const known = this.streams.get(id)
    if (known !== undefined) return known
    const fresh: WireStream = {
      id,
      head: undefined,
      headEndedStream: false,
      trailers: false,
      chunks: [],
      bytes: 0,
      ended: false,
      resetCode: undefined,
      sendWindow: this.#initialWindow,
    }
    this.streams.set(id, fresh)
    return fresh
  }

  /** Opens the next stream with these fields. */
  request(headers: HeaderList, endStream = false): WireStream {
    const id = this.nextId
    this.nextId += 2
    this.send(headersFrame(id, headers, endStream))
    return this.stream(id)
  }

  /** DATA as windows and the peer's frame size allow. */
  async sendData(stream: WireStream, bytes: Uint8Array, endStream = false): Promise<void> {
    let at = 0
    while (at < bytes.length) {
      const room = await this.until(
        `window for ${bytes.length - at} bytes more on stream ${stream.id}`,
        () => {
          if (stream.resetCode !== undefined)
            throw new Verdict('fail', `the peer reset the stream with ${stream.resetCode} while we sent`)
          const free = Math.min(this.sendWindow, stream.sendWindow, this.maxFrameBytes)
          return free > 0 ? free : undefined
        },
      )
      const piece = bytes.subarray(at, at + room)
      at += piece.length
      this.sendWindow -= piece.length
      stream.sendWindow -= piece.length
      const flags = endStream && at === bytes.length ? FLAG.endStream : 0
      this.send(frame(FRAME.data, flags, stream.id, piece))
    }
    if (endStream && bytes.length === 0) this.send(frame(FRAME.data, FLAG.endStream, stream.id))
  }

  /** Our own initial window grew or shrank: SETTINGS do that, this only sends them. */
  sendSettings(...entries: readonly (readonly [number, number])[]): void {
    this.send(frame(FRAME.settings, 0, 0, settingsPayload(entries)))
  }

  /** Largest frame that the peer takes. */
  get maxFrameBytes(): number {
    return this.settings?.get(SETTING.maxFrameSize) ?? MIN_FRAME_BYTES
  }

  all(type: number, streamId?: number): readonly WireFrame[] {
    return this.frames.filter(
      one => one.type === type && (streamId === undefined || one.streamId === streamId),
    )
  }

  /** Everything that came on a stream. */
  received(stream: WireStream): Buffer {
    return Buffer.concat(stream.chunks)
  }

  #lastWords(): string {
    const last = this.goaways.at(-1)
    return last === undefined ? '' : ` after GOAWAY (${last.code})`
  }

  #end(): void {
    this.ended = true
    this.#wake()
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake()
  }

  #read(chunk: Buffer): void {
    this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk])
    if (this.#preface > 0) {
      if (this.#bytes.length < this.#preface) return
      if (!this.#bytes.subarray(0, PREFACE.length).equals(PREFACE))
        this.garbled = this.#bytes.subarray(0, PREFACE.length).toString('latin1')
      this.#bytes = this.#bytes.subarray(this.#preface)
      this.#preface = 0
    }
    try {
      while (this.#bytes.length >= FRAME_HEADER_BYTES && this.garbled === undefined)
        if (!this.#readFrame()) break
    } catch (error) {
      this.garbled = messageOf(error)
    }
    this.#wake()
  }

  #readFrame(): boolean {
    const end = FRAME_HEADER_BYTES + readUint24(this.#bytes, 0)
    if (end > FRAME_HEADER_BYTES + MAX_FRAME_BYTES)
      throw new Error(`a frame of ${end - FRAME_HEADER_BYTES} bytes; is this HTTP/2?`)
    if (this.#bytes.length < end) return false
    this.#take({
      type: this.#bytes[3] ?? 0,
      flags: this.#bytes[4] ?? 0,
      streamId: readUint31(this.#bytes, 5),
      payload: this.#bytes.subarray(FRAME_HEADER_BYTES, end),
    })
    this.#bytes = this.#bytes.subarray(end)
    return true
  }

  #take(one: WireFrame): void {
    this.frames.push(one)
    const { type, flags, streamId, payload } = one
    if (type === FRAME.data) this.#onData(one)
    else if (type === FRAME.headers || type === FRAME.continuation) this.#onHeaders(one)
    else if (type === FRAME.settings) this.#onSettings(one)
    else if (type === FRAME.ping && (flags & FLAG.ack) !== 0) this.#pongs.push(payload.toString('latin1'))
    else if (type === FRAME.ping) this.send(frame(FRAME.ping, FLAG.ack, 0, payload))
    else if (type === FRAME.rstStream) this.stream(streamId).resetCode = errorName(readUint32(payload, 0))
    else if (type === FRAME.goaway)
      this.goaways.push({ lastId: readUint31(payload, 0), code: errorName(readUint32(payload, 4)) })
    else if (type === FRAME.windowUpdate) {
      const increment = readUint31(payload, 0)
      if (streamId === 0) this.sendWindow += increment
      else this.stream(streamId).sendWindow += increment
    }
  }

  #onData({ flags, streamId, payload }: WireFrame): void {
    const stream = this.stream(streamId)
    const padding = (flags & FLAG.padded) === 0 ? undefined : (payload[0] ?? 0)
    const bytes = padding === undefined ? payload : payload.subarray(1, payload.length - padding)
    stream.chunks.push(bytes)
    stream.bytes += bytes.length
    if ((flags & FLAG.endStream) !== 0) stream.ended = true
    if (!this.refill || payload.length === 0) return
    this.send(windowUpdate(0, payload.length))
    if (!stream.ended) this.send(windowUpdate(streamId, payload.length))
  }

  #onHeaders({ type, flags, streamId, payload }: WireFrame): void {
    if (type === FRAME.headers) this.#block = { streamId, flags, parts: [stripped(flags, payload)] }
    else this.#block?.parts.push(payload)
    const block = this.#block
    if (block === undefined || (flags & FLAG.endHeaders) === 0) return
    this.#block = undefined
    const { headers } = this.#decoder.decode(Buffer.concat(block.parts))
    const stream = this.stream(block.streamId)
    const endStream = (block.flags & FLAG.endStream) !== 0
    const isInterim = headers.some(([name, value]) => name === ':status' && value.startsWith('1'))
    if (endStream) stream.ended = true
    if (isInterim) return
    if (stream.head !== undefined) stream.trailers = true
    else {
      stream.head = headers
      stream.headEndedStream = endStream
    }
  }

  #onSettings({ flags, payload }: WireFrame): void {
    if ((flags & FLAG.ack) !== 0) {
      this.settingsAcks++
      return
    }
    const entries = new Map<number, number>()
    for (let at = 0; at + 6 <= payload.length; at += 6)
      entries.set(readUint16(payload, at), readUint32(payload, at + 2))
    this.settings ??= entries
    const initial = entries.get(SETTING.initialWindowSize)
    if (initial !== undefined) {
      for (const stream of this.streams.values()) stream.sendWindow += initial - this.#initialWindow
      this.#initialWindow = initial
    }
    this.send(frame(FRAME.settings, FLAG.ack, 0))
  }
}

/** A frame, sound or not. */
export function frame(
  type: number,
  flags: number,
  streamId: number,
  payload: Uint8Array = Buffer.alloc(0),
): Buffer {
  const bytes = Buffer.allocUnsafe(FRAME_HEADER_BYTES + payload.length)
  writeFrameHeader(bytes, 0, payload.length, type, flags, streamId)
  bytes.set(payload, FRAME_HEADER_BYTES)
  return bytes
}

export function headersFrame(streamId: number, headers: HeaderList, endStream = false): Buffer {
  const flags = FLAG.endHeaders | (endStream ? FLAG.endStream : 0)
  return frame(FRAME.headers, flags, streamId, encodeHeaders(headers))
}

export function windowUpdate(streamId: number, increment: number): Buffer {
  return frame(FRAME.windowUpdate, 0, streamId, uint32(Math.min(increment, MAX_WINDOW)))
}

export function resetStream(streamId: number, code: H2Code): Buffer {
  return frame(FRAME.rstStream, 0, streamId, uint32(errorNumber(code)))
}

export function goaway(lastId: number, code: H2Code): Buffer {
  return frame(FRAME.goaway, 0, 0, Buffer.concat([uint32(lastId), uint32(errorNumber(code))]))
}

export function settingsPayload(entries: readonly (readonly [number, number])[]): Buffer {
  const payload = Buffer.alloc(entries.length * 6)
  for (const [index, [id, value]] of entries.entries()) {
    payload.writeUInt16BE(id, index * 6)
    payload.writeUInt32BE(value, index * 6 + 2)
  }
  return payload
}

export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

/** HEADERS without padding and priority. */
function stripped(flags: number, payload: Buffer): Buffer {
  let start = 0
  let end = payload.length
  if ((flags & FLAG.padded) !== 0) {
    end -= payload[0] ?? 0
    start = 1
  }
  if ((flags & FLAG.priority) !== 0) start += 5
  return payload.subarray(start, end)
}
