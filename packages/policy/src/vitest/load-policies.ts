/** Policies for a test to ask. */
import type { AuthorizationPolicy } from '../documents/authorization-policy.ts'
import type { PeerAuthentication } from '../documents/peer-authentication.ts'
import type { RequestAuthentication } from '../documents/request-authentication.ts'
import { PolicyError } from '../errors.ts'
import { defaults } from '../defaults.ts'
import type { SecurityDocument } from '../builders/manifest.ts'
import type { RequestSource } from '../evaluator/request.ts'
import type { Enforcer, PolicyDialect, PolicyVerdict } from '../evaluator/verdict.ts'
import { QUESTION_FIELDS } from '../test-file/read-layer.ts'
import { createPolicyBench, type PolicyQuestion } from '../test-file/run-tests.ts'
import {
  completeDestination,
  type Fail,
  type KnownWorkload,
  parseDestination,
  parseEnforcer,
  parseSource,
  type RequestTerms,
  requestOf,
  usualDialect,
} from '../test-file/terms.ts'
import type { PolicyTestSettings } from '../test-file/test-case.ts'
import { nearest } from '../yaml/nearest.ts'
import { quote } from '../yaml/problem.ts'
import { COVERAGE_FOLDER, openSink } from './coverage-files.ts'
import { type PolicyFileDocuments, type PolicyPath, readPolicyFiles } from './read-policy-files.ts'

/** A request, and who is asked about it. */
export interface PolicyTestRequest extends RequestTerms {
  /** By default the dialect of the policies, else that of a waypoint for a service and of ztunnel for a workload. */
  readonly dialect?: PolicyDialect
  /** `waypoint NAMESPACE/NAME`, `gateway …`, `workload …`, or in full; by default who the destination says. */
  readonly enforcer?: string | Enforcer
}

export interface TestPolicyOptions extends PolicyTestSettings {
  /** Who decides where a request does not say. */
  readonly dialect?: PolicyDialect
  /** Labels and addresses of `NAMESPACE/WORKLOAD`, for requests that name them. */
  readonly workloads?: Readonly<Record<string, KnownWorkload>>
  /** Where a coverage reporter of this run collects, if one does: `coverage/policy` when absent. */
  readonly coverageFolder?: string
}

/** What `expect` is given. */
export interface TestPolicies {
  readonly documents: PolicyFileDocuments
  /** @throws PolicyError `AMBIENT_E_POLICY_REQUEST` for terms that say nothing */
  decide(request: PolicyTestRequest): PolicyDecision
}

/** A verdict, and what it answers. */
export interface PolicyDecision {
  readonly question: PolicyQuestion
  readonly verdict: PolicyVerdict
  /** Counts for the coverage: called by the matchers when a test has passed. */
  passed(): void
  /** Counts a rule that was expected to decide, and that no policy has. */
  missed(by: string): void
}

/**
 * Policies of files and folders, for tests. Documents of other kinds in them are passed over.
 * @throws PolicyError `AMBIENT_E_POLICY_DOCUMENT` with each mistake as `file:line:column: message`, for a path that cannot
 * be read, and when no document in them is of `security.istio.io`
 */
export function loadPolicies(
  paths: PolicyPath | readonly PolicyPath[],
  options: TestPolicyOptions = {},
): TestPolicies {
  const list: readonly PolicyPath[] = typeof paths === 'string' || paths instanceof URL ? [paths] : paths
  return createTestPolicies(readPolicyFiles(list), options)
}

/** Policies that code has built, for tests. */
export function testPolicies(
  documents: readonly SecurityDocument[],
  options: TestPolicyOptions = {},
): TestPolicies {
  const authorizationPolicies: AuthorizationPolicy[] = []
  const peerAuthentications: PeerAuthentication[] = []
  const requestAuthentications: RequestAuthentication[] = []
  for (const document of documents)
    if (document.kind === 'AuthorizationPolicy') authorizationPolicies.push(document)
    else if (document.kind === 'PeerAuthentication') peerAuthentications.push(document)
    else requestAuthentications.push(document)
  return createTestPolicies({ authorizationPolicies, peerAuthentications, requestAuthentications }, options)
}

function createTestPolicies(documents: PolicyFileDocuments, options: TestPolicyOptions): TestPolicies {
  const { dialect, workloads = {}, coverageFolder = COVERAGE_FOLDER, ...settings } = options
  const bench = createPolicyBench(documents, settings)
  const sink = openSink(coverageFolder)
  sink?.items(bench.coverage.items)
  return {
    documents,
    decide(terms) {
      const question = questionOf(terms, dialect, settings, new Map(Object.entries(workloads)))
      const verdict = bench.decide(question)
      return {
        question,
        verdict,
        passed() {
          if (sink === undefined) return
          const exercised = bench.coverage.record(question.request, question.enforcer, verdict)
          if (exercised.length > 0) sink.exercised(exercised)
        },
        missed: by => sink?.items(bench.coverage.missing(by, {})),
      }
    },
  }
}

function questionOf(
  terms: PolicyTestRequest,
  usual: PolicyDialect | undefined,
  { trustDomain = defaults.trustDomain }: PolicyTestSettings,
  workloads: ReadonlyMap<string, KnownWorkload>,
): PolicyQuestion {
  assertTerms(terms)
  const { from, to, dialect, enforcer, ...rest } = terms
  const source = read('from', fail => sourceOf(from, trustDomain, fail))
  const destination = read('to', fail =>
    typeof to === 'string' ? parseDestination(to, workloads, fail) : completeDestination(to, fail),
  )
  const request = requestOf(source, destination, rest)
  const asked = { request, dialect: dialect ?? usual ?? usualDialect(request) }
  if (enforcer === undefined) return asked
  return {
    ...asked,
    enforcer: read('enforcer', fail =>
      typeof enforcer === 'string' ? parseEnforcer(enforcer, fail) : enforcer,
    ),
  }
}

/** In JavaScript no compiler sees a misspelt field, and its test would pass for another reason. */
function assertTerms(terms: PolicyTestRequest): void {
  const unknown = Object.keys(terms).find(key => !QUESTION_FIELDS.some(field => field === key))
  if (unknown === undefined) return
  const similar = nearest(unknown, QUESTION_FIELDS)
  const hint = similar === undefined ? '' : `; did you mean ${quote(similar)}?`
  const message = `unknown field ${quote(unknown)}, expected one of ${QUESTION_FIELDS.join(', ')}${hint}`
  throw new PolicyError('AMBIENT_E_POLICY_REQUEST', message)
}

function sourceOf(from: string | RequestSource, trustDomain: string, fail: Fail): RequestSource | undefined {
  if (typeof from === 'string') return parseSource(from, trustDomain, fail)
  if (from.principal === undefined) return from
  const parsed = parseSource(from.principal, trustDomain, fail)
  return parsed === undefined ? undefined : { ...from, ...parsed }
}

function read<T>(field: string, parse: (fail: Fail) => T | undefined): T {
  let mistake = 'expected a value'
  const value = parse(message => {
    mistake = message
    return undefined
  })
  if (value === undefined) throw new PolicyError('AMBIENT_E_POLICY_REQUEST', `${field}: ${mistake}`)
  return value
}
