/** What may cut a proxied connection from outside: the end of a drain, a policy that changed, a caller that left. */
import type { Drain, DrainLease } from '@ambient/core'
import type { ConnectionOutcome } from './telemetry/ledger.ts'
import { ZtunnelError } from './errors.ts'

export interface Lifeline {
  /** Aborted when the connection is to be cut. */
  readonly signal: AbortSignal
  /** Why it was cut. */
  readonly outcome: ConnectionOutcome | undefined
  /** The first call counts. */
  cut(outcome: ConnectionOutcome): void
  /** Once, when the connection is over. */
  release(): void
}

const DRAINED: ConnectionOutcome = Object.freeze({
  flag: 'CONNECT',
  error: 'connection closed due to connection drain',
})

/** Holds a lease of the drain until released; `lease` when the connection has one already. */
export function createLifeline(drain: Drain, lease: DrainLease = drain.hold()): Lifeline {
  const controller = new AbortController()
  let outcome: ConnectionOutcome | undefined
  const cut = (why: ConnectionOutcome): void => {
    if (outcome !== undefined) return
    outcome = why
    const code = why.flag === 'DENY' ? 'AMBIENT_E_POLICY_CHANGE' : 'AMBIENT_E_DRAIN'
    controller.abort(new ZtunnelError(code, why.error ?? 'connection closed'))
  }
  const onForced = (): void => cut(DRAINED)
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
