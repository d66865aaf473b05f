/**
 * A waypoint's verdict and everything that led to it: each policy that is attached, each rule, the first clause that
 * failed with the values that were wanted and found, and which policies are for somebody else.
 */
import type { Attached } from './attached-policies.ts'
import { shownValues } from './attributes.ts'
import type { CompiledClause, CompiledWaypointRule, FieldTest } from './compile-policy.ts'
import {
  allowedByDefault,
  noneAllowed,
  type WaypointDecision,
  type WaypointDialect,
  type WaypointDryRun,
} from './decision.ts'
import type { WaypointFacts } from './facts.ts'
import type { AuthorizationAction } from '../documents/authorization-policy.ts'

export interface WaypointExplanation {
  /** The same that the decision gives. */
  readonly decision: WaypointDecision
  readonly dialect: WaypointDialect
  /** What was compared. */
  readonly request: {
    readonly principal: string | undefined
    readonly sourceAddress: string
    readonly destinationAddress: string
    /** The service's port. */
    readonly destinationPort: number
    readonly method?: string
    readonly authority?: string
    /** Without the query. */
    readonly path?: string
  }
  /** `Service shop/web`, or the Gateway when the traffic is for a workload. */
  readonly target: string
  /** Every attached policy, by `namespace/name`. */
  readonly policies: readonly WaypointPolicyExplanation[]
  /** Policies of the namespaces that concern this target which are enforced elsewhere or nowhere. */
  readonly elsewhere: readonly { readonly policy: string; readonly reason: string }[]
  /** What a reader should know beside: no ALLOW policy, fields that were dropped, marks of AUDIT. */
  readonly notes: readonly string[]
}

export interface WaypointPolicyExplanation {
  /** `namespace/name`. */
  readonly policy: string
  readonly action: AuthorizationAction
  readonly dryRun: boolean
  /** Which of its references attaches it: `Service shop/web`. */
  readonly attachedBy: string
  readonly matched: boolean
  readonly rules: readonly WaypointRuleExplanation[]
}

export interface WaypointRuleExplanation {
  readonly rule: number
  /** istiod's name of it, as in the response code details. */
  readonly id: string
  readonly matched: boolean
  /** Why it is not asked. */
  readonly skipped?: string
  /** Fields that a connection without HTTP does not have, so that the rule is wider than written. */
  readonly dropped: readonly string[]
  /** The first clause that did not hold. */
  readonly failed?: WaypointClauseFailure
}

export interface WaypointClauseFailure {
  /** `from`, `to`, `when[0]`. */
  readonly part: string
  /** One per alternative of the clause: the first field that failed. */
  readonly alternatives: readonly WaypointFieldFailure[]
}

export interface WaypointFieldFailure {
  /** `paths`, `notHosts`, `request.headers[x-a]`. */
  readonly field: string
  /** Found although none of the values may be. */
  readonly negated: boolean
  readonly wanted: readonly string[]
  readonly found: string
}

export function explainAttached(
  attached: readonly Attached[],
  elsewhere: WaypointExplanation['elsewhere'],
  facts: WaypointFacts,
  where: {
    readonly dialect: WaypointDialect
    readonly target: string
    /** `passed`: every provider was asked and allows it; otherwise a CUSTOM rule that matches is a denial. */
    readonly custom?: 'deny' | 'passed'
    /** As CUSTOM policies see it, before a token was taken out. Default: as all others do. */
    readonly arrived?: WaypointFacts
  },
): WaypointExplanation {
  const { dialect, target, custom = 'deny', arrived = facts } = where
  const explained = attached.map(one => explainPolicy(one, one.policy.action === 'CUSTOM' ? arrived : facts))
  const { connection, request } = facts
  return {
    decision: conclude(attached, explained, custom),
    dialect,
    target,
    request: {
      principal: facts.uri?.slice('spiffe://'.length),
      sourceAddress: connection.source.address,
      destinationAddress: connection.destination.address,
      destinationPort: connection.destination.port,
      ...(request === undefined
        ? {}
        : { method: request.method, authority: request.authority, path: facts.path }),
    },
    policies: explained,
    elsewhere,
    notes: notesOf(explained, target),
  }
}

function explainPolicy({ policy, by }: Attached, facts: WaypointFacts): WaypointPolicyExplanation {
  const rules = policy.rules.map(rule => explainRule(rule, facts))
  return {
    policy: policy.key,
    action: policy.action,
    dryRun: policy.dryRun,
    attachedBy: by,
    matched: rules.some(({ matched }) => matched),
    rules,
  }
}

