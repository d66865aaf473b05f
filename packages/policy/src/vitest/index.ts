/**
 * Policies in an application's own tests: matchers for Vitest, and which rules no test has exercised. Vitest is never
 * imported: its `expect.extend` and its reporters take what is here.
 * @packageDocumentation
 */
export {
  loadPolicies,
  type PolicyDecision,
  type PolicyTestRequest,
  type TestPolicies,
  testPolicies,
  type TestPolicyOptions,
} from './load-policies.ts'
export {
  type MatcherContext,
  type MatcherResult,
  policyMatchers,
  type PolicyMatchers,
} from './matchers.ts'
export {
  policyCoverage,
  type PolicyCoverageOptions,
  type PolicyCoverageReporter,
} from './coverage-reporter.ts'
export type { PolicyFileDocuments, PolicyPath } from './read-policy-files.ts'
export type { DecidedBy } from '../test-file/decided-by.ts'
