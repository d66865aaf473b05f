/** `toAllow`, `toDeny`, `toBeDecidedBy`: plain functions for `expect.extend`, which every version of Vitest has. */
import { PolicyError } from '../errors.ts'
import { checkDecidedBy, type DecidedBy } from '../test-file/decided-by.ts'
import { failureText, mistakesOf } from '../test-file/run-tests.ts'
import type { PolicyExpectation } from '../test-file/test-case.ts'
import type { PolicyDecision, PolicyTestRequest, TestPolicies } from './load-policies.ts'

/** What `expect(policies)` and `expect(policies.decide(…))` can be asked. */
export interface PolicyMatchers<R = unknown> {
  /** The request is let through. The request is left out when `expect` was given a decision. */
  toAllow(request?: PolicyTestRequest): R
  /** The request is refused. */
  toDeny(request?: PolicyTestRequest): R
  /**
   * `shop/web`, `shop/web[rule 0]` (rules count from 0), `default` when no policy applies, `none` when ALLOW policies apply
   * and none of them matches.
   */
  toBeDecidedBy(by: DecidedBy, request?: PolicyTestRequest): R
}

declare global {
  namespace Chai {
    // Not Vitest's own `Matchers`, whose type parameters are others in each of its versions.
    interface Assertion extends PolicyMatchers<void> {}
  }
}

/** What Vitest, and others with its `expect`, give to a matcher. */
export interface MatcherContext {
  readonly isNot?: boolean
}

export interface MatcherResult {
  readonly pass: boolean
  message(): string
}

/** For `expect.extend(policyMatchers)`, in a setup file or in the test. */
export const policyMatchers = Object.freeze({
  toAllow(this: MatcherContext, received: unknown, request?: PolicyTestRequest): MatcherResult {
    return judge(this, decisionOf('toAllow', received, request), { verdict: 'allow' })
  },
  toDeny(this: MatcherContext, received: unknown, request?: PolicyTestRequest): MatcherResult {
    return judge(this, decisionOf('toDeny', received, request), { verdict: 'deny' })
  },
  toBeDecidedBy(
    this: MatcherContext,
    received: unknown,
    by: string,
    request?: PolicyTestRequest,
  ): MatcherResult {
    const checked = checkDecidedBy(by, message => {
      throw new PolicyError('AMBIENT_E_POLICY_REQUEST', `toBeDecidedBy: ${message}`)
    })
    return judge(
      this,
      decisionOf('toBeDecidedBy', received, request),
      checked === undefined ? {} : { by: checked },
    )
  },
})

function judge(
  { isNot = false }: MatcherContext,
  { question, verdict, passed, missed }: PolicyDecision,
  expected: Partial<PolicyExpectation>,
): MatcherResult {
  const pass = mistakesOf({ ...expected, verdict: expected.verdict ?? verdict.verdict }, verdict).length === 0
  if (pass !== isNot) passed()
  else if (expected.by !== undefined) missed(expected.by)
  return { pass, message: () => failureText(question, expected, verdict, isNot) }
}

function decisionOf(
  matcher: string,
  received: unknown,
  request: PolicyTestRequest | undefined,
): PolicyDecision {
  if (isDecision(received) && request === undefined) return received
  if (isPolicies(received) && request !== undefined) return received.decide(request)
  throw new PolicyError(
    'AMBIENT_E_POLICY_REQUEST',
    `${matcher}: expected expect(policies).${matcher}(…, { from, to }) with the policies of loadPolicies(), or expect(policies.decide({ from, to })).${matcher}(…)`,
  )
}

function isPolicies(value: unknown): value is TestPolicies {
  return typeof value === 'object' && value !== null && 'decide' in value && 'documents' in value
}

function isDecision(value: unknown): value is PolicyDecision {
  return typeof value === 'object' && value !== null && 'question' in value && 'verdict' in value
}
