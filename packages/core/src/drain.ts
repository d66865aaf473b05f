/**
 * Two-phase ending: holders finish on their own until a deadline, then they are forced. Holding a lease is what keeps
 * the drain from completing.
 */
import { type Clock, systemClock } from './clock.ts'

export interface DrainLease {
  /** Aborted when the drain begins: stop taking new work, tell the peer. */
  readonly draining: AbortSignal
  /** Aborted when the deadline has passed: cut what is left. */
  readonly forced: AbortSignal
  /** Idempotent. */
  release(): void
}

export interface DrainResult {
  /** Holders that had to be forced. */
  readonly forced: number
}

export interface Drain {
  readonly draining: boolean
  /** Leases out. */
  readonly size: number
  hold(): DrainLease
  /** Begins (once) and resolves when every lease is released. A second call joins the first, with the nearer deadline. */
  start(options: { readonly graceMs: number }): Promise<DrainResult>
}

export function createDrain(clock: Clock = systemClock): Drain {
  const draining = new AbortController()
  const forced = new AbortController()
  const leases = new Set<DrainLease>()
  const waiting: ((result: DrainResult) => void)[] = []
  let forcedCount = 0

  const settle = (): void => {
    if (leases.size > 0) return
    for (const resolve of waiting.splice(0)) resolve({ forced: forcedCount })
  }
  const force = (): void => {
    if (forced.signal.aborted) return
    forcedCount = leases.size
    forced.abort(new Error('drain deadline passed'))
  }

  return {
    get draining() {
      return draining.signal.aborted
    },
    get size() {
      return leases.size
    },
    hold() {
      const lease: DrainLease = {
        draining: draining.signal,
        forced: forced.signal,
        release() {
          if (leases.delete(lease) && draining.signal.aborted) settle()
        },
      }
      leases.add(lease)
      return lease
    },
    start({ graceMs }) {
      const done = new Promise<DrainResult>(resolve => waiting.push(resolve))
      if (!draining.signal.aborted) draining.abort(new Error('draining'))
      const timer = clock.after(graceMs, force, { keepAlive: true })
      settle()
      return done.finally(() => timer.cancel())
    },
  }
}
