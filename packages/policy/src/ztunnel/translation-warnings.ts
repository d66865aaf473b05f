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

/** What a rule loses, and which way that goes. */
export interface RuleLoss {
  /**
   * `narrower`: it matches less than it says, or never; `wider`: more; `plaintext`: as it says, callers without identity
   * among them.
   */
  readonly effect: 'narrower' | 'wider' | 'plaintext'
  readonly text: string
}

/** For a rule of a policy with action ALLOW (`allow`) or DENY. */
export function ruleLosses(rule: PolicyRuleSpec, allow: boolean): readonly RuleLoss[] {
  return [...(allow ? allowLosses(rule) : denyLosses(rule)), ...sharedLosses(rule, allow)]
}

/** Fields and `when` keys of a rule that L4 does not see. */
export function unseenFields(rule: PolicyRuleSpec): readonly string[] {
  const names = (rule.from ?? []).flatMap(({ source }) => Object.keys(source))
  return [...httpParts(rule), ...new Set(names.filter(name => /^(not)?trustDomains$/i.test(name)))]
}

/** For a policy with action ALLOW or DENY and without targetRefs. */
export function translationWarnings(policy: AuthorizationPolicy): readonly string[] {
  const { spec } = policy
  const allow = (spec.action ?? 'ALLOW') === 'ALLOW'
  const rules = spec.rules ?? []
  const warnings = rules.flatMap((rule, index) =>
    ruleLosses(rule, allow).map(({ text }) => `rules[${index}]: ${text}`),
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

function allowLosses(rule: PolicyRuleSpec): readonly RuleLoss[] {
  const parts = httpParts(rule)
  if (parts.length > 0) {
    const text = `${parts.join(', ')} cannot be judged at L4: the whole ALLOW rule is dropped there; it needs a waypoint`
    return [{ effect: 'narrower', text }]
  }
  if (!isNegativeOnly(rule)) return []
  const text = 'only negative identity fields: callers in plaintext, without identity, are allowed by them'
  return [{ effect: 'plaintext', text }]
}

/** Fields of HTTP are dropped; a source, operation or condition of which nothing is left never matches. */
function denyLosses(rule: PolicyRuleSpec): readonly RuleLoss[] {
  const names = httpParts(rule)
  if (names.length === 0) return []
  const { to = [], from = [], when = [] } = rule
  const operations = to.map(({ operation }) => partOf(hasHttpOperation(operation), hasL4Operation(operation)))
  const sources = from.map(({ source }) => partOf(hasHttpSource(source), hasL4Source(source)))
  const gone = (parts: readonly Part[]): boolean => parts.length > 0 && parts.every(part => part === 'gone')
  const parts = [...operations, ...sources]
  const unseen = `${names.join(', ')} cannot be judged at L4`
  const narrower = (text: string): RuleLoss => ({ effect: 'narrower', text: `${unseen}: ${text}` })
  if (gone(operations) || gone(sources) || when.some(({ key }) => !isL4Key(key)))
    return [narrower('the DENY rule denies nothing there; it needs a waypoint')]
  const wider = `${unseen}: the DENY rule denies more there than it says`
  return [
    ...(parts.includes('gone')
      ? [narrower('the DENY rule denies less there than it says; it needs a waypoint')]
      : []),
    ...(parts.includes('wider') ? [{ effect: 'wider' as const, text: wider }] : []),
  ]
}

/** What becomes of a source or operation at L4. */
type Part = 'whole' | 'wider' | 'gone'

function partOf(http: boolean, l4: boolean): Part {
  if (!http) return 'whole'
  return l4 ? 'wider' : 'gone'
}

function sharedLosses(rule: PolicyRuleSpec, allow: boolean): readonly RuleLoss[] {
  const { from = [] } = rule
  const losses: RuleLoss[] = []
  if (from.some(({ source }) => hasIgnoredSource(source))) {
    const alone = from.some(({ source }) => hasIgnoredSource(source) && !hasL4Source(source))
    const effect = alone
      ? 'the source never matches'
      : allow
        ? 'the rule allows more than it says'
        : 'the rule denies more than it says'
    const text = `trustDomains are ignored at L4: ${effect}; write the trust domain into principals`
    losses.push({ effect: alone ? 'narrower' : 'wider', text })
  }
  for (const value of principals(rule)) {
    const text = `the principal ${quote(value)} never matches: write it without "spiffe://"`
    if (value.includes('spiffe://')) losses.push({ effect: 'narrower', text })
  }
  return losses
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
