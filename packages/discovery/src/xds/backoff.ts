/** When to call the control plane again: ztunnel's delays, with full jitter so that a fleet does not call as one. */
import { status as grpcStatus } from '@grpc/grpc-js'
import { limits } from '../limits.ts'

/** How a stream ended. */
export interface StreamEnding {
  readonly code: grpcStatus
  readonly details: string
  /** The server had answered something: it is there, and this was not a failure to connect. */
  readonly answered: boolean
}

/** ztunnel's label for `istio_xds_connection_terminations`. */
export type TerminationReason = 'ConnectionError' | 'Error' | 'Reconnect' | 'Complete'

const CHURN = new Set([grpcStatus.UNKNOWN, grpcStatus.CANCELLED, grpcStatus.DEADLINE_EXCEEDED])
const CHURN_DETAILS = /transport is closing|received prior goaway|goaway|connection dropped/i

/** Restarts and rebalancing, which are no reason to worry. */
export function isChurn(ending: StreamEnding): boolean {
  if (!ending.answered) return false
  if (ending.code === grpcStatus.OK || CHURN.has(ending.code)) return true
  return ending.code === grpcStatus.UNAVAILABLE && CHURN_DETAILS.test(ending.details)
}

export function terminationReason(ending: StreamEnding): TerminationReason {
  if (ending.code === grpcStatus.OK) return 'Complete'
  if (isChurn(ending)) return 'Reconnect'
  return ending.code === grpcStatus.UNAVAILABLE && !ending.answered ? 'ConnectionError' : 'Error'
}

/** The next upper bound of the delay: back to the start after a stream that worked, else doubled. */
export function nextBackoff(previousMs: number, ending: StreamEnding): number {
  if (isChurn(ending)) return limits.reconnectMinMs
  const base = ending.answered ? limits.reconnectMinMs : previousMs
  return Math.min(limits.reconnectMaxMs, base * 2)
}

/** Anywhere between nothing and the bound. */
export function jittered(boundMs: number, random: () => number): number {
  return Math.ceil(boundMs * random())
}
