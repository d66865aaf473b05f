/** The verdict over the policies of one target, which come from up to three attachments: service, Gateway, class. */
import type { CompiledWaypointRule } from './compile-policy.ts'
import { allowedByDefault, noneAllowed, type WaypointDecision, type WaypointDryRun } from './decision.ts'
import type { WaypointFacts } from './facts.ts'
import type { LaneName, WaypointLanes } from './lanes.ts'
import { byId } from './waypoint-index.ts'
import type { ListSink } from '../rule-index/drawers.ts'

/** The lanes of a target as they are until a policy changes. */
export class TargetLanes {
  readonly parts: readonly WaypointLanes[]
  /** Of CUSTOM policies, sorted. */
  readonly providers: readonly string[]
  readonly hasAudit: boolean
  readonly hasDryRun: boolean
  #otherwise: WaypointDecision | undefined

  constructor(parts: readonly WaypointLanes[]) {
    this.parts = parts
    this.providers = [...new Set(parts.flatMap(({ custom }) => [...custom.keys()]))].sort()
    this.hasAudit = parts.some(part => part.lane('audit').size > 0)
    this.hasDryRun = parts.some(({ dryRuns }) => dryRuns.CUSTOM + dryRuns.DENY + dryRuns.ALLOW > 0)
  }

  /** The verdict when no rule matches. */
  get otherwise(): WaypointDecision {
    this.#otherwise ??= otherwiseOf(this.parts)
    return this.#otherwise
  }

  /** The first rule that matches. */
  find(lane: LaneName, facts: WaypointFacts): CompiledWaypointRule | undefined {
    let first: CompiledWaypointRule | undefined
    for (let at = 0; at < this.parts.length; at++)
      first = earlier(first, this.parts[at]?.lane(lane).find(facts))
    return first
  }

  findCustom(facts: WaypointFacts): CompiledWaypointRule | undefined {
    let first: CompiledWaypointRule | undefined
    if (this.providers.length === 0) return first
    for (const { custom } of this.parts)
      for (const index of custom.values()) first = earlier(first, index.find(facts))
    return first
  }
}

/** The first CUSTOM rule that matches, of each provider: whose answer is needed before anything else is judged. */
export function matchCustom(lanes: TargetLanes, facts: WaypointFacts): readonly CompiledWaypointRule[] {
  return lanes.providers.flatMap(provider => {
    let first: CompiledWaypointRule | undefined
    for (const { custom } of lanes.parts) first = earlier(first, custom.get(provider)?.find(facts))
    return first ?? []
  })
}

/**
 * CUSTOM, AUDIT, DENY, ALLOW. Gives an object made beforehand unless there are audit marks or dry runs to report.
 * @param custom `passed`: every provider has been asked and allows it; otherwise a CUSTOM rule that matches is a denial.
 */
export function judge(
  lanes: TargetLanes,
  facts: WaypointFacts,
  custom: 'deny' | 'passed' = 'deny',
): WaypointDecision {
  const denial = custom === 'passed' ? undefined : lanes.findCustom(facts)
  // CUSTOM ends the request before anything else has been asked.
  const verdict = denial ?? lanes.find('deny', facts) ?? lanes.find('allow', facts)
  const decision = verdict?.verdict ?? lanes.otherwise
  if (!lanes.hasAudit && !lanes.hasDryRun) return decision
  const audited = denial === undefined && lanes.hasAudit ? auditMarks(lanes, facts) : undefined
  const dryRun = lanes.hasDryRun ? dryRunFindings(lanes, facts) : undefined
  return {
    ...decision,
    ...(audited === undefined ? {} : { audited }),
    ...(dryRun === undefined ? {} : { dryRun }),
  }
}

function earlier(
  a: CompiledWaypointRule | undefined,
  b: CompiledWaypointRule | undefined,
): CompiledWaypointRule | undefined {
  if (a === undefined || b === undefined) return a ?? b
  return byId(b, a) < 0 ? b : a
}

function otherwiseOf(parts: readonly WaypointLanes[]): WaypointDecision {
  const [first, ...others] = parts.map(({ allows }) => allows).filter(({ length }) => length > 0)
  if (first === undefined) return allowedByDefault
  return noneAllowed(others.length === 0 ? [...first] : [...new Set([...first, ...others.flat()])].sort())
}

class EveryMatch implements ListSink<CompiledWaypointRule> {
  readonly #facts: WaypointFacts
  readonly rules = new Set<CompiledWaypointRule>()

  constructor(facts: WaypointFacts) {
    this.#facts = facts
  }

  take(rules: readonly CompiledWaypointRule[]): void {
    for (const rule of rules) this.takeOne(rule)
  }

  takeOne(rule: CompiledWaypointRule): void {
    if (!this.rules.has(rule) && rule.matches(this.#facts)) this.rules.add(rule)
  }
}

function auditMarks(lanes: TargetLanes, facts: WaypointFacts): readonly string[] | undefined {
  const marks = new EveryMatch(facts)
  for (const part of lanes.parts) part.lane('audit').candidates(facts, marks)
  if (marks.rules.size === 0) return undefined
  return [...new Set([...marks.rules].sort(byId).map(({ by }) => by.policy))]
}

function dryRunFindings(lanes: TargetLanes, facts: WaypointFacts): readonly WaypointDryRun[] {
  const has = (action: WaypointDryRun['action']): boolean =>
    lanes.parts.some(({ dryRuns }) => dryRuns[action] > 0)
  const custom = lanes.find('dryCustom', facts)
  const deny = lanes.find('dryDeny', facts)
  const allow = lanes.find('dryAllow', facts)
  return [
    ...(custom === undefined ? [] : [finding('CUSTOM', 'denied', custom)]),
    ...(has('DENY') ? [finding('DENY', deny === undefined ? 'allowed' : 'denied', deny)] : []),
    ...(has('ALLOW') ? [finding('ALLOW', allow === undefined ? 'denied' : 'allowed', allow)] : []),
  ]
}

function finding(
  action: WaypointDryRun['action'],
  result: WaypointDryRun['result'],
  rule: CompiledWaypointRule | undefined,
): WaypointDryRun {
  return { action, result, ...(rule === undefined ? {} : { by: rule.by }) }
}
