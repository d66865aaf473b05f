/** The contract of an evaluator, and its options with every default in place. */
import type { PolicyRequest } from './request.ts'
import type { Enforcer, PolicyDialect, PolicyVerdict } from './verdict.ts'
import { defaults } from '../defaults.ts'
import type { AuthorizationPolicy } from '../documents/authorization-policy.ts'
import type { PeerAuthentication } from '../documents/peer-authentication.ts'
import type { RequestAuthentication } from '../documents/request-authentication.ts'
import type { PathNormalization } from '../waypoint/normalize-path.ts'

export interface EvaluatorDocuments {
  /** Of two with one namespace and name the later counts, as after `kubectl apply`. */
  readonly authorizationPolicies: readonly AuthorizationPolicy[]
  /** Asked in the dialect `ztunnel` only: a sidecar enforces them in TLS, a waypoint takes mTLS only. */
  readonly peerAuthentications?: readonly PeerAuthentication[]
  /** Whose tokens count. */
  readonly requestAuthentications?: readonly RequestAuthentication[]
}

export interface EvaluatorOptions {
  readonly dialect: PolicyDialect
  readonly rootNamespace?: string
  /** The mesh's own. */
  readonly trustDomain?: string
  /** Others that mean the same mesh. ztunnel does not look at them. */
  readonly trustDomainAliases?: readonly string[]
  /** `meshConfig.pathNormalization`. */
  readonly pathNormalization?: PathNormalization
  /** What the providers of CUSTOM policies answer. */
  readonly custom?: 'deny' | 'allow'
  /**
   * As in a mesh of ours at this time, in milliseconds since the epoch: an ALLOW whose `ambient.dev/expires` has passed
   * allows nothing. Absent: as istiod has it, which knows no end.
   */
  readonly at?: number
}

/** Documents become tests when they are first asked; verdicts change nothing. */
export interface PolicyEvaluator {
  readonly dialect: PolicyDialect
  /**
   * What istiod with ztunnel or Envoy decides, and why. Never throws for what the request holds.
   * @param enforcer who enforces; derived from the destination when absent: a ztunnel its workload, an Envoy the waypoint
   * `waypoint` of the destination's service, or the workload's sidecar where no service is named
   */
  decide(request: PolicyRequest, enforcer?: Enforcer): PolicyVerdict
}

export type ResolvedOptions = Readonly<Required<Omit<EvaluatorOptions, 'at'>>>

export interface ResolvedDocuments {
  /** By `namespace/name`. */
  readonly authorizationPolicies: ReadonlyMap<string, AuthorizationPolicy>
  readonly peerAuthentications: readonly PeerAuthentication[]
  readonly requestAuthentications: readonly RequestAuthentication[]
}

export function resolveOptions(options: EvaluatorOptions): ResolvedOptions {
  return Object.freeze({
    dialect: options.dialect,
    rootNamespace: options.rootNamespace ?? defaults.rootNamespace,
    trustDomain: options.trustDomain ?? defaults.trustDomain,
    trustDomainAliases: Object.freeze([...(options.trustDomainAliases ?? [])]),
    pathNormalization: options.pathNormalization ?? defaults.pathNormalization,
    custom: options.custom ?? defaults.custom,
  })
}

export function resolveDocuments(documents: EvaluatorDocuments): ResolvedDocuments {
  return {
    authorizationPolicies: byKey(documents.authorizationPolicies),
    peerAuthentications: [...byKey(documents.peerAuthentications ?? []).values()],
    requestAuthentications: [...byKey(documents.requestAuthentications ?? []).values()],
  }
}

/** `namespace/name`. */
export function keyOfDocument({ metadata }: Keyed): string {
  return `${metadata.namespace}/${metadata.name}`
}

interface Keyed {
  readonly metadata: { readonly namespace: string; readonly name: string }
}

function byKey<T extends Keyed>(documents: readonly T[]): ReadonlyMap<string, T> {
  return new Map(documents.map(document => [keyOfDocument(document), document]))
}
