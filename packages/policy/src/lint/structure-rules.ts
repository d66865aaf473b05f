/** Rules that say too much, and rules that are there twice. */
import type { LintContext } from './finding.ts'
import { fieldsOf } from './rule-fields.ts'
import type { AuthorizationPolicy, PolicyRuleSpec } from '../documents/authorization-policy.ts'
import { hasEmptySelector, hasTargets } from '../where/attached-to.ts'
import { quote } from '../yaml/problem.ts'

export function checkStructure(context: LintContext): void {
  for (const policy of context.documents.authorizationPolicies) {
    if (hasEmptySelector(policy))
      context.report(
        'empty-selector',
        policy,
        'spec.selector',
        'the selector has no labels: it selects no workload',
      )
    checkDuplicates(policy, context)
    for (const [index, rule] of (policy.spec.rules ?? []).entries()) {
      checkWide(policy, rule, index, context)
      checkAddresses(policy, rule, index, context)
    }
  }
}

function checkDuplicates(policy: AuthorizationPolicy, context: LintContext): void {
  const seen = new Map<string, number>()
  for (const [index, rule] of (policy.spec.rules ?? []).entries()) {
    const text = canonicalText(rule)
    const first = seen.get(text)
    if (first === undefined) seen.set(text, index)
    else context.report('duplicate-rule', policy, `spec.rules[${index}]`, `the rule is rules[${first}] again`)
  }
}

/** Equal for rules that differ in the order of values, alternatives and conditions only. */
export function canonicalText(value: unknown): string {
  if (Array.isArray(value)) return `[${[...new Set(value.map(canonicalText))].sort().join()}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const entries = Object.entries(value).filter(([, item]) => item !== undefined)
  return `{${entries
    .map(([key, item]) => `${JSON.stringify(key)}:${canonicalText(item)}`)
    .sort()
    .join()}}`
}

function checkWide(
  policy: AuthorizationPolicy,
  rule: PolicyRuleSpec,
  index: number,
  context: LintContext,
): void {
  if ((policy.spec.action ?? 'ALLOW') !== 'ALLOW') return
  const fields = fieldsOf(rule, index)
  if (fields.length === 0)
    context.report(
      'allows-everything',
      policy,
      `spec.rules[${index}]`,
      'the rule has no conditions: it allows every connection, those without identity too',
    )
  for (const { key, negated, values, path } of fields)
    for (const [at, value] of values.entries()) {
      const problem = negated ? undefined : wideProblem(key, value)
      if (problem !== undefined) context.report('wide-wildcard', policy, `${path}[${at}]`, problem)
    }
}

function wideProblem(key: string, value: string): string | undefined {
  if (key === 'source.principal' && value.startsWith('*') && value !== '*')
    return `${quote(value)} matches in every trust domain, and in every namespace that it does not name`
  if (key === 'source.namespace' && value === '*')
    return '"*" matches every namespace: it asks for an identity only'
  if ((key === 'source.ip' || key === 'remote.ip') && /\/0$/.test(value))
    return `${quote(value)} matches every address of its family`
  if (['hosts', 'methods', 'paths'].includes(key) && value === '*') return `"*" does not restrict ${key}`
  return undefined
}

function checkAddresses(
  policy: AuthorizationPolicy,
  rule: PolicyRuleSpec,
  index: number,
  context: LintContext,
): void {
  if (!hasTargets(policy)) return
  for (const { key, path, negated } of fieldsOf(rule, index))
    if (key === 'source.ip')
      context.report(
        'source-ip-at-waypoint',
        policy,
        path,
        `at Istio's own waypoint this ${negated ? 'always holds' : 'never matches'}: it does not know the caller's address`,
      )
}
