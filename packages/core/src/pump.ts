/**
 * Room 14, the conveyor: copies between two channels until both directions ended, or one side was reset. Half-close
 * passes in either order, back-pressure stops the reader on the far side, a reset stays a reset.
 */
import type { Channel, ChannelEvents, ChannelReset } from './channel.ts'
import { type Clock, systemClock, type Timer } from './clock.ts'

/** Bytes that arrived before a reset have this long to leave; a sink that takes none is reset over them. */
const RESET_FLUSH_MS = 2_000

/** Counted live, so that metrics can be read while the connection lives. */
export interface ByteCounts {
  /** Bytes that arrived at `a` and were handed to `b`. */
  aToB: number
  bToA: number
}

export type PumpEnding =
  /** Both directions ended cleanly and were flushed. */
  | { readonly kind: 'ended' }
  /** Channel `side` was reset by its peer; the other one was reset in turn. */
  | { readonly kind: 'reset'; readonly side: 'a' | 'b'; readonly reset: ChannelReset }
  /** The signal cut both. `reason` is the signal's. */
  | { readonly kind: 'aborted'; readonly reason: unknown }

export interface PumpResult extends ByteCounts {
  readonly ending: PumpEnding
}

export interface PumpOptions {
  /** Cuts both channels with INTERNAL_ERROR when aborted. */
  readonly signal?: AbortSignal
  /** Filled while copying; a fresh one when absent. */
  readonly counts?: ByteCounts
  readonly clock?: Clock
}

/**
 * Owns both channels from the call on: when the promise resolves, both are ended or reset. Never rejects.
 */
export function pump(a: Channel, b: Channel, options: PumpOptions = {}): Promise<PumpResult> {
  return new Promise(resolve => new Conveyor(a, b, options, resolve).run())
}

class Conveyor {
  readonly #a: Lane
  readonly #b: Lane
  readonly counts: ByteCounts
  readonly #signal: AbortSignal | undefined
  readonly clock: Clock
  readonly #resolve: (result: PumpResult) => void
  #done = false
  /** Listens to the signal; only there when there is one. */
  #abort: (() => void) | undefined

  constructor(a: Channel, b: Channel, options: PumpOptions, resolve: (result: PumpResult) => void) {
    this.counts = options.counts ?? { aToB: 0, bToA: 0 }
    this.#signal = options.signal
    this.clock = options.clock ?? systemClock
    this.#resolve = resolve
    this.#a = new Lane(a, b, this)
    this.#b = new Lane(b, a, this)
  }

  run(): void {
    const signal = this.#signal
    if (signal?.aborted === true) return this.#cut()
    if (signal !== undefined) {
      this.#abort = () => this.#cut()
      signal.addEventListener('abort', this.#abort)
    }
    this.#a.peer = this.#b
    this.#b.peer = this.#a
    this.#a.from.start(this.#a)
    this.#b.from.start(this.#b)
  }

  count(lane: Lane, bytes: number): void {
    if (lane === this.#a) this.counts.aToB += bytes
    else this.counts.bToA += bytes
  }

  laneFinished(): void {
    if (this.#a.isFinished && this.#b.isFinished) this.#settle({ kind: 'ended' })
  }

  laneReset(lane: Lane, reset: ChannelReset): void {
    this.#settle({ kind: 'reset', side: lane === this.#a ? 'a' : 'b', reset })
  }

  #cut(): void {
    const reason = this.#signal?.reason
    const text = reason instanceof Error ? reason.message : 'aborted'
    this.#a.from.reset('INTERNAL_ERROR', text)
    this.#b.from.reset('INTERNAL_ERROR', text)
    this.#settle({ kind: 'aborted', reason })
  }

  #settle(ending: PumpEnding): void {
    if (this.#done) return
    this.#done = true
    this.#a.close()
    this.#b.close()
    if (this.#abort !== undefined) this.#signal?.removeEventListener('abort', this.#abort)
    this.#resolve({ ...this.counts, ending })
  }
}

/** One channel as a source, with the other as its sink: the events of `from`, and what they mean for `to`. */
class Lane implements ChannelEvents {
  readonly from: Channel
  readonly #to: Channel
  readonly #conveyor: Conveyor
  /** The lane that reads `to`; its source is our sink. */
  peer: Lane | undefined
  isFinished = false
  /** Our source was told to pause because our sink holds bytes. */
  #held = false
  /** What the sink holds of our source's memory. */
  #kept: Uint8Array | undefined
  #pendingReset: ChannelReset | undefined
  #flushTimer: Timer | undefined

  constructor(from: Channel, to: Channel, conveyor: Conveyor) {
    this.from = from
    this.#to = to
    this.#conveyor = conveyor
  }

  data(bytes: Uint8Array): boolean {
    this.#conveyor.count(this, bytes.length)
    if (this.#to.write(bytes)) return true
    this.#kept = bytes
    if (!this.#held) {
      this.#held = true
      this.from.pause()
    }
    return false
  }

  end(): void {
    this.#to.end()
  }

  /** `from` took all that was written to it: the lane that feeds it may go on. */
  drained(): void {
    this.peer?.sinkDrained()
  }

  sinkDrained(): void {
    this.#held = false
    const kept = this.#kept
    this.#kept = undefined
    if (kept !== undefined) this.from.free?.(kept)
    if (this.#pendingReset !== undefined) return this.#passReset(this.#pendingReset)
    this.from.resume()
  }

  finished(): void {
    this.isFinished = true
    this.#conveyor.laneFinished()
  }

  reset(reset: ChannelReset): void {
    // Bytes that arrived before the reset are still on their way into the sink: let them go first.
    if (!this.#held) return this.#passReset(reset)
    this.#pendingReset = reset
    this.#flushTimer = this.#conveyor.clock.after(RESET_FLUSH_MS, () => this.#passReset(reset))
  }

  /** The connection has its ending. */
  close(): void {
    this.#flushTimer?.cancel()
  }

  #passReset(reset: ChannelReset): void {
    this.#to.reset(reset.code === 'CONNECT_ERROR' ? 'CONNECT_ERROR' : 'INTERNAL_ERROR', reset.reason)
    this.#conveyor.laneReset(this, reset)
  }
}
