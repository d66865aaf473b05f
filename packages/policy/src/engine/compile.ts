/** An L4 policy as tests: built once, matched without allocating. */
import type { Decision } from '@ambient/core'
import { ATTRIBUTES, attributeTests, type Test } from './attributes.ts'
import type { Facts } from './facts.ts'
import {
  type Authorization,
  type AuthorizationAttribute,
  type AuthorizationClause,
  authorizationKey,
  type AuthorizationMatch,
  type AuthorizationRule,
} from '../ztunnel/authorization.ts'

/**
 * A rule. What most rules ask, one port and one principal, stands in the rule itself: of a hundred thousand rules little
 * is in a processor's cache, and each closure would be a walk to memory.
 */
export class CompiledRule {
  readonly policy: CompiledPolicy
  /** Index in the policy. */
  readonly rule: number
  /** The decision that it makes; set when it first does. */
  verdict: Decision | undefined
  readonly #port: number
  readonly #principal: string | undefined
  readonly #rest: Test | undefined

  constructor(policy: CompiledPolicy, index: number, rule: AuthorizationRule) {
    const { action } = policy.authorization
    let port = ANY_PORT
    let principal: string | undefined
    const rest: Test[] = []
    for (const clause of rule.clauses) {
      const [onlyPort, onlyPrincipal] = [singlePort(clause), singlePrincipal(clause)]
      if (onlyPort !== undefined && port === ANY_PORT) port = onlyPort
      else if (onlyPrincipal !== undefined && principal === undefined) principal = onlyPrincipal
      else rest.push(compileClause(clause, action))
    }
    this.policy = policy
    this.rule = index
    this.verdict = undefined
    this.#port = port
    this.#principal = principal
    this.#rest = rest.length === 0 ? undefined : all(rest)
  }

  matches(facts: Facts): boolean {
    if (this.#port !== ANY_PORT && this.#port !== facts.destinationPort) return false
    if (this.#principal !== undefined && this.#principal !== facts.principal) return false
    return this.#rest === undefined || this.#rest(facts)
  }
}

const ANY_PORT = -1

export interface CompiledPolicy {
  readonly key: string
  readonly authorization: Authorization
  readonly rules: readonly CompiledRule[]
}

/** Never throws: what cannot be read in a policy is judged on the strict side. */
export function compile(authorization: Authorization): CompiledPolicy {
  const rules: CompiledRule[] = []
  const policy: CompiledPolicy = { key: authorizationKey(authorization), authorization, rules }
  for (const [index, rule] of authorization.rules.entries()) rules.push(new CompiledRule(policy, index, rule))
  return policy
}

/** Of a clause that asks for one port and nothing else. */
function singlePort(clause: AuthorizationClause): number | undefined {
  const match = onlyMatch(clause, 'destinationPorts')
  return match?.destinationPorts.length === 1 ? match.destinationPorts[0] : undefined
}

/** Of a clause that asks for one principal and nothing else. */
function singlePrincipal(clause: AuthorizationClause): string | undefined {
  const match = onlyMatch(clause, 'principals')
  const [principal] = match?.principals ?? []
  return match?.principals.length === 1 && principal?.kind === 'exact' ? principal.value : undefined
}

function onlyMatch(
  { matches }: AuthorizationClause,
  attribute: AuthorizationAttribute,
): AuthorizationMatch | undefined {
  const [match] = matches
  if (match === undefined || matches.length > 1) return undefined
  return ATTRIBUTES.every(name => match[name].length > 0 === (name === attribute)) ? match : undefined
}

function compileClause(clause: AuthorizationClause, action: Authorization['action']): Test {
  if (clause.matches.length === 0) return always
  const tests = clause.matches.flatMap(match => {
    const attributes = attributeTests(match, action)
    // A match that sets nothing never matches: as one of several it only drops out.
    return attributes.length === 0 ? [] : [all(attributes.map(({ test }) => test))]
  })
  return any(tests)
}

function all(tests: readonly Test[]): Test {
  const [first, second] = tests
  if (first === undefined) return always
  if (second === undefined) return first
  return tests.length === 2 ? both(first, second) : each(tests.slice())
}

// Functions of their own, so that a rule keeps what it asks and nothing else.

function both(first: Test, second: Test): Test {
  return facts => first(facts) && second(facts)
}

function each(tests: readonly Test[]): Test {
  return facts => {
    for (const test of tests) if (!test(facts)) return false
    return true
  }
}

function any(tests: readonly Test[]): Test {
  const [first, second] = tests
  if (first === undefined) return never
  return second === undefined ? first : one(tests.slice())
}

function one(tests: readonly Test[]): Test {
  return facts => {
    for (const test of tests) if (test(facts)) return true
    return false
  }
}

const always: Test = () => true
const never: Test = () => false
