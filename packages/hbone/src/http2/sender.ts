/**
 * DATA on its way out: connection window and turns between streams. A stream that cannot send now waits in line; whoever
 * finds the line empty sends at once.
 */
import { FLAG, FRAME } from './codes.ts'
import { DEFAULT_WINDOW, SendWindow } from './flow.ts'
import type { Output } from './output.ts'
import { initialPeerSettings } from './settings.ts'
import type { Http2Stream } from './stream.ts'

/** Longest payload of one DATA frame: what the gathering buffer of the output takes. */
const MAX_DATA_BYTES = 65_536
/** A stream's turn when several wait: one TLS record. */
export const TURN_BYTES = 16_384

export class Sender {
  /** The peer's SETTINGS_MAX_FRAME_SIZE. */
  maxFrameBytes = initialPeerSettings.maxFrameSize
  readonly #output: Output
  /** Told of each DATA frame: WINDOW_UPDATE frames will answer it. */
  readonly #onFrame: () => void
  readonly #window = new SendWindow(DEFAULT_WINDOW)
  readonly #ready: Http2Stream[] = []
  #isScheduled = false
  #isStopped = false

  constructor(output: Output, onFrame: () => void) {
    this.#output = output
    this.#onFrame = onFrame
  }

  /** Sends the bytes at once, or none of them: `false`. */
  sendNow(stream: Http2Stream, bytes: Uint8Array): boolean {
    const { length } = bytes
    if (this.#ready.length > 0 || this.#isStopped || this.#output.blocked) return false
    if (stream.send.credit < length || this.#window.credit < length) return false
    if (length <= MAX_DATA_BYTES) this.#sendPiece(stream, bytes, false)
    else
      for (let at = 0; at < length; at += MAX_DATA_BYTES)
        this.#sendPiece(stream, bytes.subarray(at, at + MAX_DATA_BYTES), false)
    return true
  }

  /** The stream has bytes to send when its turn comes. */
  ready(stream: Http2Stream): void {
    if (!stream.queued) {
      stream.queued = true
      this.#ready.push(stream)
    }
    this.#schedule()
  }

  /** `false` when the connection window would pass 2^31-1. */
  grow(increment: number): boolean {
    if (!this.#window.add(increment)) return false
    if (this.#ready.length > 0) this.#schedule()
    return true
  }

  /** Streams take turns until the socket or the connection window wants a pause. */
  run(): void {
    while (this.#ready.length > 0 && !this.#isStopped && !this.#output.blocked && this.#window.credit > 0) {
      const stream = this.#ready.shift()
      if (stream !== undefined) this.#takeTurn(stream)
    }
  }

  stop(): void {
    this.#isStopped = true
    this.#ready.length = 0
  }

  #schedule(): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    // Not at once: `drained` must not be heard inside the `write` that it answers.
    queueMicrotask(() => {
      this.#isScheduled = false
      this.run()
    })
  }

  #takeTurn(stream: Http2Stream): void {
    stream.queued = false
    const piece = stream.pending
    // Without credit it comes back with the peer's WINDOW_UPDATE.
    const size = Math.min(piece?.length ?? 0, TURN_BYTES, stream.send.credit, this.#window.credit)
    if (piece === undefined || size <= 0) return
    const isLast = size === piece.length && !stream.hasMorePending && stream.isEnding
    this.#sendPiece(stream, piece.subarray(0, size), isLast)
    stream.advance(size)
    if (isLast) {
      this.#output.whenFlushed(stream)
      stream.endWasSent()
    }
    if (stream.pending !== undefined) {
      stream.queued = true
      this.#ready.push(stream)
    } else stream.settle()
  }

  #sendPiece(stream: Http2Stream, bytes: Uint8Array, isLast: boolean): void {
    const max = this.maxFrameBytes
    for (let at = 0; at < bytes.length; at += max) {
      const part = bytes.length <= max ? bytes : bytes.subarray(at, at + max)
      const flags = isLast && at + max >= bytes.length ? FLAG.endStream : 0
      const room = this.#output.reserve(part.length, FRAME.data, flags, stream.id)
      room.buffer.set(part, room.at)
      this.#onFrame()
    }
    stream.send.take(bytes.length)
    this.#window.take(bytes.length)
    this.#output.flushIfBig()
  }
}
