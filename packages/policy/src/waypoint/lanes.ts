/** The policies of one target in the order in which they are asked, and the verdict over them. */
import type { CompiledWaypointPolicy, CompiledWaypointRule } from './compile-policy.ts'
import { allowedByDefault, noneAllowed, type WaypointDecision, type WaypointDryRun } from './decision.ts'
import type { WaypointFacts } from './facts.ts'
import type { AuthorizationAction } from '../documents/authorization-policy.ts'

type Rules = readonly CompiledWaypointRule[]

/** The CUSTOM rules of one provider. */
export interface CustomLane {
  readonly provider: string
  readonly rules: Rules
}

export interface WaypointLanes {
  readonly custom: Rules
  /** The same by provider, in the order of their names. Empty where no CUSTOM policy is enforced. */
  readonly customBy: readonly CustomLane[]
  readonly audit: Rules
  readonly deny: Rules
  readonly allow: Rules
  /** The verdict when no rule matches. */
  readonly otherwise: WaypointDecision
  /** Absent when no attached policy is a dry run. */
  readonly dryRun?: {
    readonly custom: Rules
    readonly deny: Rules
    readonly allow: Rules
    readonly hasDeny: boolean
    readonly hasAllow: boolean
  }
}

export function lanesOf(policies: readonly CompiledWaypointPolicy[]): WaypointLanes {
  const enforced = policies.filter(({ dryRun }) => !dryRun)
  const shadow = policies.filter(({ dryRun, action }) => dryRun && action !== 'AUDIT')
  const allows = enforced.filter(({ action }) => action === 'ALLOW').map(({ key }) => key)
  const custom = rulesOf(enforced, 'CUSTOM')
  const lanes: WaypointLanes = {
    custom,
    customBy: byProvider(custom),
    audit: rulesOf(enforced, 'AUDIT'),
    deny: rulesOf(enforced, 'DENY'),
    allow: rulesOf(enforced, 'ALLOW'),
    otherwise: allows.length === 0 ? allowedByDefault : noneAllowed([...allows].sort()),
  }
  if (shadow.length === 0) return lanes
  return {
    ...lanes,
    dryRun: {
      custom: rulesOf(shadow, 'CUSTOM'),
      deny: rulesOf(shadow, 'DENY'),
      allow: rulesOf(shadow, 'ALLOW'),
      hasDeny: shadow.some(({ action }) => action === 'DENY'),
      hasAllow: shadow.some(({ action }) => action === 'ALLOW'),
    },
  }
}

/** The first CUSTOM rule that matches, of each provider: whose answer is needed before anything else is judged. */
export function matchCustom(lanes: WaypointLanes, facts: WaypointFacts): Rules {
  if (lanes.customBy.length === 0) return noRules
  return lanes.customBy.flatMap(({ rules }) => firstMatch(rules, facts) ?? [])
}

/**
 * CUSTOM, AUDIT, DENY, ALLOW. Gives an object made beforehand unless there are audit marks or dry runs to report.
 * @param custom `passed`: every provider has been asked and allows it; otherwise a CUSTOM rule that matches is a denial.
 */
export function judge(
  lanes: WaypointLanes,
  facts: WaypointFacts,
  custom: 'deny' | 'passed' = 'deny',
): WaypointDecision {
  const denial = custom === 'passed' ? undefined : firstMatch(lanes.custom, facts)
  // CUSTOM ends the request before anything else has been asked.
  const verdict = denial ?? firstMatch(lanes.deny, facts) ?? firstMatch(lanes.allow, facts)
  const decision = verdict?.verdict ?? lanes.otherwise
  if (lanes.audit.length === 0 && lanes.dryRun === undefined) return decision
  const audited = denial === undefined ? auditMarks(lanes.audit, facts) : undefined
  const dryRun = lanes.dryRun && dryRunFindings(lanes.dryRun, facts)
  return {
    ...decision,
    ...(audited === undefined ? {} : { audited }),
    ...(dryRun === undefined ? {} : { dryRun }),
  }
}

/** Names are compared as text: `rule[10]` comes before `rule[2]`, as in Envoy's sorted map. */
function rulesOf(policies: readonly CompiledWaypointPolicy[], action: AuthorizationAction): Rules {
  return policies
    .filter(policy => policy.action === action)
    .flatMap(({ rules }) => rules)
    .filter(({ skipped }) => skipped === undefined)
    .sort((a, b) => (a.id < b.id ? -1 : 1))
}

const noRules: Rules = Object.freeze([])

function byProvider(rules: Rules): readonly CustomLane[] {
  const lanes = new Map<string, CompiledWaypointRule[]>()
  for (const rule of rules) {
    const { provider = '' } = rule
    const others = lanes.get(provider)
    if (others === undefined) lanes.set(provider, [rule])
    else others.push(rule)
  }
  return [...lanes].map(([provider, own]) => ({ provider, rules: own })).sort(byProviderName)
}

function byProviderName(a: CustomLane, b: CustomLane): number {
  return a.provider < b.provider ? -1 : 1
}

function firstMatch(rules: Rules, facts: WaypointFacts): CompiledWaypointRule | undefined {
  for (const rule of rules) if (rule.matches(facts)) return rule
  return undefined
}

function auditMarks(rules: Rules, facts: WaypointFacts): readonly string[] | undefined {
  const marks = rules.filter(rule => rule.matches(facts)).map(({ by }) => by.policy)
  return marks.length === 0 ? undefined : [...new Set(marks)]
}

function dryRunFindings(
  shadow: NonNullable<WaypointLanes['dryRun']>,
  facts: WaypointFacts,
): readonly WaypointDryRun[] {
  const custom = firstMatch(shadow.custom, facts)
  const deny = firstMatch(shadow.deny, facts)
  const allow = firstMatch(shadow.allow, facts)
  return [
    ...(custom === undefined ? [] : [finding('CUSTOM', 'denied', custom)]),
    ...(shadow.hasDeny ? [finding('DENY', deny === undefined ? 'allowed' : 'denied', deny)] : []),
    ...(shadow.hasAllow ? [finding('ALLOW', allow === undefined ? 'denied' : 'allowed', allow)] : []),
  ]
}

function finding(
  action: WaypointDryRun['action'],
  result: WaypointDryRun['result'],
  rule: CompiledWaypointRule | undefined,
): WaypointDryRun {
  return { action, result, ...(rule === undefined ? {} : { by: rule.by }) }
}
