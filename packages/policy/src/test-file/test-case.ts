/** Tests of policies, as a file of them says. */
import type { PathNormalization } from '../waypoint/normalize-path.ts'
import type { SourcePosition } from '../yaml/problem.ts'
import type { PolicyRequest } from '../evaluator/request.ts'
import type { Enforcer, PolicyDialect } from '../evaluator/verdict.ts'
import type { DecidedBy } from './decided-by.ts'

/** One `*.policy-test.yaml`. */
export interface PolicyTestFile {
  readonly file: string
  /** Files and folders of policies, relative to the folder of the file. */
  readonly policies: readonly string[]
  readonly settings: PolicyTestSettings
  /** Every combination and every row, in the order of the file. */
  readonly cases: readonly PolicyTestCase[]
}

/** What the mesh is told once. */
export interface PolicyTestSettings {
  readonly rootNamespace?: string
  readonly trustDomain?: string
  readonly trustDomainAliases?: readonly string[]
  readonly pathNormalization?: PathNormalization
  readonly custom?: 'deny' | 'allow'
}

/** One request, and what is to become of it. */
export interface PolicyTestCase {
  /** As the file names it, or the request in a line. */
  readonly name: string
  readonly position: SourcePosition
  readonly request: PolicyRequest
  readonly dialect: PolicyDialect
  /** Absent: the one that the destination says. */
  readonly enforcer?: Enforcer
  readonly expected: PolicyExpectation
}

export interface PolicyExpectation {
  readonly verdict: 'allow' | 'deny'
  readonly by?: DecidedBy
  /** Of the answer on the wire. */
  readonly status?: number
}
