/** What is known of withdrawn certificates, as the verifier asks it. */
import type { BrokenRule } from '../svid/leaf-rules.ts'
import type { Labelled } from '../svid/path.ts'

/** One object for its whole life; what it knows changes. */
export interface Revocations {
  /** The first certificate of a proven path (leaf first, anchor last) that may not be believed at that moment. */
  problemOf(path: readonly Labelled[], at: number): BrokenRule | undefined
}

export const nothingRevoked: Revocations = Object.freeze({ problemOf: () => undefined })
