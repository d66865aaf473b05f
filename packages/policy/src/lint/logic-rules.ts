/** Rules that take nothing, and rules that take nothing of their own: exact, by what each of them takes. */
import type { LintContext } from './finding.ts'
import { hasKnownCaller, isRefuted, knownCaller } from './quick-answers.ts'
import { fieldsOf } from './rule-fields.ts'
import { canonicalText } from './structure-rules.ts'
import { isUnmatchable } from './value-rules.ts'
import type { AuthorizationPolicy, PolicyRuleSpec } from '../documents/authorization-policy.ts'
import { parseDryRun } from '../documents/dry-run.ts'
import type { PolicyDialect } from '../evaluator/verdict.ts'
import { limits } from '../limits.ts'
import { implies, isSatisfiable, type RuleSetOptions } from '../symbolic/rule-set.ts'
import { hasTargets } from '../where/attached-to.ts'
import { l4EffectOf } from '../where/l4-effect.ts'
import { matchesSelector, selectsAll } from '../ztunnel/selector.ts'

export function checkLogic(context: LintContext): void {
  const rules = context.documents.authorizationPolicies.flatMap(policy => judgedRules(policy))
  const budget: Budget = {
    pairs: limits.maxLintPairs,
    looks: limits.maxLintLooks,
    steps: limits.maxLintTotalSteps,
  }
  const alive = rules.filter(rule => !neverMatches(rule, budget, context))
  for (const group of groupsOf(alive)) report(shadowsOf(group, budget, context), group, context)
}

/** Only rules of one namespace and action can shadow one another. */
function groupsOf(rules: readonly JudgedRule[]): Iterable<readonly JudgedRule[]> {
  const groups = new Map<string, JudgedRule[]>()
  for (const rule of rules) {
    const { metadata, spec } = rule.policy
    const key = `${metadata.namespace} ${spec.action ?? 'ALLOW'}`
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [rule])
    else group.push(rule)
  }
  return groups.values()
}

interface JudgedRule {
  readonly policy: AuthorizationPolicy
  readonly rule: PolicyRuleSpec
  readonly index: number
  readonly dialect: PolicyDialect
  /** Equal rules have equal texts. */
  readonly text: string
  /** What it restricts, identity as one. */
  readonly keys: ReadonlySet<string>
  /** Somebody whom it lets through, if all else is as it asks. */
  readonly caller: string | undefined
}

function judgedRules(policy: AuthorizationPolicy): readonly JudgedRule[] {
  return (policy.spec.rules ?? []).map((rule, index) => {
    const keys = fieldsOf(rule, index).map(({ key }) => (IDENTITY.test(key) ? 'identity' : key))
    return {
      policy,
      rule,
      index,
      dialect: dialectOf(policy, rule),
      text: canonicalText(rule),
      keys: new Set(keys),
      caller: knownCaller(rule, policy.metadata.namespace),
    }
  })
}

const IDENTITY = /^source\.(principal|namespace|serviceAccount|trustDomain)$/

/** What ztunnel does not see has findings of its own: such a rule is judged as it is written. */
function dialectOf(policy: AuthorizationPolicy, rule: PolicyRuleSpec): PolicyDialect {
  const action = policy.spec.action ?? 'ALLOW'
  if (hasTargets(policy) || (action !== 'ALLOW' && action !== 'DENY')) return 'envoy-http'
  return l4EffectOf(rule, action).effect === 'as-written' ? 'ztunnel' : 'envoy-http'
}

function optionsOf(
  { policy, dialect }: JudgedRule,
  budget: Budget,
  { settings }: LintContext,
): RuleSetOptions {
  const { trustDomain, trustDomainAliases, pathNormalization } = settings
  return {
    dialect,
    namespace: policy.metadata.namespace,
    action: policy.spec.action ?? 'ALLOW',
    trustDomain,
    trustDomainAliases,
    pathNormalization,
    maxSteps: Math.max(0, Math.min(limits.maxLintSteps, budget.steps)),
    onSteps: steps => {
      budget.steps -= steps
    },
  }
}

