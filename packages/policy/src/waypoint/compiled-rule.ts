/** Rules and their fields as they are kept: there may be a hundred thousand, so that each holds little. */
import type { PolicyRule } from '@ambient/core'
import type { Attribute, Test } from './attributes.ts'
import type { CompiledClause, CompiledWaypointRule, FieldTest } from './compile-policy.ts'
import { allowedBy, deniedBy, type WaypointDecision, waypointReasons } from './decision.ts'
import type { WaypointFacts } from './facts.ts'
import type { TrustDomains } from './trust-domains.ts'
import type { AuthorizationAction } from '../documents/authorization-policy.ts'

/** What the rules of one policy have in common. */
export interface RulesOf {
  /** `namespace/name`. */
  readonly key: string
  readonly action: AuthorizationAction
  /** Of a CUSTOM policy. */
  readonly provider: string | undefined
  readonly trustDomains: TrustDomains
}

export class KeptRule implements CompiledWaypointRule {
  readonly id: string
  readonly clauses: readonly CompiledClause[]
  readonly skipped: string | undefined
  readonly dropped: readonly string[]
  readonly #policy: RulesOf
  readonly #index: number
  /** Of clauses without a choice: all of them hold. Flat, since of so many rules little is in a processor's cache. */
  readonly #tests: readonly Test[]
  readonly #choices: readonly CompiledClause[]
  #by: (PolicyRule & { readonly rule: number }) | undefined
  #verdict: WaypointDecision | undefined

  constructor(
    policy: RulesOf,
    rule: Pick<CompiledWaypointRule, 'id' | 'clauses' | 'skipped' | 'dropped'> & { readonly index: number },
  ) {
    this.#policy = policy
    this.id = rule.id
    this.clauses = rule.clauses
    this.skipped = rule.skipped
    this.dropped = rule.dropped
    this.#index = rule.index
    this.#tests = this.clauses
      .flatMap(({ alternatives }) => (alternatives.length === 1 ? alternatives.flat() : []))
      .map(({ test }) => test)
    const choices = this.clauses.filter(({ alternatives }) => alternatives.length !== 1)
    this.#choices = choices.length === 0 ? none : choices
  }

  get by(): PolicyRule & { readonly rule: number } {
    this.#by ??= Object.freeze({ policy: this.#policy.key, rule: this.#index })
    return this.#by
  }

  get policy(): string {
    return this.#policy.key
  }

  get provider(): string | undefined {
    return this.#policy.provider
  }

  get trustDomains(): TrustDomains {
    return this.#policy.trustDomains
  }

  /** Made when it is first given. */
  get verdict(): WaypointDecision {
    this.#verdict ??= this.#decide()
    return this.#verdict
  }

  matches(facts: WaypointFacts): boolean {
    // By index: this is asked most of all, and an iterator is an object until the engine has seen through it.
    const tests = this.#tests
    const choices = this.#choices
    for (let at = 0; at < tests.length; at++) if (tests[at]?.(facts) === false) return false
    for (let at = 0; at < choices.length; at++) if (!clauseMatches(choices[at], facts)) return false
    return true
  }

  #decide(): WaypointDecision {
    const { by, id } = this
    const { action, provider = '' } = this.#policy
    if (action === 'ALLOW' || action === 'AUDIT') return allowedBy(by)
    return action === 'CUSTOM'
      ? deniedBy(by, `${id}-deny-due-to-bad-CUSTOM-action`, waypointReasons.noProvider(by.policy, provider))
      : deniedBy(by, id, waypointReasons.denied(by.policy))
  }
}

const none: readonly never[] = Object.freeze([])

export class KeptField implements FieldTest {
  readonly field: string
  readonly negated: boolean
  readonly values: readonly string[]
  readonly test: Test
  readonly #attribute: Attribute

  constructor(of: Pick<FieldTest, 'field' | 'negated' | 'values'>, test: Test, attribute: Attribute) {
    this.field = of.field
    this.negated = of.negated
    this.values = of.values
    this.test = of.negated ? not(test) : test
    this.#attribute = attribute
  }

  actual(facts: WaypointFacts): string {
    return this.#attribute.actual(facts)
  }
}

function not(test: Test): Test {
  return facts => !test(facts)
}

function clauseMatches(clause: CompiledClause | undefined, facts: WaypointFacts): boolean {
  const alternatives = clause?.alternatives ?? none
  for (let at = 0; at < alternatives.length; at++) if (allHold(alternatives[at], facts)) return true
  return false
}

function allHold(tests: readonly FieldTest[] = none, facts: WaypointFacts): boolean {
  for (let at = 0; at < tests.length; at++) if (tests[at]?.test(facts) === false) return false
  return true
}
