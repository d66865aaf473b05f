/** Sessions that have lived long enough are replaced, not all at the same moment. */
import type { Clock, Timer } from '@ambient/core'

/** By how much of its age a session may be replaced earlier. */
const JITTER = 0.1

/** Calls `drain` once between nine tenths of the age and the age; never when the age is 0. */
export function drainAtAge(ageMs: number, clock: Clock, drain: () => void): Timer | undefined {
  return ageMs === 0 ? undefined : clock.after(ageMs * (1 - JITTER * Math.random()), drain)
}
