/** What lint finds, and how the rules report it. */
import { lintPage, type LintId, lintRules, type LintSeverity } from './catalog.ts'
import type { MeshFacts } from '../where/mesh-facts.ts'
import type { AuthorizationPolicy } from '../documents/authorization-policy.ts'
import type { PolicyObject } from '../documents/metadata.ts'
import type { PeerAuthentication } from '../documents/peer-authentication.ts'
import type { RequestAuthentication } from '../documents/request-authentication.ts'
import type { SourcePosition } from '../yaml/problem.ts'
import type { PathNormalization } from '../waypoint/normalize-path.ts'

export interface LintFinding {
  readonly id: LintId
  readonly severity: LintSeverity
  readonly kind: 'AuthorizationPolicy' | 'PeerAuthentication' | 'RequestAuthentication'
  /** `namespace/name`. */
  readonly policy: string
  /** Where in the document: `spec.rules[0].to[0].operation.paths[1]`. */
  readonly path: string
  /** Of the rule or field; absent for a document that was not read from a text. */
  readonly position?: SourcePosition
  readonly message: string
  readonly fix: string
  /** The rule's page, from the root of this project's repository; `lintRules[id]` has its text. */
  readonly url: string
}

export interface LintDocuments {
  readonly authorizationPolicies: readonly AuthorizationPolicy[]
  readonly peerAuthentications?: readonly PeerAuthentication[]
  readonly requestAuthentications?: readonly RequestAuthentication[]
}

/** Every option with its value. */
export interface LintSettings {
  readonly rootNamespace: string
  readonly trustDomain: string
  readonly trustDomainAliases: readonly string[]
  readonly pathNormalization: PathNormalization
  /** Names of `extensionProviders`; absent: nobody knows. */
  readonly extensionProviders: readonly string[] | undefined
  readonly requireWaypoint: boolean
  /** Milliseconds since the epoch. */
  readonly nowMs: number
}

/** What each rule is given. */
export interface LintContext {
  readonly documents: Required<LintDocuments>
  /** Absent: rules that need it are silent. */
  readonly mesh: MeshFacts | undefined
  readonly settings: LintSettings
  report(id: LintId, policy: LintedPolicy, path: string, message: string): void
  /** A question was left without an answer, so that what depends on it may be missing. */
  unfinished(what: string): void
}

export type LintedPolicy = AuthorizationPolicy | PeerAuthentication | RequestAuthentication

export type Locate = (policy: PolicyObject, path: string) => SourcePosition | undefined

export function findingOf(
  id: LintId,
  policy: LintedPolicy,
  path: string,
  { message, locate }: { readonly message: string; readonly locate: Locate },
): LintFinding {
  const position = locate(policy, path)
  const { severity, fix } = lintRules[id]
  return {
    id,
    severity,
    kind: policy.kind,
    policy: `${policy.metadata.namespace}/${policy.metadata.name}`,
    path,
    ...(position === undefined ? {} : { position }),
    message,
    fix,
    url: lintPage(id),
  }
}

/** By file, line, column, then by id: the order of reading. */
export function byPlace(a: LintFinding, b: LintFinding): number {
  return (
    compare(a.position?.file ?? '', b.position?.file ?? '') ||
    (a.position?.line ?? 0) - (b.position?.line ?? 0) ||
    (a.position?.column ?? 0) - (b.position?.column ?? 0) ||
    compare(a.policy, b.policy) ||
    compare(a.path, b.path) ||
    compare(a.id, b.id)
  )
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
