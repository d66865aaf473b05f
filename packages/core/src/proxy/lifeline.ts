/** What may cut a proxied connection from outside: the end of a drain, a policy that changed, a caller that left. */
import type { Drain, DrainLease } from '../drain.ts'

export interface Lifeline<Outcome> {
  /** Aborted when the connection is to be cut. */
  readonly signal: AbortSignal
  /** Why it was cut. */
  readonly outcome: Outcome | undefined
  /** The first call counts. */
  cut(outcome: Outcome): void
  /** Once, when the connection is over. */
  release(): void
}

/** Holds a lease of the drain until released. */
export function createLifeline<Outcome>(options: {
  readonly drain: Drain
  /** When the connection has one already. */
  readonly lease?: DrainLease
  /** Of what the end of the drain cuts. */
  readonly drained: Outcome
  /** The signal's reason. */
  readonly errorOf: (outcome: Outcome) => Error
}): Lifeline<Outcome> {
  const { lease = options.drain.hold(), errorOf } = options
  const controller = new AbortController()
  let outcome: Outcome | undefined
  const cut = (why: Outcome): void => {
    if (outcome !== undefined) return
    outcome = why
    controller.abort(errorOf(why))
  }
  const onForced = (): void => cut(options.drained)
  if (lease.forced.aborted) onForced()
  else lease.forced.addEventListener('abort', onForced)
  return {
    signal: controller.signal,
    get outcome() {
      return outcome
    },
    cut,
    release() {
      lease.forced.removeEventListener('abort', onForced)
      lease.release()
    },
  }
}
