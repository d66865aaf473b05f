/** Streams that have bytes to send and may not: a peer that grants no window holds our memory only for so long. */
import type { Clock, Timer } from '@ambient/core'
import type { Http2Stream } from './stream.ts'

/** How often stalled streams are looked at, while there are any. */
const LOOK_MS = 1_000

export interface StallHost {
  readonly streams: ReadonlyMap<number, Http2Stream>
  /** Not one byte of the stream left for the whole time. */
  stalled(stream: Http2Stream): void
}

export class StallWatch {
  readonly #host: StallHost
  readonly #stallMs: number
  readonly #clock: Clock
  #timer: Timer | undefined
  /** What each waiting stream was about to send, and since when. */
  #waiting = new Map<Http2Stream, { readonly piece: Uint8Array; readonly since: number }>()

  /** `stallMs` 0: no stream is ever given up. */
  constructor(host: StallHost, stallMs: number, clock: Clock) {
    this.#host = host
    this.#stallMs = stallMs
    this.#clock = clock
  }

  /** Some stream could not send what it has. */
  note(): void {
    if (this.#timer === undefined && this.#stallMs > 0)
      this.#timer = this.#clock.after(Math.min(LOOK_MS, this.#stallMs), () => this.#look())
  }

  stop(): void {
    this.#timer?.cancel()
    this.#waiting.clear()
  }

  #look(): void {
    this.#timer = undefined
    const now = this.#clock.monotonic()
    const before = this.#waiting
    this.#waiting = new Map()
    for (const stream of [...this.#host.streams.values()]) {
      const piece = stream.pending
      if (piece === undefined) continue
      const known = before.get(stream)
      // A piece of which something left is another piece.
      const since = known?.piece === piece ? known.since : now
      if (now - since >= this.#stallMs) this.#host.stalled(stream)
      else this.#waiting.set(stream, { piece, since })
    }
    if (this.#waiting.size > 0) this.note()
  }
}
