/** What a policy that ztunnel enforces loses there. */
import type { LintId } from './catalog.ts'
import type { LintContext } from './finding.ts'
import { fieldsOf } from './rule-fields.ts'
import type { AuthorizationPolicy, PolicyRuleSpec } from '../documents/authorization-policy.ts'
import { parseDryRun } from '../documents/dry-run.ts'
import { gatewaysOf, hasTargets, workloadsOf } from '../where/attached-to.ts'
import { l4EffectOf } from '../where/l4-effect.ts'
import { isL4Key } from '../ztunnel/http-fields.ts'

export function checkZtunnel(context: LintContext): void {
  for (const policy of context.documents.authorizationPolicies)
    if (isEnforcedAtZtunnel(policy, context)) checkPolicy(policy, context)
}

/** Unless all that it selects are ingress gateways or have sidecars, which see HTTP. */
export function isEnforcedAtZtunnel(policy: AuthorizationPolicy, { mesh, settings }: LintContext): boolean {
  if (hasTargets(policy)) return false
  if (mesh === undefined) return true
  const inMesh = { mesh, rootNamespace: settings.rootNamespace }
  const workloads = workloadsOf(policy, inMesh)
  if (workloads.length > 0) return workloads.some(({ proxy }) => proxy !== 'sidecar')
  return gatewaysOf(policy, inMesh).length === 0
}

function checkPolicy(policy: AuthorizationPolicy, context: LintContext): void {
  const { metadata, spec } = policy
  const { action = 'ALLOW' } = spec
  if (action === 'AUDIT' || action === 'CUSTOM') {
    context.report(
      'l4-action',
      policy,
      'spec.action',
      `without targetRefs ztunnel enforces the policy, and it has no ${action}`,
    )
    return
  }
  if (parseDryRun(metadata.annotations['istio.io/dry-run'] ?? '') === true)
    context.report(
      'l4-dry-run',
      policy,
      'metadata.annotations["istio.io/dry-run"]',
      'istiod does not send dry-run policies to ztunnel unless it is told to',
    )
  for (const [index, rule] of (spec.rules ?? []).entries()) {
    checkRule(policy, { rule, index, action }, context)
    checkNegative(policy, { rule, index, action }, context)
  }
}

interface IndexedRule {
  readonly rule: PolicyRuleSpec
  readonly index: number
  readonly action: 'ALLOW' | 'DENY'
}

const OF_EFFECT: Readonly<Record<'dropped' | 'nothing' | 'narrower' | 'wider', readonly [LintId, string]>> = {
  dropped: ['l4-allow-dropped', 'the ALLOW rule is left out there'],
  nothing: ['l4-deny-ignored', 'the DENY rule denies nothing there'],
  narrower: ['l4-deny-narrower', 'the DENY rule denies less there than it says'],
  wider: ['l4-deny-wider', 'the DENY rule denies more there than it says'],
}

function checkRule(policy: AuthorizationPolicy, indexed: IndexedRule, context: LintContext): void {
  const { rule, index, action } = indexed
  checkTrustDomains(policy, indexed, context)
  checkRemote(policy, indexed, context)
  const http = withoutTrustDomains(rule)
  const { effect, unseen } = l4EffectOf(http, action)
  const [first] = unseen
  if (effect === 'as-written' || first === undefined) return
  const [id, text] = OF_EFFECT[effect]
  const names = [...new Set(unseen.map(path => nameOf(path, rule)))].join(', ')
  context.report(id, policy, `spec.rules[${index}].${first}`, `ztunnel does not see ${names}: ${text}`)
}

function nameOf(path: string, { when = [] }: PolicyRuleSpec): string {
  const condition = /^when\[(\d+)\]$/.exec(path)?.[1]
  return condition === undefined
    ? path.slice(path.lastIndexOf('.') + 1)
    : (when[Number(condition)]?.key ?? path)
}

/** They have a finding of their own. */
function withoutTrustDomains(rule: PolicyRuleSpec): PolicyRuleSpec {
  const from = rule.from?.map(({ source: { trustDomains: _, notTrustDomains: __, ...source } }) => ({
    source,
  }))
  return from === undefined ? rule : { ...rule, from }
}

function checkTrustDomains(
  policy: AuthorizationPolicy,
  { rule, index, action }: IndexedRule,
  context: LintContext,
): void {
  for (const [at, { source }] of (rule.from ?? []).entries()) {
    const field = (['trustDomains', 'notTrustDomains'] as const).find(name => source[name] !== undefined)
    if (field === undefined) continue
    const alone = Object.keys(source).every(name => /trustDomains/i.test(name))
    const effect = alone
      ? 'the source never matches'
      : `the rule ${action === 'ALLOW' ? 'allows' : 'denies'} more than it says`
    context.report(
      'l4-trust-domains',
      policy,
      `spec.rules[${index}].from[${at}].source.${field}`,
      `ztunnel gets the source without ${field}: ${effect}`,
    )
  }
}

function checkRemote(policy: AuthorizationPolicy, { rule, index }: IndexedRule, context: LintContext): void {
  for (const { key, path } of fieldsOf(rule, index))
    if (key === 'remote.ip')
      context.report('l4-remote-ip', policy, path, 'ztunnel does not know the address of the original client')
}

/** Fields of the caller's identity; without a positive one, callers without identity match. */
const IDENTITY_KEYS = new Set(['source.principal', 'source.namespace', 'source.serviceAccount'])

function checkNegative(
  policy: AuthorizationPolicy,
  { rule, index, action }: IndexedRule,
  context: LintContext,
): void {
  if (action !== 'ALLOW' || l4EffectOf(rule, action).effect === 'dropped') return
  const fields = fieldsOf(rule, index).filter(
    ({ key }) => (IDENTITY_KEYS.has(key) && isL4Key(key)) || key === 'source.serviceAccount',
  )
  const proven = fields.some(({ clause, negated }) => clause === 'when' && !negated)
  const negative = fields.find(
    field =>
      field.negated &&
      !fields.some(
        other => !other.negated && other.clause === field.clause && other.alternative === field.alternative,
      ) &&
      (field.clause === 'from' || !everySourceProves(rule)),
  )
  if (negative === undefined || proven) return
  context.report(
    'negative-only',
    policy,
    negative.path,
    'callers in plaintext, without any identity, pass: the rule says only who the caller is not',
  )
}

function everySourceProves({ from = [] }: PolicyRuleSpec): boolean {
  return (
    from.length > 0 &&
    from.every(({ source }) => [source.principals, source.namespaces, source.serviceAccounts].some(Boolean))
  )
}
