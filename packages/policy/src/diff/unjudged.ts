/**
 * What differs and is not compared: which tokens a RequestAuthentication accepts and how it reads them (the comparison knows
 * its issuers), and whom a CUSTOM policy asks.
 */
import type { JwtRule, RequestAuthentication } from '../documents/request-authentication.ts'
import { keyOfDocument, type ResolvedDocuments } from '../evaluator/policy-evaluator.ts'
import type { Enforcer, PolicyDialect } from '../evaluator/verdict.ts'

export interface Unjudged {
  readonly dialects: readonly PolicyDialect[]
  readonly enforcer: Enforcer['kind']
  readonly reason: string
  /** The comparison knows of it, but not all of it: told only where it found nothing. */
  readonly known: boolean
}

export function unjudgedChanges(before: ResolvedDocuments, after: ResolvedDocuments): readonly Unjudged[] {
  return [...tokenChanges(before, after), ...providerChanges(before, after)]
}

function tokenChanges(before: ResolvedDocuments, after: ResolvedDocuments): readonly Unjudged[] {
  const [left, right] = [byKey(before), byKey(after)]
  return [...new Set([...left.keys(), ...right.keys()])].flatMap(key => {
    const [was, is] = [left.get(key), right.get(key)]
    if (specText(was) === specText(is)) return []
    const sameIssuer = (was?.spec.jwtRules ?? []).some(rule =>
      (is?.spec.jwtRules ?? []).some(other => rule.issuer === other.issuer && textOf(rule) !== textOf(other)),
    )
    const splits = [was, is].some(one =>
      one?.spec.jwtRules?.some(rule => rule.spaceDelimitedClaims !== undefined),
    )
    const name = `RequestAuthentication ${(is ?? was)?.metadata.namespace}/${(is ?? was)?.metadata.name}`
    const what = was === undefined ? 'is new' : is === undefined ? 'is gone' : 'differs'
    return {
      dialects: ['envoy-http'],
      enforcer: (is ?? was)?.spec.targetRefs === undefined ? 'workload' : 'waypoint',
      reason: `${name} ${what}: which tokens are refused, and how they are read, is not compared beyond their issuers`,
      known: !sameIssuer && !splits,
    }
  })
}

function providerChanges(before: ResolvedDocuments, after: ResolvedDocuments): readonly Unjudged[] {
  return [...after.authorizationPolicies].flatMap(([key, { metadata, spec }]) => {
    const [was, is] = [before.authorizationPolicies.get(key)?.spec.provider?.name, spec.provider?.name]
    if (was === undefined || is === undefined || was === is) return []
    return {
      dialects: ['envoy-http', 'envoy-tcp'],
      enforcer: spec.targetRefs === undefined ? 'workload' : 'waypoint',
      reason: `CUSTOM ${metadata.namespace}/${metadata.name} asks the provider ${is}, no longer ${was}: what they answer is not compared`,
      known: false,
    }
  })
}

function byKey({ requestAuthentications }: ResolvedDocuments): ReadonlyMap<string, RequestAuthentication> {
  return new Map(requestAuthentications.map(document => [keyOfDocument(document), document]))
}

function specText(document: RequestAuthentication | undefined): string {
  if (document === undefined) return ''
  const { selector, targetRefs, jwtRules = [] } = document.spec
  return JSON.stringify([selector, targetRefs, jwtRules.map(textOf)])
}

/** How long keys may take to be fetched decides over no token. */
function textOf({ timeoutMs: _, ...rule }: JwtRule): string {
  return JSON.stringify(rule)
}
