/** What concerns one enforcer in Envoy's dialects: attached policies, others that one could expect, issuers of tokens. */
import { attachmentAtEnvoy } from './attachment.ts'
import type { ResolvedEnforcer } from './enforcer.ts'
import type { ResolvedDocuments } from './policy-evaluator.ts'
import type { AuthorizationPolicy } from '../documents/authorization-policy.ts'
import type { JwtRule } from '../documents/request-authentication.ts'

export interface EnvoySelection {
  /** In order of keys. */
  readonly attached: readonly {
    readonly key: string
    readonly document: AuthorizationPolicy
    readonly by: string
  }[]
  /** In order of keys. */
  readonly elsewhere: readonly {
    readonly policy: string
    readonly document: AuthorizationPolicy
    readonly reason: string
  }[]
  /** The rules of every attached RequestAuthentication, by issuer. */
  readonly jwtRules: readonly JwtRule[]
}

export function selectForEnvoy(
  documents: ResolvedDocuments,
  enforcer: ResolvedEnforcer,
  rootNamespace: string,
): EnvoySelection {
  const attached: EnvoySelection['attached'][number][] = []
  const elsewhere: EnvoySelection['elsewhere'][number][] = []
  for (const key of [...documents.authorizationPolicies.keys()].sort()) {
    const document = documents.authorizationPolicies.get(key)
    const found = document && attachmentAtEnvoy(document, enforcer, rootNamespace)
    if (document === undefined || found === undefined) continue
    if (found.attached) attached.push({ key, document, by: found.by })
    else elsewhere.push({ policy: key, document, reason: found.why })
  }
  const jwtRules = documents.requestAuthentications
    .filter(document => attachmentAtEnvoy(document, enforcer, rootNamespace)?.attached === true)
    .flatMap(({ spec }) => spec.jwtRules ?? [])
    .sort((a, b) => (a.issuer < b.issuer ? -1 : a.issuer > b.issuer ? 1 : 0))
  return { attached, elsewhere, jwtRules }
}