function explainRule(rule: CompiledWaypointRule, facts: WaypointFacts): WaypointRuleExplanation {
  const { id, by, dropped, skipped } = rule
  const told = { rule: by.rule, id, dropped }
  if (skipped !== undefined) return { ...told, matched: false, skipped }
  for (const clause of rule.clauses) {
    const failed = explainClause(clause, facts)
    if (failed !== undefined) return { ...told, matched: false, failed }
  }
  return { ...told, matched: true }
}

/** `undefined` when the clause holds. */
function explainClause(clause: CompiledClause, facts: WaypointFacts): WaypointClauseFailure | undefined {
  const alternatives: WaypointFieldFailure[] = []
  for (const tests of clause.alternatives) {
    const failed = tests.find(({ test }) => !test(facts))
    if (failed === undefined) return undefined
    alternatives.push(explainField(failed, facts))
  }
  return { part: clause.part, alternatives }
}

function explainField(failed: FieldTest, facts: WaypointFacts): WaypointFieldFailure {
  const { field, negated, values } = failed
  return { field, negated, wanted: shownValues(field, values), found: failed.actual(facts) }
}

interface Match {
  readonly policy: WaypointPolicyExplanation
  readonly rule: CompiledWaypointRule
}

/** The same order as the decision, over what was found. */
function conclude(
  attached: readonly Attached[],
  explained: readonly WaypointPolicyExplanation[],
  custom: 'deny' | 'passed',
): WaypointDecision {
  const matches = explained
    .flatMap((policy, index) =>
      policy.rules.flatMap(({ matched, rule }): readonly Match[] => {
        const compiled = attached[index]?.policy.rules[rule]
        return matched && compiled !== undefined ? [{ policy, rule: compiled }] : []
      }),
    )
    .sort((a, b) => (a.rule.id < b.rule.id ? -1 : 1))
  const first = (action: AuthorizationAction): CompiledWaypointRule | undefined =>
    matches.find(({ policy }) => policy.action === action && !policy.dryRun)?.rule
  const denial = custom === 'passed' ? undefined : first('CUSTOM')
  const decisive = denial ?? first('DENY') ?? first('ALLOW')
  const allows = explained.filter(({ action, dryRun }) => action === 'ALLOW' && !dryRun)
  const otherwise = allows.length === 0 ? allowedByDefault : noneAllowed(allows.map(({ policy }) => policy))
  const marks = matches.filter(({ policy }) => policy.action === 'AUDIT' && !policy.dryRun)
  const audited = denial === undefined ? marks.map(({ policy }) => policy.policy) : []
  const dryRun = dryRunOf(explained, matches)
  return {
    ...(decisive?.verdict ?? otherwise),
    ...(audited.length === 0 ? {} : { audited: [...new Set(audited)] }),
    ...(dryRun === undefined ? {} : { dryRun }),
  }
}

function dryRunOf(
  explained: readonly WaypointPolicyExplanation[],
  matches: readonly Match[],
): readonly WaypointDryRun[] | undefined {
  const shadow = explained.filter(({ dryRun, action }) => dryRun && action !== 'AUDIT')
  if (shadow.length === 0) return undefined
  return (['CUSTOM', 'DENY', 'ALLOW'] as const).flatMap((action): readonly WaypointDryRun[] => {
    if (!shadow.some(policy => policy.action === action)) return []
    const match = matches.find(({ policy }) => policy.dryRun && policy.action === action)
    if (match === undefined)
      return action === 'CUSTOM' ? [] : [{ action, result: action === 'DENY' ? 'allowed' : 'denied' }]
    return [{ action, result: action === 'ALLOW' ? 'allowed' : 'denied', by: match.rule.by }]
  })
}

function notesOf(policies: readonly WaypointPolicyExplanation[], target: string): readonly string[] {
  const allows = policies.filter(({ action, dryRun }) => action === 'ALLOW' && !dryRun)
  const ruleless = allows.filter(({ rules }) => rules.length === 0)
  return [
    ...(policies.length === 0 ? [`no policy is attached to ${target}`] : []),
    ...(allows.length === 0
      ? [`no ALLOW policy is attached to ${target}: whatever no other policy denies is allowed`]
      : []),
    ...ruleless.map(({ policy }) => `${policy} has no rules and never matches: alone it denies everything`),
    ...policies
      .filter(({ action, matched, dryRun }) => action === 'AUDIT' && matched && !dryRun)
      .map(({ policy }) => `${policy} marks this for the audit log`),
  ]
}
