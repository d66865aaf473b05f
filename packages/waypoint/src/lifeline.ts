/** How a TCP connection that is cut from outside reads in the access log. */
import type { Drain } from '@ambient/core'
import { createLifeline as createCoreLifeline, type Lifeline as CoreLifeline } from '@ambient/core/proxy'
import { WaypointError } from './errors.ts'
import type { TcpOutcome } from './telemetry/tcp-entry.ts'

export type Lifeline = CoreLifeline<TcpOutcome>

const DRAINED: TcpOutcome = Object.freeze({
  flags: ['UC'],
  detail: 'connection_drain',
  error: 'connection closed due to connection drain',
})

export function createLifeline(drain: Drain): Lifeline {
  return createCoreLifeline({
    drain,
    drained: DRAINED,
    errorOf: ({ denial, error = 'connection closed' }) =>
      new WaypointError(denial === undefined ? 'AMBIENT_E_DRAIN' : 'AMBIENT_E_POLICY_CHANGE', error),
  })
}