function neverMatches(judged: JudgedRule, budget: Budget, context: LintContext): boolean {
  const { policy, rule, index } = judged
  const fields = fieldsOf(rule, index)
  const dimensions = fields.map(({ key }) => dimensionOf(key))
  const others = dimensions.filter(dimension => dimension !== 'identity')
  if (!mayContradict(dimensions)) return false
  const inWhen = fields.some(({ key, clause }) => clause === 'when' && IDENTITY.test(key))
  if (!mayContradict(others) && !inWhen && hasKnownCaller(rule, policy.metadata.namespace)) return false
  if (budget.steps <= 0) {
    context.unfinished(TOO_MANY_STEPS)
    return false
  }
  const options = optionsOf(judged, budget, context)
  const found = isSatisfiable(rule, options)
  if (found.kind === 'undecided') context.unfinished(tooHard(judged, 'can match', options))
  if (found.kind !== 'empty') return false
  const told = fields.some(
    ({ negated, key, values }) => !negated && values.every(value => isUnmatchable(key, value)),
  )
  const where =
    found.dimensions.length === 0 ? 'its conditions' : `its conditions on ${found.dimensions.join(', ')}`
  if (!told) {
    const text = `no request fulfils the rule: ${where} exclude each other${matchesWithoutHttp(judged, options)}`
    context.report('never-matches', policy, `spec.rules[${index}]`, text)
  }
  return true
}

/** What is left of the rule where its fields of HTTP are not looked at. */
function matchesWithoutHttp(judged: JudgedRule, options: RuleSetOptions): string {
  const dialect = dialectWithoutHttp(judged)
  if (dialect === undefined) return ''
  const { kind } = isSatisfiable(judged.rule, { ...options, dialect })
  return kind === 'empty' ? '' : '; where HTTP is not seen it may match: what asks for HTTP is left out there'
}

/** One field alone leaves something: what no value is ever equal to has findings of its own. */
function mayContradict(dimensions: readonly string[]): boolean {
  return new Set(dimensions).size < dimensions.length
}

/** Fields that are about the same thing, roughly. */
function dimensionOf(key: string): string {
  if (IDENTITY.test(key)) return 'identity'
  if (key.startsWith('request.auth.')) return 'token'
  const header = /^request\.headers\[(.+)\]$/.exec(key)?.[1]?.toLowerCase()
  if (header === undefined) return key === 'remote.ip' ? 'source.ip' : key
  return PSEUDO_HEADERS.get(header) ?? header
}

const PSEUDO_HEADERS: ReadonlyMap<string, string> = new Map([
  [':method', 'methods'],
  [':path', 'paths'],
  [':authority', 'hosts'],
  ['host', 'hosts'],
])

/** What is left of the limits. */
interface Budget {
  pairs: number
  looks: number
  steps: number
}

/** Each rule against all others that are asked wherever it is asked. */
function shadowsOf(
  rules: readonly JudgedRule[],
  budget: Budget,
  context: LintContext,
): ReadonlyMap<JudgedRule, JudgedRule> {
  const shadows = new Map<JudgedRule, JudgedRule>()
  for (const [at, judged] of rules.entries())
    for (const [other, by] of rules.entries()) {
      if (--budget.looks < 0) {
        context.unfinished(TOO_MANY_LOOKS)
        return shadows
      }
      if (at === other || shadows.has(judged) || shadows.has(by) || !mayShadow(judged, by)) continue
      if (isRefuted(judged.rule, judged.caller, by.rule, judged.policy.metadata.namespace)) continue
      if (--budget.pairs < 0 || budget.steps <= 0) {
        context.unfinished(budget.pairs < 0 ? TOO_MANY : TOO_MANY_STEPS)
        return shadows
      }
      const options = optionsOf(judged, budget, context)
      const isShadow = judged.text === by.text ? other < at : isImplied(judged, by, options, context)
      if (isShadow) shadows.set(judged, by)
    }
  return shadows
}

/** Wherever both are asked: what closes something closes more where HTTP is not seen. */
function isImplied(
  judged: JudgedRule,
  by: JudgedRule,
  options: RuleSetOptions,
  context: LintContext,
): boolean {
  const without = dialectWithoutHttp(judged)
  const dialects = [judged.dialect, ...(without === undefined ? [] : [without])]
  return dialects.every(dialect => {
    const { kind } = implies(judged.rule, by.rule, { ...options, dialect })
    if (kind === 'undecided') context.unfinished(tooHard(judged, `is shadowed by ${nameOf(by)}`, options))
    return kind === 'implied'
  })
}

