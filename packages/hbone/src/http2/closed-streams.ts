/** Stream ids, which are never used twice, and what is remembered of streams that are over: frames for them may still come. */

/** Stream ids end at 2^31-1; a session is replaced long before. */
export const LAST_USABLE_ID = 0x4000_0000

/** More than one session can have open; older ones are forgotten and their frames ignored. */
const REMEMBERED = 1_024

/** `reset`: we cut it, so whatever still comes is expected. `ended`: the peer has no more to say on it. */
export type ClosedState = 'reset' | 'ended'

export class ClosedStreams {
  /** Nothing was forgotten yet: an id that is not here never was a stream. */
  isComplete = true
  readonly #states = new Map<number, ClosedState>()

  add(id: number, state: ClosedState): void {
    this.#states.set(id, state)
    if (this.#states.size <= REMEMBERED) return
    const oldest = this.#states.keys().next()
    if (oldest.done !== true) this.#states.delete(oldest.value)
    this.isComplete = false
  }

  get(id: number): ClosedState | undefined {
    return this.#states.get(id)
  }
}
