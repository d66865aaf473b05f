/** Time as a dependency: wall clock for certificates, monotonic clock for durations, timers that can be faked. */

export interface Timer {
  cancel(): void
}

export interface Clock {
  /** Milliseconds since the epoch; may jump. */
  now(): number
  /** Milliseconds from an arbitrary start; never goes back. */
  monotonic(): number
  /** The timer does not keep the process alive unless `keepAlive` is set. */
  after(delayMs: number, run: () => void, options?: { readonly keepAlive?: boolean }): Timer
}

/** `setTimeout` runs at once when given more than this. */
const MAX_TIMEOUT_MS = 2_147_483_647

export const systemClock: Clock = Object.freeze({
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(delayMs: number, run: () => void, options: { readonly keepAlive?: boolean } = {}): Timer {
    const handle: unknown = setTimeout(run, Math.min(Math.max(0, delayMs), MAX_TIMEOUT_MS))
    if (options.keepAlive !== true) unref(handle)
    return { cancel: () => clearTimeout(handle as ReturnType<typeof setTimeout>) }
  },
})

/** Browsers' timers are numbers and hold nothing alive. */
function unref(handle: unknown): void {
  if (
    typeof handle === 'object' &&
    handle !== null &&
    'unref' in handle &&
    typeof handle.unref === 'function'
  )
    handle.unref()
}
