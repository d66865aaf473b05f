/** When to renew and when to try again: pure arithmetic. */
import { managerDefaults } from '../defaults.ts'

export interface Lifetime {
  /** Milliseconds since the epoch. */
  readonly notBefore: number
  readonly notAfter: number
}

/**
 * The moment of renewal: half life, ±10 %. A certificate that is past its half life when it arrives (short ones are,
 * since CAs backdate) is renewed at half of what remains. A fresh certificate is never older than its half life, whatever our
 * clock says of it: where ours is behind the CA's, the wait stays half a lifetime. `random` is in [0, 1).
 */
export function renewalTime({ notBefore, notAfter }: Lifetime, now: number, random: number): number {
  const halfLife = notBefore + (notAfter - notBefore) * managerDefaults.refreshFraction
  const left = halfLife > now ? halfLife - now : (notAfter - now) * managerDefaults.refreshFraction
  const wait = Math.min(left, (notAfter - notBefore) * managerDefaults.refreshFraction)
  return now + Math.max(managerDefaults.minRefreshMs, wait * spread(random, managerDefaults.refreshJitter))
}

/** The wait after the n-th failure in a row: 1 s, doubling to 150 s, ±20 %. */
export function retryDelay(failures: number, random: number): number {
  const delay = managerDefaults.retryFirstMs * managerDefaults.retryFactor ** Math.max(0, failures - 1)
  return Math.min(delay, managerDefaults.retryMaxMs) * spread(random, managerDefaults.retryJitter)
}

function spread(random: number, jitter: number): number {
  return 1 + (random * 2 - 1) * jitter
}
