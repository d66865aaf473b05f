/** What a comparison of two sets of policies answers, as plain data: the JSON that `ambient policy diff` prints. */
import type { EvaluatorOptions } from '../evaluator/policy-evaluator.ts'
import type { PolicyRequest } from '../evaluator/request.ts'
import type { Enforcer, PolicyDialect, PolicyVerdict } from '../evaluator/verdict.ts'

export interface DiffOptions extends Omit<EvaluatorOptions, 'dialect'> {
  /** All three when absent. */
  readonly dialects?: readonly PolicyDialect[]
  /** Which proxies: `ztunnel` knows workloads only. All when absent. */
  readonly enforcers?: readonly Enforcer['kind'][]
  /** Steps of the search per dialect and kind of enforcer; past them it says `undecided`. Default: `limits.maxDiffSteps`. */
  readonly maxSteps?: number
  /** Changes to tell of per dialect and kind of enforcer; past them too. Default: `limits.maxDiffRegions`. */
  readonly maxChanges?: number
}

export interface PolicyDiff {
  /**
   * `same` is proven; with `undecided` there may be changes beside those that are listed: the search was too large, or
   * what differs is not compared (which tokens a RequestAuthentication accepts, what another provider answers).
   */
  readonly result: 'same' | 'changed' | 'undecided'
  readonly changes: readonly PolicyChange[]
  readonly undecided: readonly UndecidedPart[]
}

/** A set of requests whose verdict is another one, and one of them. */
export interface PolicyChange {
  readonly dialect: PolicyDialect
  readonly before: Decider
  readonly after: Decider
  /** What all of the requests have in common, in words. */
  readonly constraint: readonly string[]
  readonly witness: PolicyRequest
  /** Who decides over the witness. */
  readonly enforcer: Enforcer
}

export type Decider = Pick<PolicyVerdict, 'verdict' | 'action' | 'policy' | 'rule' | 'reason'>

export interface UndecidedPart {
  readonly dialect: PolicyDialect
  readonly enforcer: Enforcer['kind']
  readonly reason: string
}
