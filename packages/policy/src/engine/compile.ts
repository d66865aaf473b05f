/** An L4 policy as closures: built once, matched without allocating. */
import type { Decision } from '@ambient/core'
import { attributeTests, type Test } from './attributes.ts'
import {
  type Authorization,
  type AuthorizationClause,
  authorizationKey,
  type AuthorizationRule,
} from '../ztunnel/authorization.ts'

export interface CompiledRule {
  readonly policy: CompiledPolicy
  /** Index in the policy. */
  readonly rule: number
  readonly matches: Test
  /** The decision that it makes; set when it first does. */
  verdict: Decision | undefined
}

export interface CompiledPolicy {
  readonly key: string
  readonly authorization: Authorization
  readonly rules: readonly CompiledRule[]
}

/** Never throws: what cannot be read in a policy is judged on the strict side. */
export function compile(authorization: Authorization): CompiledPolicy {
  const rules: CompiledRule[] = []
  const policy: CompiledPolicy = { key: authorizationKey(authorization), authorization, rules }
  for (const [index, rule] of authorization.rules.entries())
    rules.push({
      policy,
      rule: index,
      matches: compileRule(rule, authorization.action),
      verdict: undefined,
    })
  return policy
}

function compileRule(rule: AuthorizationRule, action: Authorization['action']): Test {
  return all(rule.clauses.map(clause => compileClause(clause, action)))
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