/** Who else asks the rule, without its fields of HTTP; an ALLOW with such fields is not asked then. */
function dialectWithoutHttp({ policy, dialect }: JudgedRule): PolicyDialect | undefined {
  if (dialect !== 'envoy-http' || (policy.spec.action ?? 'ALLOW') === 'ALLOW') return undefined
  return hasTargets(policy) ? 'envoy-tcp' : 'ztunnel'
}

const TOO_MANY_LOOKS = `there are more than ${limits.maxLintLooks} pairs of rules in one namespace: the others were not looked at for shadows`
const TOO_MANY = `more than ${limits.maxLintPairs} pairs of rules could shadow one another: the others were not compared`

const TOO_MANY_STEPS = `all of it takes more than ${limits.maxLintTotalSteps} steps: the other rules were not compared`

function tooHard(judged: JudgedRule, what: string, { maxSteps = 0 }: RuleSetOptions): string {
  if (maxSteps < limits.maxLintSteps) return TOO_MANY_STEPS
  return `whether ${nameOf(judged)} ${what} takes more than ${maxSteps} steps to say: left open`
}

function report(
  shadows: ReadonlyMap<JudgedRule, JudgedRule>,
  rules: readonly JudgedRule[],
  context: LintContext,
): void {
  const policies = new Set([...shadows.keys()].map(({ policy }) => policy))
  for (const policy of policies) {
    const own = rules.filter(rule => rule.policy === policy)
    const by = own.map(rule => shadows.get(rule))
    const whole =
      own.length === policy.spec.rules?.length &&
      by.every(other => other !== undefined && other.policy !== policy)
    if (whole) {
      const names = [...new Set(by.flatMap(other => (other === undefined ? [] : [nameOf(other)])))].join(', ')
      context.report('shadowed-policy', policy, 'spec.rules', `${names} takes all that this policy takes`)
    } else
      for (const rule of own) {
        const other = shadows.get(rule)
        // The same rule again in one policy has a finding of its own.
        if (other === undefined || (other.policy === policy && other.text === rule.text)) continue
        const name = other.policy === policy ? `rules[${other.index}]` : nameOf(other)
        const text = `${name} takes all that this rule takes`
        context.report('shadowed-rule', policy, `spec.rules[${rule.index}]`, text)
      }
  }
}

function nameOf({ policy, index }: JudgedRule): string {
  return `rules[${index}] of ${policy.metadata.namespace}/${policy.metadata.name}`
}

/** The same action, asked wherever the first one is asked; and nothing restricted that the first leaves free. */
function mayShadow(judged: JudgedRule, by: JudgedRule): boolean {
  if (judged.dialect !== by.dialect || ![...by.keys].every(key => judged.keys.has(key))) return false
  const [own, other] = [judged.policy, by.policy]
  if (own === other) return true
  return (
    (own.spec.action ?? 'ALLOW') === (other.spec.action ?? 'ALLOW') &&
    own.spec.provider?.name === other.spec.provider?.name &&
    isDryRun(own) === isDryRun(other) &&
    covers(other, own)
  )
}

function isDryRun({ metadata }: AuthorizationPolicy): boolean {
  return parseDryRun(metadata.annotations['istio.io/dry-run'] ?? '') === true
}

/** Whether a policy is asked wherever another is, whatever mesh they are in. */
function covers(wide: AuthorizationPolicy, narrow: AuthorizationPolicy): boolean {
  if (wide.metadata.namespace !== narrow.metadata.namespace) return false
  if (hasTargets(wide) || hasTargets(narrow)) {
    const targets = new Set((wide.spec.targetRefs ?? []).map(canonicalText))
    return (
      hasTargets(narrow) && (narrow.spec.targetRefs ?? []).every(target => targets.has(canonicalText(target)))
    )
  }
  if (wide.spec.selector === undefined) return true
  if (narrow.spec.selector === undefined || selectsAll(wide.spec.selector)) return false
  return matchesSelector(wide.spec.selector, narrow.spec.selector.matchLabels)
}
