/**
 * Policies with an end date: an ALLOW that carries the annotation allows nothing from that time on. The policy itself
 * stays, so that its end closes and never opens. Our own: a real istiod does not look at it.
 */
import type { Clock, Timer } from '@ambient/core'
import type { AuthorizationPolicy } from './authorization-policy.ts'

/** A time with its zone, `2026-12-31T18:00:00Z`. */
export const EXPIRES = 'ambient.dev/expires'

/** RFC 3339: a time without a zone would mean another one on each machine. */
const TIME = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2})$/i

/** Milliseconds since the epoch; `undefined` for what is no such time. */
export function parseExpires(text: string): number | undefined {
  const time = TIME.test(text) && isDay(text.slice(0, DAY_LENGTH)) ? Date.parse(text) : Number.NaN
  return Number.isNaN(time) ? undefined : time
}

const DAY_LENGTH = '2026-12-31'.length

/** `Date` takes the 30th of February for a day in March. */
function isDay(day: string): boolean {
  const time = Date.parse(day)
  return !Number.isNaN(time) && new Date(time).toISOString().startsWith(day)
}

/**
 * When a policy ends; `undefined` without the annotation. What cannot be read has ended already: whoever wrote it wanted
 * an end.
 */
export function expiresAt({ metadata }: AuthorizationPolicy): number | undefined {
  const written = metadata.annotations[EXPIRES]
  return written === undefined ? undefined : (parseExpires(written) ?? Number.NEGATIVE_INFINITY)
}

/** Whether it is an ALLOW that allows nothing any more. The end of any other policy would open what it closed. */
export function hasExpired(policy: AuthorizationPolicy, nowMs: number): boolean {
  return (
    (policy.spec.action ?? 'ALLOW') === 'ALLOW' && (expiresAt(policy) ?? Number.POSITIVE_INFINITY) <= nowMs
  )
}

/** Each expired ALLOW without its rules; all others are the same objects. */
export function withoutExpired(
  policies: readonly AuthorizationPolicy[],
  nowMs: number,
): readonly AuthorizationPolicy[] {
  if (!policies.some(policy => hasExpired(policy, nowMs))) return policies
  return policies.map(policy =>
    hasExpired(policy, nowMs) ? { ...policy, spec: { ...policy.spec, rules: [] } } : policy,
  )
}

/** When the next ALLOW ends. */
export function nextExpiry(policies: readonly AuthorizationPolicy[], nowMs: number): number | undefined {
  let next: number | undefined
  for (const policy of policies) {
    const at = hasExpired(policy, nowMs) ? undefined : expiresAt(policy)
    if (at === undefined || (policy.spec.action ?? 'ALLOW') !== 'ALLOW') continue
    if (next === undefined || at < next) next = at
  }
  return next
}

/** One timer for the next end among policies that change. */
export interface ExpiryTimer {
  /** Of these policies now. */
  watch(policies: readonly AuthorizationPolicy[]): void
  close(): void
}

/**
 * @param onExpiry called at an end, and sometimes before one: whoever is called looks at the clock and watches again
 */
export function createExpiryTimer(clock: Clock, onExpiry: () => void): ExpiryTimer {
  let timer: Timer | undefined
  return {
    watch(policies) {
      timer?.cancel()
      const now = clock.now()
      const next = nextExpiry(policies, now)
      timer = next === undefined ? undefined : clock.after(next - now, onExpiry)
    },
    close() {
      timer?.cancel()
      timer = undefined
    },
  }
}
