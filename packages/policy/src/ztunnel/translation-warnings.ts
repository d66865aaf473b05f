/** What a document loses on its way to L4, in words for the one who wrote it. */
import {
  hasHttpOperation,
  hasHttpSource,
  hasIgnoredSource,
  hasL4Operation,
  hasL4Source,
  isL4Key,
} from './http-fields.ts'
import { quote } from '../yaml/problem.ts'
import type {
  AuthorizationPolicy,
  PolicyOperation,
  PolicyRuleSpec,
  PolicySource,
} from '../documents/authorization-policy.ts'

/** For a policy with action ALLOW or DENY and without targetRefs. */
export function translationWarnings(policy: AuthorizationPolicy): readonly string[] {
  const { spec } = policy
  const allow = (spec.action ?? 'ALLOW') === 'ALLOW'
  const rules = spec.rules ?? []
  const warnings = rules.flatMap((rule, index) =>
    [...(allow ? allowWarnings(rule) : denyWarnings(rule)), ...sharedWarnings(rule, allow)].map(
      text => `rules[${index}]: ${text}`,
    ),
  )
  const dropped = (rule: PolicyRuleSpec): boolean => httpParts(rule).length > 0
  if (allow && rules.length > 0 && rules.every(dropped))
    warnings.push('no rule is left at L4: every connection is denied that no other policy allows')
  if (!allow && rules.length === 0)
    warnings.push('a DENY policy without rules never matches: it denies nothing')
  if (spec.selector !== undefined && Object.keys(spec.selector.matchLabels).length === 0)
    warnings.push('an empty selector selects no workload: the policy is enforced nowhere')
  return warnings
}

function allowWarnings(rule: PolicyRuleSpec): readonly string[] {
  const parts = httpParts(rule)
  if (parts.length > 0)
    return [
      `${parts.join(', ')} cannot be judged at L4: the whole ALLOW rule is dropped there; it needs a waypoint`,
    ]
  return isNegativeOnly(rule)
    ? ['only negative identity fields: callers in plaintext, without identity, are allowed by them']
    : []
}

/** Fields of HTTP are dropped; a source, operation or condition of which nothing is left never matches. */
function denyWarnings(rule: PolicyRuleSpec): readonly string[] {
  const names = httpParts(rule)
  if (names.length === 0) return []
  const { to = [], from = [], when = [] } = rule
  const operations = to.map(({ operation }) => partOf(hasHttpOperation(operation), hasL4Operation(operation)))
  const sources = from.map(({ source }) => partOf(hasHttpSource(source), hasL4Source(source)))
  const gone = (parts: readonly Part[]): boolean => parts.length > 0 && parts.every(part => part === 'gone')
  const parts = [...operations, ...sources]
  const unseen = `${names.join(', ')} cannot be judged at L4`
  if (gone(operations) || gone(sources) || when.some(({ key }) => !isL4Key(key)))
    return [`${unseen}: the DENY rule denies nothing there; it needs a waypoint`]
  return [
    ...(parts.includes('gone')
      ? [`${unseen}: the DENY rule denies less there than it says; it needs a waypoint`]
      : []),
    ...(parts.includes('wider') ? [`${unseen}: the DENY rule denies more there than it says`] : []),
  ]
}

/** What becomes of a source or operation at L4. */
type Part = 'whole' | 'wider' | 'gone'

function partOf(http: boolean, l4: boolean): Part {
  if (!http) return 'whole'
  return l4 ? 'wider' : 'gone'
}

function sharedWarnings(rule: PolicyRuleSpec, allow: boolean): readonly string[] {
  const { from = [] } = rule
  const warnings: string[] = []
  if (from.some(({ source }) => hasIgnoredSource(source))) {
    const alone = from.some(({ source }) => hasIgnoredSource(source) && !hasL4Source(source))
    const effect = alone
      ? 'the source never matches'
      : allow
        ? 'the rule allows more than it says'
        : 'the rule denies more than it says'
    warnings.push(`trustDomains are ignored at L4: ${effect}; write the trust domain into principals`)
  }
  for (const value of principals(rule))
    if (value.includes('spiffe://'))
      warnings.push(`the principal ${quote(value)} never matches: write it without "spiffe://"`)
  return warnings
}

function httpParts({ to = [], from = [], when = [] }: PolicyRuleSpec): readonly string[] {
  return [
    ...(to.some(({ operation }) => hasHttpOperation(operation))
      ? fieldNames(to.map(part => part.operation))
      : []),
    ...(from.some(({ source }) => hasHttpSource(source)) ? fieldNames(from.map(part => part.source)) : []),
    ...when.filter(({ key }) => !isL4Key(key)).map(({ key }) => key),
  ]
}

function fieldNames(parts: readonly (PolicyOperation | PolicySource)[]): readonly string[] {
  const names = parts.flatMap(part => Object.keys(part))
  return [...new Set(names)].filter(name => HTTP_NAME.test(name))
}

const HTTP_NAME = /^(not)?(hosts|methods|paths|requestPrincipals|remoteIpBlocks)$/i

/** Every source of the rule asks only for who the caller is not. */
function isNegativeOnly({ from = [], when = [] }: PolicyRuleSpec): boolean {
  const negative = (source: PolicySource): boolean => {
    const names = Object.keys(source)
    return names.length > 0 && names.every(name => /^not(Principals|Namespaces|ServiceAccounts)$/.test(name))
  }
  const proves = when.some(
    ({ key, values }) => /^source\.(principal|namespace)$/.test(key) && values !== undefined,
  )
  return from.some(({ source }) => negative(source)) && !proves
}

function principals({ from = [], when = [] }: PolicyRuleSpec): readonly string[] {
  return [
    ...from.flatMap(({ source }) => [...(source.principals ?? []), ...(source.notPrincipals ?? [])]),
    ...when
      .filter(({ key }) => key === 'source.principal')
      .flatMap(({ values = [], notValues = [] }) => [...values, ...notValues]),
  ]
}
