/** How a connection that is cut from outside reads in the ledger. */
import type { Drain, DrainLease } from '@ambient/core'
import { createLifeline as createCoreLifeline, type Lifeline as CoreLifeline } from '@ambient/core/proxy'
import type { ConnectionOutcome } from './telemetry/ledger.ts'
import { ZtunnelError } from './errors.ts'

export type Lifeline = CoreLifeline<ConnectionOutcome>

const DRAINED: ConnectionOutcome = Object.freeze({
  flag: 'CONNECT',
  error: 'connection closed due to connection drain',
})

/** `lease` when the connection has one already. */
export function createLifeline(drain: Drain, lease?: DrainLease): Lifeline {
  return createCoreLifeline({
    drain,
    ...(lease === undefined ? {} : { lease }),
    drained: DRAINED,
    errorOf: ({ flag, error = 'connection closed' }) =>
      new ZtunnelError(flag === 'DENY' ? 'AMBIENT_E_POLICY_CHANGE' : 'AMBIENT_E_DRAIN', error),
  })
}
