/** Runs the cases of a file of tests against policies. */
import { type CoverageRecorder, createCoverageRecorder } from '../coverage/recorder.ts'
import type { CoverageItem } from '../coverage/items.ts'
import { createEvaluator } from '../evaluator/create-evaluator.ts'
import type { EvaluatorDocuments, PolicyEvaluator } from '../evaluator/policy-evaluator.ts'
import { formatVerdict } from '../evaluator/format-verdict.ts'
import type { PolicyRequest } from '../evaluator/request.ts'
import type { Enforcer, PolicyDialect, PolicyVerdict } from '../evaluator/verdict.ts'
import { decidedBy, wasDecidedBy } from './decided-by.ts'
import { describeRequest } from './describe-request.ts'
import type { PolicyExpectation, PolicyTestCase, PolicyTestFile, PolicyTestSettings } from './test-case.ts'

export interface PolicyTestResult {
  readonly test: PolicyTestCase
  readonly passed: boolean
  readonly verdict: PolicyVerdict
  /** What was asked, expected and found, and why; absent when it passed. */
  readonly message?: string
}

export interface PolicyTestRun {
  readonly results: readonly PolicyTestResult[]
  /** What the policies hold to be exercised, and rules that tests miss. */
  readonly items: readonly CoverageItem[]
  /** What tests that passed exercised, once per test. */
  readonly exercised: readonly CoverageItem[]
}

/** What a test is asked about. */
export interface PolicyQuestion {
  readonly request: PolicyRequest
  readonly dialect: PolicyDialect
  readonly enforcer?: Enforcer
}

/** Policies that are asked by tests: an evaluator for each dialect that is asked for. */
export interface PolicyBench {
  decide(question: PolicyQuestion): PolicyVerdict
  readonly coverage: CoverageRecorder
}

export function createPolicyBench(documents: EvaluatorDocuments, settings: PolicyTestSettings): PolicyBench {
  const evaluators = new Map<PolicyDialect, PolicyEvaluator>()
  return {
    coverage: createCoverageRecorder(documents, settings),
    decide({ request, dialect, enforcer }) {
      const evaluator = evaluators.get(dialect) ?? createEvaluator(documents, { ...settings, dialect })
      evaluators.set(dialect, evaluator)
      return evaluator.decide(request, enforcer)
    },
  }
}

/** Every case in order. Never throws for what the policies or the cases hold. */
export function runPolicyTests(file: PolicyTestFile, documents: EvaluatorDocuments): PolicyTestRun {
  const bench = createPolicyBench(documents, file.settings)
  const exercised: CoverageItem[] = []
  const missing: CoverageItem[] = []
  const results = file.cases.map((test): PolicyTestResult => {
    const verdict = bench.decide(test)
    const mistakes = mistakesOf(test.expected, verdict)
    if (mistakes.includes('by'))
      missing.push(...bench.coverage.missing(test.expected.by ?? '', test.position))
    if (mistakes.length > 0)
      return { test, passed: false, verdict, message: failureText(test, test.expected, verdict) }
    exercised.push(...bench.coverage.record(test.request, test.enforcer, verdict))
    return { test, passed: true, verdict }
  })
  return { results, items: [...bench.coverage.items, ...missing], exercised }
}

/** What of the verdict is not as expected. */
export function mistakesOf(
  { verdict, by, status }: PolicyExpectation,
  found: PolicyVerdict,
): readonly string[] {
  return [
    ...(verdict === found.verdict ? [] : ['verdict']),
    ...(by === undefined || wasDecidedBy(by, found) ? [] : ['by']),
    ...(status === undefined || status === found.status ? [] : ['status']),
  ]
}

/** The request, expected and found, and the explanation of what was found. Stable text. */
export function failureText(
  { request, dialect }: PolicyQuestion,
  expected: Partial<PolicyExpectation>,
  verdict: PolicyVerdict,
  isNot = false,
): string {
  const found = {
    verdict: verdict.verdict,
    by: decidedBy(verdict),
    ...(expected.status === undefined ? {} : { status: verdict.status ?? 'none' }),
  }
  const explanation = formatVerdict(request, verdict).trimEnd().split('\n')
  return [
    `${describeRequest(request)} (${dialect})`,
    `  expected: ${isNot ? 'not ' : ''}${expectationText(expected)}`,
    `  found:    ${expectationText(found)}`,
    ...explanation.map(line => `  ${line}`),
  ].join('\n')
}

function expectationText(terms: {
  readonly verdict?: string
  readonly by?: string
  readonly status?: number | string
}): string {
  return [
    terms.verdict ?? 'decided',
    ...(terms.by === undefined ? [] : [`by ${terms.by}`]),
    ...(terms.status === undefined ? [] : [`with status ${terms.status}`]),
  ].join(' ')
}
