/**
 * The writing side of a session. Frames are gathered into one buffer, so that many small ones share a TLS record and a
 * system call; what has grown big goes out at once, the rest at the end of the event loop's turn. While a write is under
 * way everything is gathered: queued in the stream it would be copied once more.
 *
 * Payloads are copied into that buffer: TLS encrypts one contiguous buffer in place but copies a list of them itself,
 * so the copy costs nothing extra and the caller's memory is free at once.
 */
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { FRAME_HEADER_BYTES, writeFrameHeader } from './frame.ts'

/**
 * One gathered write. TLS completes one write per turn of the event loop, so what comes meanwhile is gathered: the
 * default of `sendBufferBytes`, and the piece that passes it. Memory that is not used is not resident.
 */
const GATHER_BYTES = 327_680
/** Two TLS records: no use in waiting for more. */
const FLUSH_BYTES = 32_768
/** Buffers kept for the next session that has something to say. */
const MAX_SPARE_BUFFERS = 32

/** What waits for bytes to leave our memory. */
export interface Flushable {
  /** All bytes that it handed over were taken by the transport. */
  flushed(): void
  /** They never will be. */
  flushFailed(): void
}

/** One `write` on the transport: its buffer returns to the spare ones, its waiters are told. */
interface Batch {
  readonly buffer: Buffer
  waiters: Flushable[]
}

const spare: Buffer[] = []
const none: Flushable[] = []

export class Output {
  readonly #transport: Duplex
  readonly #limitBytes: number
  readonly #onWritable: () => void
  /** Sockets are done with bytes when their callback says so; other streams may pass them on by reference. */
  readonly #takesBytes: boolean
  readonly #inFlight: Batch[] = []
  #buffer: Buffer | undefined
  #used = 0
  #waiters: Flushable[] = none
  #scheduled = false
  #wasBlocked = false
  /** A write has failed: nothing leaves any more. What waits hears of it at `fail`, when everything received has been read. */
  #isStuck = false
  #stranded: Flushable[] = []
  #dead = false

  constructor(transport: Duplex, limitBytes: number, onWritable: () => void) {
    this.#transport = transport
    this.#limitBytes = limitBytes
    this.#onWritable = onWritable
    this.#takesBytes = transport instanceof Socket
  }

  /** Streams must wait; `onWritable` follows. */
  get blocked(): boolean {
    if (this.#isStuck) return true
    const blocked = this.backlog >= this.#limitBytes
    if (blocked) this.#wasBlocked = true
    return blocked
  }

  /** Bytes that the transport has not taken. */
  get backlog(): number {
    return this.#transport.writableLength + this.#used
  }

  /**
   * Gathers a frame of `length` payload bytes. The payload goes into `buffer` at `at`, before anything else is called.
   */
  reserve(length: number, type: number, flags: number, streamId: number): { buffer: Buffer; at: number } {
    const buffer = this.#room(FRAME_HEADER_BYTES + length)
    const at = this.#used
    writeFrameHeader(buffer, at, length, type, flags, streamId)
    this.#used = at + FRAME_HEADER_BYTES + length
    return { buffer, at: at + FRAME_HEADER_BYTES }
  }

  /** A frame whose payload is copied. */
  small(type: number, flags: number, streamId: number, payload: Uint8Array): void {
    const room = this.reserve(payload.length, type, flags, streamId)
    room.buffer.set(payload, room.at)
  }

  /** Bytes that are no frame: the client's preface. */
  raw(bytes: Uint8Array): void {
    this.#room(bytes.length).set(bytes, this.#used)
    this.#used += bytes.length
  }

  /** Tells `waiter` when everything gathered up to now has left. */
  whenFlushed(waiter: Flushable): void {
    if (this.#dead) return waiter.flushFailed()
    if (this.#isStuck) return void this.#stranded.push(waiter)
    if (this.#buffer !== undefined) {
      if (this.#waiters === none) this.#waiters = []
      this.#waiters.push(waiter)
      return
    }
    const last = this.#inFlight.at(-1)
    if (last === undefined) queueMicrotask(() => waiter.flushed())
    else if (last.waiters === none) last.waiters = [waiter]
    else last.waiters.push(waiter)
  }

  /** Writes what was gathered when it is much. */
  flushIfBig(): void {
    if (this.#used >= FLUSH_BYTES && this.#inFlight.length === 0) this.flush()
  }

  /** Writes what was gathered. */
  flush(): void {
    const buffer = this.#buffer
    if (buffer === undefined) return
    const bytes = buffer.subarray(0, this.#used)
    const waiters = this.#waiters
    this.#buffer = undefined
    this.#used = 0
    this.#waiters = none
    this.#write(bytes, { buffer, waiters })
  }

  /** The transport takes nothing any more, and may still bring something. */
  stick(): void {
    this.#isStuck = true
    this.#strand()
  }

  /** Nothing can be written any more. */
  fail(): void {
    if (this.#dead) return
    this.#dead = true
    this.#strand()
    failAll(this.#stranded.splice(0))
  }

  #strand(): void {
    for (const batch of this.#inFlight.splice(0)) this.#stranded.push(...batch.waiters)
    this.#stranded.push(...this.#waiters)
    this.#waiters = none
    this.#buffer = undefined
    this.#used = 0
  }

  /** The gathering buffer, with room for `bytes` more. */
  #room(bytes: number): Buffer {
    if (this.#used + bytes > GATHER_BYTES) this.flush()
    if (this.#buffer === undefined) {
      this.#buffer = takeSpare()
      this.#schedule()
    }
    return this.#buffer
  }

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(this.#onImmediate)
  }

  readonly #onImmediate = (): void => {
    this.#scheduled = false
    if (this.#inFlight.length === 0) this.flush()
  }

  #write(bytes: Uint8Array, batch: Batch): void {
    const transport = this.#transport
    if (this.#dead || transport.destroyed || transport.writableEnded) return failAll(batch.waiters)
    if (this.#isStuck) {
      giveSpare(batch.buffer)
      this.#stranded.push(...batch.waiters)
      return
    }
    this.#inFlight.push(batch)
    transport.write(this.#takesBytes ? bytes : Buffer.from(bytes), this.#onWritten)
  }

  readonly #onWritten = (error: Error | null | undefined): void => {
    if (error != null || this.#dead || this.#isStuck) return
    const batch = this.#inFlight.shift()
    if (batch === undefined) return
    giveSpare(batch.buffer)
    if (this.#inFlight.length === 0) this.flush()
    for (const waiter of batch.waiters) waiter.flushed()
    if (this.#wasBlocked && !this.#dead && this.backlog < this.#limitBytes / 2) {
      this.#wasBlocked = false
      this.#onWritable()
    }
  }
}

function failAll(waiters: readonly Flushable[]): void {
  for (const waiter of waiters) waiter.flushFailed()
}

function takeSpare(): Buffer {
  return spare.pop() ?? Buffer.allocUnsafeSlow(GATHER_BYTES)
}

function giveSpare(buffer: Buffer): void {
  if (spare.length < MAX_SPARE_BUFFERS) spare.push(buffer)
}
