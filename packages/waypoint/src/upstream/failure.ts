/** The one place where what went wrong on the way to a back end becomes Envoy's status, flag, body and detail (l7 §4.6). */
import { messageOf } from '@ambient/core'
import type { ClusterEndpoint } from '../route/endpoints.ts'
import type { DispatchFailure, DispatchFlag } from './order.ts'

/** Why an attempt has no response. */
export type FailureReason =
  | 'no-endpoint'
  | 'overflow'
  /** Nothing could be sent: no TCP connection, no tunnel, not the expected peer. */
  | 'connect-failure'
  /** The connection ended before a response's head. */
  | 'connection-termination'
  /** The stream was reset before a response's head. */
  | 'remote-reset'
  /** The upstream says that it did not look at the request. */
  | 'refused-stream'
  | 'protocol-error'
  /** The request itself cannot be written, or is not what its head says: no other endpoint would do better. */
  | 'unsendable'
  | 'per-try-timeout'
  | 'timeout'
  | 'caller-gone'

export interface AttemptFailure {
  readonly reason: FailureReason
  /** A connection that was used before ended without a byte of a response. */
  readonly isStale: boolean
  readonly cause: unknown
}

/** Ends an attempt from our side; its reason goes with the abort signal. */
export class Cancelled extends Error {
  readonly reason: FailureReason

  constructor(reason: FailureReason) {
    super(`cancelled: ${reason}`)
    this.reason = reason
  }
}

interface Words {
  readonly status: number
  readonly flag: DispatchFlag
  readonly body: string
  readonly detail: string
}

export function failed(
  failure: AttemptFailure,
  facts: {
    readonly endpoint: ClusterEndpoint | undefined
    readonly attempts: number
    readonly isExhausted: boolean
  },
): DispatchFailure {
  const words = wordsOf[failure.reason]
  return {
    kind: 'failed',
    ...words,
    flags: facts.isExhausted ? [words.flag, 'URX'] : [words.flag],
    reason: failure.cause === undefined ? failure.reason : messageOf(failure.cause),
    endpoint: facts.endpoint,
    attempts: facts.attempts,
  }
}

/** What an attempt failed with, when our own side ended it or the error says so itself. */
export function attemptFailure(
  reason: FailureReason,
  cause?: unknown,
  options: { readonly isStale?: boolean } = {},
): AttemptFailure {
  if (cause instanceof Cancelled) return { reason: cause.reason, isStale: false, cause: undefined }
  return { reason, isStale: options.isStale ?? false, cause }
}

function beforeHeaders(status: number, flag: DispatchFlag, words: string): Words {
  return {
    status,
    flag,
    body: `upstream connect error or disconnect/reset before headers. reset reason: ${words}`,
    detail: `upstream_reset_before_response_started{${words.replaceAll(' ', '_')}}`,
  }
}

const timedOut = { status: 504, flag: 'UT', body: 'upstream request timeout' } as const

const wordsOf: Readonly<Record<FailureReason, Words>> = Object.freeze({
  'no-endpoint': { status: 503, flag: 'UH', body: 'no healthy upstream', detail: 'no_healthy_upstream' },
  overflow: beforeHeaders(503, 'UO', 'overflow'),
  'connect-failure': beforeHeaders(503, 'UF', 'connection failure'),
  'connection-termination': beforeHeaders(503, 'UC', 'connection termination'),
  'remote-reset': beforeHeaders(503, 'UR', 'remote reset'),
  'refused-stream': beforeHeaders(503, 'UR', 'remote refused stream reset'),
  'protocol-error': beforeHeaders(502, 'UPE', 'protocol error'),
  unsendable: beforeHeaders(502, 'UPE', 'protocol error'),
  'per-try-timeout': { ...timedOut, detail: 'upstream_per_try_timeout' },
  timeout: { ...timedOut, detail: 'upstream_response_timeout' },
  'caller-gone': { status: 0, flag: 'DC', body: '', detail: 'downstream_remote_disconnect' },
})
