/**
 * What differs and is not compared: which tokens a RequestAuthentication accepts and how it reads them (the comparison knows
 * its issuers), whom a CUSTOM policy asks, and whether a name is a Service or a ServiceEntry.
 */
import type { AuthorizationPolicy } from '../documents/authorization-policy.ts'
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
  return [...tokenChanges(before, after), ...providerChanges(before, after), ...kindChanges(before, after)]
}

/** A request has a service's name, and not whether a Service or a ServiceEntry bears it. */
function kindChanges(before: ResolvedDocuments, after: ResolvedDocuments): readonly Unjudged[] {
  const [was, is] = [targetedKinds(before), targetedKinds(after)]
  return [...new Set([...was.keys(), ...is.keys()])].flatMap(name => {
    const [left, right] = [was.get(name) ?? [], is.get(name) ?? []]
    if (new Set([...left, ...right].map(({ kind }) => kind)).size < 2 || textOf(left) === textOf(right))
      return []
    return {
      dialects: ['envoy-http', 'envoy-tcp'],
      enforcer: 'waypoint',
      reason: `a Service and a ServiceEntry of one name, ${name}, are targets: which of them is called is not compared`,
      known: false,
    }
  })
}

interface Targeting {
  readonly kind: string
  readonly spec: AuthorizationPolicy['spec']
}

/** By `namespace/name`: who targets it, as which kind. */
function targetedKinds({
  authorizationPolicies,
}: ResolvedDocuments): ReadonlyMap<string, readonly Targeting[]> {
  const found = new Map<string, readonly Targeting[]>()
  for (const { metadata, spec } of authorizationPolicies.values())
    for (const { kind, name } of spec.targetRefs ?? [])
      if (kind === 'Service' || kind === 'ServiceEntry') {
        const key = `${metadata.namespace}/${name}`
        found.set(key, [...(found.get(key) ?? []), { kind, spec }])
      }
  return found
}

function tokenChanges(before: ResolvedDocuments, after: ResolvedDocuments): readonly Unjudged[] {
  const [left, right] = [byKey(before), byKey(after)]
  return [...new Set([...left.keys(), ...right.keys()])].flatMap(key => {
    const [was, is] = [left.get(key), right.get(key)]
    if (specText(was) === specText(is)) return []
    const sameIssuer = (was?.spec.jwtRules ?? []).some(rule =>
      (is?.spec.jwtRules ?? []).some(
        other => rule.issuer === other.issuer && ruleText(rule) !== ruleText(other),
      ),
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
  return JSON.stringify([selector, targetRefs, jwtRules.map(ruleText)])
}

/** How long keys may take to be fetched decides over no token. */
function ruleText({ timeoutMs: _, ...rule }: JwtRule): string {
  return JSON.stringify(rule)
}

function textOf(targeting: readonly Targeting[]): string {
  return JSON.stringify(targeting)
}
