/** Retries as Istio configures and Envoy carries them out, pure: whether, and after how long. */
import type { HttpRouteRetry, VirtualServiceRetries } from '@ambient/discovery'
import type { HeaderFields } from '../http/header-fields.ts'
import type { RetryPolicy } from './ir.ts'

/** Istio's own: what certainly never reached the application, or what it says is worth a second try. No 503. */
const DEFAULT_ON = ['connect-failure', 'refused-stream', 'unavailable', 'cancelled']
const STATUS_CODES = 'retriable-status-codes'
/** Istio's `HTTPRetry` default when nothing is written. */
const DEFAULT_ATTEMPTS = 2
/** Envoy's base interval. */
const DEFAULT_BACKOFF_MS = 25
/** Envoy's longest interval, in base intervals. */
const MAX_BACKOFF_FACTOR = 10

/** gRPC status codes by the name of their condition. */
const GRPC_CONDITIONS: ReadonlyMap<string, string> = new Map([
  ['1', 'cancelled'],
  ['4', 'deadline-exceeded'],
  ['8', 'resource-exhausted'],
  ['13', 'internal'],
  ['14', 'unavailable'],
])

/** How one attempt ended. Everything but `response` came without response headers. */
export type AttemptOutcome =
  | { readonly kind: 'response'; readonly status: number; readonly headers: HeaderFields }
  /** No connection: the request certainly was not seen. */
  | { readonly kind: 'connect-failure' }
  /** HTTP/2 REFUSED_STREAM: certainly not processed. */
  | { readonly kind: 'refused-stream' }
  /** `sent`: at least the request's head went out. */
  | { readonly kind: 'reset'; readonly sent: boolean }
  | { readonly kind: 'per-try-timeout' }
  /** A limit of our own was full. */
  | { readonly kind: 'overflow' }

export const defaultRetry: RetryPolicy = Object.freeze({
  attempts: DEFAULT_ATTEMPTS,
  on: new Set([...DEFAULT_ON, STATUS_CODES]),
  statusCodes: new Set<number>(),
  perTryTimeoutMs: undefined,
  backoffBaseMs: DEFAULT_BACKOFF_MS,
  backoffMaxMs: DEFAULT_BACKOFF_MS * MAX_BACKOFF_FACTOR,
})

export const noRetry: RetryPolicy = Object.freeze({ ...defaultRetry, attempts: 0 })

/** Of a VirtualService: numbers among `retryOn` are status codes. */
export function virtualServiceRetry(written: VirtualServiceRetries | undefined): RetryPolicy {
  if (written === undefined) return defaultRetry
  if (written.attempts <= 0) return noRetry
  const tokens = (written.retryOn ?? '').split(',').map(token => token.trim())
  const codes = tokens.filter(token => /^\d{3}$/.test(token)).map(Number)
  const named = tokens.filter(token => token !== '' && !/^\d+$/.test(token))
  const on = named.length + codes.length === 0 ? [...defaultRetry.on] : named
  return {
    ...withBackoff(written.backoffMs),
    attempts: written.attempts,
    on: new Set(codes.length > 0 ? [...on, STATUS_CODES] : on),
    statusCodes: new Set(codes),
    perTryTimeoutMs: positive(written.perTryTimeoutMs),
  }
}

/** Of an HTTPRoute: its codes beside what Istio always retries; `backendRequest` bounds one attempt. */
export function httpRouteRetry(
  written: HttpRouteRetry | undefined,
  backendRequestTimeoutMs: number | undefined,
): RetryPolicy {
  if (written === undefined) return defaultRetry
  const attempts = written.attempts ?? DEFAULT_ATTEMPTS
  if (attempts <= 0) return noRetry
  const codes = written.codes
  return {
    ...withBackoff(written.backoffMs),
    attempts,
    on: new Set(codes.length > 0 ? [...DEFAULT_ON, STATUS_CODES] : DEFAULT_ON),
    statusCodes: new Set(codes),
    perTryTimeoutMs: positive(backendRequestTimeoutMs),
  }
}

/** Whether the policy asks for another attempt after this one; how many are left is the caller's to count. */
export function shouldRetry(policy: RetryPolicy, outcome: AttemptOutcome): boolean {
  if (policy.attempts === 0) return false
  if (outcome.kind === 'response') return retriesResponse(policy, outcome.status, outcome.headers)
  if (outcome.kind === 'overflow') return false
  const { on } = policy
  if (on.has('5xx') || on.has('gateway-error') || on.has('reset')) return true
  switch (outcome.kind) {
    case 'connect-failure':
      return on.has('connect-failure') || on.has('reset-before-request')
    case 'refused-stream':
      return on.has('refused-stream')
    case 'reset':
      return !outcome.sent && on.has('reset-before-request')
    case 'per-try-timeout':
      return false
  }
}

/**
 * How long to wait before retry number `retry` (1 is the first): anywhere in a window that doubles from the base
 * interval to the longest.
 */
export function backoffMs(policy: RetryPolicy, retry: number, random: () => number): number {
  const window = Math.min(policy.backoffMaxMs, policy.backoffBaseMs * 2 ** Math.max(0, retry - 1))
  return Math.floor(random() * window)
}

function retriesResponse(policy: RetryPolicy, status: number, headers: HeaderFields): boolean {
  const { on } = policy
  if (headers.has('x-envoy-overloaded')) return false
  if (headers.has('x-envoy-ratelimited')) return on.has('envoy-ratelimited')
  if (on.has('5xx') && status >= 500) return true
  if (on.has('gateway-error') && status >= 502 && status <= 504) return true
  if (on.has('retriable-4xx') && status === 409) return true
  if (on.has(STATUS_CODES) && policy.statusCodes.has(status)) return true
  const condition = GRPC_CONDITIONS.get(headers.get('grpc-status') ?? '')
  return condition !== undefined && on.has(condition)
}

function withBackoff(baseMs: number | undefined): Pick<RetryPolicy, 'backoffBaseMs' | 'backoffMaxMs'> {
  const backoffBaseMs = positive(baseMs) ?? DEFAULT_BACKOFF_MS
  return { backoffBaseMs, backoffMaxMs: backoffBaseMs * MAX_BACKOFF_FACTOR }
}

function positive(ms: number | undefined): number | undefined {
  return ms !== undefined && ms > 0 ? ms : undefined
}
