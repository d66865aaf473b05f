/** What may cut a TCP connection from outside: the end of a drain, a policy that changed, a caller that left. */
import type { Drain } from '@ambient/core'
import { WaypointError } from './errors.ts'
import type { TcpOutcome } from './telemetry/tcp-entry.ts'

export interface Lifeline {
  /** Aborted when the connection is to be cut. */
  readonly signal: AbortSignal
  /** Why it was cut. */
  readonly outcome: TcpOutcome | undefined
  /** The first call counts. */
  cut(outcome: TcpOutcome): void
  /** Once, when the connection is over. */
  release(): void
}

const DRAINED: TcpOutcome = Object.freeze({
  flags: ['UC'],
  detail: 'connection_drain',
  error: 'connection closed due to connection drain',
})

/** Holds a lease of the drain until released. */
export function createLifeline(drain: Drain): Lifeline {
  const controller = new AbortController()
  const lease = drain.hold()
  let outcome: TcpOutcome | undefined
  const cut = (why: TcpOutcome): void => {
    if (outcome !== undefined) return
    outcome = why
    const code = why.denial === undefined ? 'AMBIENT_E_DRAIN' : 'AMBIENT_E_POLICY_CHANGE'
    controller.abort(new WaypointError(code, why.error ?? 'connection closed'))
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
