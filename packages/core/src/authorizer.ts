/** The guard's contract: a decision with its reason, and a permit that can be withdrawn while the connection lives. */
import type { Connection } from './connection.ts'

/** Where in the configuration a decision comes from. */
export interface PolicyRule {
  /** `namespace/name`. */
  readonly policy: string
  /** Index of the rule that matched, absent when no single rule decided. */
  readonly rule?: number
}

export type Decision =
  | { readonly allowed: true; readonly reason: string; readonly by?: PolicyRule }
  | {
      readonly allowed: false
      /** ztunnel's words: `explicitly denied by: NS/NAME`, `allow policies exist, but none allowed`. */
      readonly reason: string
      /** The DENY rule that matched; absent when ALLOW policies exist and none did. */
      readonly by?: PolicyRule
      /** The ALLOW policies that were asked and did not match. */
      readonly considered: readonly string[]
    }

export type Denial = Extract<Decision, { allowed: false }>

/** A live admission. Whoever was given it calls `release` exactly when the connection ends. */
export interface Permit {
  readonly decision: Extract<Decision, { allowed: true }>
  /** Called at most once, when a later policy no longer allows the connection. Set it before anything is awaited. */
  onWithdrawn: ((denial: Denial) => void) | undefined
  release(): void
}

export type Admission =
  | { readonly allowed: true; readonly permit: Permit }
  | { readonly allowed: false; readonly denial: Denial }

export interface Authorizer {
  /** A pure question: nothing is remembered. */
  decide(connection: Connection): Decision
  /** Registers the connection first and decides then, so that a policy change between the two cannot slip by. */
  admit(connection: Connection): Admission
}
