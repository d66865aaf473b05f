/** A clock that stands still until a test moves it. */
import type { Clock, Timer } from '../clock.ts'

export interface ManualClock extends Clock {
  /** Moves both clocks forward and runs the timers that fall due, in order. */
  advance(ms: number): void
  /** Timers that wait. */
  readonly pending: number
}

export function createManualClock(startMs = Date.UTC(2026, 0, 1)): ManualClock {
  let elapsed = 0
  let sequence = 0
  const timers = new Map<number, { readonly at: number; readonly run: () => void }>()

  const nextDue = (until: number): number | undefined => {
    let due: number | undefined
    for (const [id, timer] of timers) {
      if (timer.at > until) continue
      if (due === undefined || timer.at < (timers.get(due)?.at ?? Number.POSITIVE_INFINITY)) due = id
    }
    return due
  }

  return {
    now: () => startMs + elapsed,
    monotonic: () => elapsed,
    after(delayMs, run): Timer {
      const id = sequence++
      timers.set(id, { at: elapsed + Math.max(0, delayMs), run })
      return { cancel: () => void timers.delete(id) }
    },
    advance(ms) {
      const until = elapsed + ms
      for (let id = nextDue(until); id !== undefined; id = nextDue(until)) {
        const timer = timers.get(id)
        timers.delete(id)
        if (timer === undefined) continue
        elapsed = Math.max(elapsed, timer.at)
        timer.run()
      }
      elapsed = until
    },
    get pending() {
      return timers.size
    },
  }
}
