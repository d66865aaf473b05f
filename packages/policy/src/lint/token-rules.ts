/** Tokens: who verifies them, who asks for them, and CUSTOM policies, whose providers answer for themselves. */
import type { LintContext } from './finding.ts'
import { fieldsOf } from './rule-fields.ts'
import type { AuthorizationPolicy, PolicyTargetReference } from '../documents/authorization-policy.ts'
import type { RequestAuthentication } from '../documents/request-authentication.ts'
import { gatewaysOf, hasTargets, isFor, targetOf } from '../where/attached-to.ts'
import { keyOfNamed, type MeshFacts } from '../where/mesh-facts.ts'
import { matchesSelector } from '../ztunnel/selector.ts'
import { quote } from '../yaml/problem.ts'

export function checkTokens(context: LintContext): void {
  const { authorizationPolicies, requestAuthentications } = context.documents
  for (const policy of authorizationPolicies) {
    checkIssuers(policy, context)
    checkProvider(policy, context)
  }
  for (const policy of requestAuthentications) {
    const required = authorizationPolicies.some(
      other => shareTarget(other, policy, context) && asksForToken(other),
    )
    if ((policy.spec.jwtRules?.length ?? 0) > 0 && !required)
      context.report(
        'jwt-not-required',
        policy,
        'spec.jwtRules',
        'no policy for the same target asks for a token: requests without one pass',
      )
    checkAttachment(policy, context)
  }
}

/** At ztunnel the rule is left out anyway, which is said elsewhere. */
function checkIssuers(policy: AuthorizationPolicy, context: LintContext): void {
  if (!hasTargets(policy) && !mayBeAtGateway(policy, context)) return
  const { requestAuthentications } = context.documents
  const rules = requestAuthentications
    .filter(each => shareTarget(policy, each, context))
    .flatMap(({ spec }) => spec.jwtRules ?? [])
  for (const [index, rule] of (policy.spec.rules ?? []).entries())
    for (const { key, path, negated, values } of fieldsOf(rule, index)) {
      if (negated || !key.startsWith('request.auth.')) continue
      if (rules.length === 0)
        context.report(
          'jwt-without-issuer',
          policy,
          path,
          'no RequestAuthentication verifies tokens for this target',
        )
      else if (key === 'request.auth.principal')
        for (const [at, value] of values.entries()) {
          const issuer = exactIssuer(value)
          if (issuer !== undefined && !rules.some(each => each.issuer === issuer))
            context.report(
              'jwt-without-issuer',
              policy,
              `${path}[${at}]`,
              `no RequestAuthentication for this target has the issuer ${quote(issuer)}`,
            )
        }
    }
}

/** Split at the last slash; `undefined` where a wildcard stands for the issuer or part of it. */
function exactIssuer(value: string): string | undefined {
  const slash = value.lastIndexOf('/')
  return slash < 0 || value.startsWith('*') ? undefined : value.slice(0, slash)
}

/** An ALLOW that wants a token, or a DENY of what has none. */
function asksForToken({ spec }: AuthorizationPolicy): boolean {
  const wants = spec.action === 'DENY'
  return (spec.rules ?? []).some((rule, index) =>
    fieldsOf(rule, index).some(({ key, negated }) => key.startsWith('request.auth.') && negated === wants),
  )
}

/** Without a mesh: a policy with a selector may be for an ingress gateway. */
function mayBeAtGateway(policy: AuthorizationPolicy, { mesh, settings }: LintContext): boolean {
  return mesh !== undefined && gatewaysOf(policy, { mesh, rootNamespace: settings.rootNamespace }).length > 0
}

/** A RequestAuthentication without targetRefs is for gateways and sidecars. */
function checkAttachment(policy: RequestAuthentication, context: LintContext): void {
  const { mesh, settings } = context
  if (hasTargets(policy)) return
  if (mesh !== undefined && gatewaysOf(policy, { mesh, rootNamespace: settings.rootNamespace }).length > 0)
    return
  const path = policy.spec.selector === undefined ? 'spec' : 'spec.selector'
  context.report(
    'request-authentication-at-ztunnel',
    policy,
    path,
    'without targetRefs no waypoint enforces it, and ztunnel sees no tokens',
  )
}

function checkProvider(policy: AuthorizationPolicy, { settings, report }: LintContext): void {
  const name = policy.spec.provider?.name
  const { extensionProviders } = settings
  if (policy.spec.action !== 'CUSTOM' || name === undefined || extensionProviders === undefined) return
  if (!extensionProviders.includes(name))
    report('unknown-provider', policy, 'spec.provider.name', `no extension provider is named ${quote(name)}`)
}

/** Whether some traffic could be judged by both. */
function shareTarget(
  policy: AuthorizationPolicy,
  other: RequestAuthentication,
  { mesh, settings }: LintContext,
): boolean {
  const { rootNamespace } = settings
  if (hasTargets(policy) !== hasTargets(other)) return false
  if (hasTargets(policy)) {
    const names = (each: AuthorizationPolicy | RequestAuthentication): readonly string[] =>
      (each.spec.targetRefs ?? []).flatMap(reference => targetNames(reference, each, { mesh, rootNamespace }))
    const others = names(other)
    return names(policy).some(name => name === '*' || others.includes(name) || others.includes('*'))
  }
  const { namespace } = policy.metadata
  const labels = policy.spec.selector?.matchLabels ?? {}
  if (isFor(other, { namespace, labels }, rootNamespace)) return true
  return (
    isFor(
      policy,
      { namespace: other.metadata.namespace, labels: other.spec.selector?.matchLabels ?? {} },
      rootNamespace,
    ) || matchesSelector(other.spec.selector, labels)
  )
}

/** A service is also behind its waypoint's Gateway. `*`: a class. */
function targetNames(
  reference: PolicyTargetReference,
  policy: AuthorizationPolicy | RequestAuthentication,
  { mesh, rootNamespace }: { readonly mesh: MeshFacts | undefined; readonly rootNamespace: string },
): readonly string[] {
  if (reference.kind === 'GatewayClass') return ['*']
  const own = `${reference.kind} ${policy.metadata.namespace}/${reference.name}`
  if (mesh === undefined) return [own, ...(reference.kind === 'Gateway' ? ['Gateway'] : [])]
  const found = targetOf(reference, policy, { mesh, rootNamespace })
  if (found.kind === 'service' && found.waypoint !== undefined)
    return [own, `Gateway ${keyOfNamed(found.waypoint)}`]
  return [own]
}
