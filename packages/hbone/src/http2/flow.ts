/** Flow control (RFC 9113 §5.2, §6.9): what we may send, and what we let the peer send. */

export const MAX_WINDOW = 2_147_483_647
export const DEFAULT_WINDOW = 65_535

/** What the peer lets us send. May go negative when the peer shrinks its initial window. */
export class SendWindow {
  #credit: number

  constructor(initial: number) {
    this.#credit = initial
  }

  get credit(): number {
    return this.#credit
  }

  take(bytes: number): void {
    this.#credit -= bytes
  }

  /** `false` when the window would pass 2^31-1, which is the peer's error. */
  add(bytes: number): boolean {
    this.#credit += bytes
    return this.#credit <= MAX_WINDOW
  }
}

/** Bytes by which the windows of one session may grow together, so that readers that stop hold a bounded amount. */
export interface GrowthBudget {
  left: number
}

/** Half a window consumed within this time: the reader is fast and the window is what holds it back. */
const FAST_MS = 50
/** Half a window took longer than this: what the window had grown by is given back. */
const SLOW_MS = 1_000

/**
 * What we let the peer send on one stream. Credit goes back when half of the window was consumed; the window doubles
 * while its reader is fast and shrinks when it is slow.
 */
export class ReceiveWindow {
  readonly #initial: number
  readonly #max: number
  readonly #budget: GrowthBudget
  readonly #now: () => number
  /** Credit given plus bytes not yet consumed. */
  #size: number
  /** What the peer may still send. */
  #credit: number
  /** Consumed and not yet given back. */
  #owed = 0
  #since = 0

  constructor(initial: number, max: number, budget: GrowthBudget, now: () => number) {
    this.#initial = initial
    this.#max = max
    this.#budget = budget
    this.#now = now
    this.#size = initial
    this.#credit = initial
  }

  get size(): number {
    return this.#size
  }

  /** A frame arrived. `false` when the peer had no credit for it; `early` is what it may owe, not knowing our SETTINGS. */
  receive(bytes: number, early = 0): boolean {
    this.#credit -= bytes
    return this.#credit >= -early
  }

  /** The reader took bytes. The result is the increment to send now, usually 0. */
  consume(bytes: number): number {
    this.#owed += bytes
    if (this.#owed * 2 < this.#size) return 0
    const now = this.#now()
    const elapsed = now - this.#since
    this.#since = now
    const increment = this.#owed + this.#resize(elapsed)
    this.#owed = 0
    this.#credit += increment
    return increment
  }

  /** The stream is over: what it had grown by is free for others. */
  release(): void {
    this.#budget.left += this.#size - this.#initial
    this.#size = this.#initial
  }

  /** By how much the window grows, negative when it shrinks. */
  #resize(elapsedMs: number): number {
    let by = 0
    if (elapsedMs < FAST_MS) by = Math.max(0, Math.min(this.#size, this.#max - this.#size, this.#budget.left))
    else if (elapsedMs > SLOW_MS) by = -Math.min(this.#size - this.#initial, this.#owed)
    this.#budget.left -= by
    this.#size += by
    return by
  }
}
