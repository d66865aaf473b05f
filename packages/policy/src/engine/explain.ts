/**
 * The verdict and everything that led to it: each policy that applies, each rule, the first clause that failed and in
 * each of its alternatives the first attribute that did, with both values.
 */
import type { Connection, Decision } from '@ambient/core'
import { attributeTests } from './attributes.ts'
import { type DecideOptions, reasons } from './decide.ts'
import { Facts } from './facts.ts'
import { type IndexedPolicies, indexPolicies, type PolicySet } from './policy-set.ts'
import { defaults } from '../defaults.ts'
import {
  type Authorization,
  type AuthorizationAttribute,
  type AuthorizationClause,
  authorizationKey,
  type AuthorizationMatch,
  type AuthorizationRule,
  type AuthorizationScope,
  type ServiceAccountMatch,
  type StringMatch,
} from '../ztunnel/authorization.ts'
import { waypointRequiredBy } from '../waypoint/require-waypoint.ts'

export interface Explanation {
  /** The same that `decide` gives. */
  readonly decision: Decision
  /** What was compared. */
  readonly connection: {
    readonly principal: string | undefined
    readonly sourceAddress: string
    readonly destinationAddress: string
    readonly destinationPort: number
    /** `namespace/name` of the destination workload. */
    readonly destinationWorkload: string | undefined
  }
  /** Every policy that applies to the destination, in the order they are asked. */
  readonly policies: readonly PolicyExplanation[]
  /** Policies that the workload names and that are not here. */
  readonly unknownPolicies: readonly string[]
  /** What to do about a denial, where that is known. */
  readonly hints: readonly string[]
}

export interface PolicyExplanation {
  /** `namespace/name`. */
  readonly policy: string
  readonly action: Authorization['action']
  readonly dryRun: boolean
  /** Why it applies. */
  readonly scope: AuthorizationScope
  /** Whether one of its rules matched. */
  readonly matched: boolean
  /** Empty for a policy that can never match. */
  readonly rules: readonly RuleExplanation[]
}

export interface RuleExplanation {
  readonly rule: number
  readonly matched: boolean
  /** The first clause that did not match. */
  readonly failed?: ClauseFailure
}

export interface ClauseFailure {
  readonly clause: number
  /** One per alternative in the clause. */
  readonly alternatives: readonly MatchFailure[]
}

export interface MatchFailure {
  /** Absent for a match that sets nothing, which never matches. */
  readonly attribute?: AuthorizationAttribute
  /** The policy's values, `*`, `x*` and `*x` for wildcards. */
  readonly expected: readonly string[]
  /** The connection's value. */
  readonly actual: string
}

/** Like {@link decide}, and why. Costs a scan of the policies that apply. */
export function explain(
  policies: PolicySet | readonly Authorization[],
  connection: Connection,
  options: DecideOptions = {},
): Explanation {
  const set = indexPolicies(policies)
  const facts = new Facts(connection)
  const { workload } = connection.destination
  const explained = set.applicable(workload).flatMap(key => {
    const authorization = set.get(key)
    return authorization === undefined ? [] : [explainPolicy(authorization, facts)]
  })
  const unknownPolicies = (workload?.authorizationPolicies ?? []).filter(key => set.get(key) === undefined)
  const decision = conclude(set, connection, explained, unknownPolicies, options)
  return {
    decision,
    connection: {
      principal: facts.principal,
      sourceAddress: facts.sourceAddress,
      destinationAddress: facts.destinationAddress,
      destinationPort: facts.destinationPort,
      destinationWorkload: workload && `${workload.namespace}/${workload.name}`,
    },
    policies: explained,
    unknownPolicies,
    hints: waypointHints(decision, explained),
  }
}

/** The text form, stable enough to compare in tests. */
export function formatExplanation(explanation: Explanation): string {
  const { decision, connection, policies, unknownPolicies, hints } = explanation
  const rule = decision.by?.rule === undefined ? '' : ` rules[${decision.by.rule}]`
  const to = `${connection.destinationAddress}:${connection.destinationPort}`
  const lines = [
    `${decision.allowed ? 'ALLOWED' : 'DENIED'}: ${decision.reason}${rule}`,
    `from ${connection.principal ?? 'no identity'} (${connection.sourceAddress}) to ${connection.destinationWorkload ?? 'an unknown workload'} (${to})`,
    ...(policies.length === 0 ? ['no policy applies'] : policies.flatMap(formatPolicy)),
    ...unknownPolicies.map(key => `${key}: referenced but not known`),
    ...hints,
  ]
  return lines.join('\n')
}

/** A workload that only its waypoint may call was called by somebody else. */
function waypointHints(decision: Decision, policies: readonly PolicyExplanation[]): readonly string[] {
  if (decision.allowed) return []
  return policies.flatMap(({ policy, rules }) => {
    const waypoint = waypointRequiredBy(policy)
    if (waypoint === undefined || !decision.considered.includes(policy)) return []
    return rules.length === 0
      ? `traffic has to come through the waypoint ${waypoint}, which does not exist (${policy})`
      : `traffic has to come through the waypoint ${waypoint}: ${policy} allows nobody else`
  })
}

function explainPolicy(authorization: Authorization, facts: Facts): PolicyExplanation {
  const rules = authorization.rules.map((rule, index) =>
    explainRule(rule, index, authorization.action, facts),
  )
  return {
    policy: authorizationKey(authorization),
    action: authorization.action,
    dryRun: authorization.dryRun,
    scope: authorization.scope,
    matched: rules.some(({ matched }) => matched),
    rules,
  }
}

function explainRule(
  rule: AuthorizationRule,
  index: number,
  action: Authorization['action'],
  facts: Facts,
): RuleExplanation {
  for (const [clause, { matches }] of rule.clauses.entries()) {
    const alternatives = explainClause({ matches }, action, facts)
    if (alternatives !== undefined) return { rule: index, matched: false, failed: { clause, alternatives } }
  }
  return { rule: index, matched: true }
}

/** `undefined` when the clause holds. */
function explainClause(
  clause: AuthorizationClause,
  action: Authorization['action'],
  facts: Facts,
): readonly MatchFailure[] | undefined {
  if (clause.matches.length === 0) return undefined
  const failures: MatchFailure[] = []
  for (const match of clause.matches) {
    const failure = explainMatch(match, action, facts)
    if (failure === undefined) return undefined
    failures.push(failure)
  }
  return failures
}

function explainMatch(
  match: AuthorizationMatch,
  action: Authorization['action'],
  facts: Facts,
): MatchFailure | undefined {
  const tests = attributeTests(match, action)
  if (tests.length === 0) return { expected: [], actual: '' }
  const failed = tests.find(({ test }) => !test(facts))
  if (failed === undefined) return undefined
  const { attribute } = failed
  return { attribute, expected: match[attribute].map(formatValue), actual: actualOf(attribute, facts) }
}

/** The same order as `decide`, over what was found. */
function conclude(
  set: IndexedPolicies,
  connection: Connection,
  policies: readonly PolicyExplanation[],
  unknownPolicies: readonly string[],
  options: DecideOptions,
): Decision {
  const enforced = policies.filter(({ dryRun }) => !dryRun)
  const denial = enforced.find(({ action, matched }) => action === 'Deny' && matched)
  if (denial !== undefined)
    return { allowed: false, reason: reasons.denied(denial.policy), by: ruleOf(denial), considered: [] }
  if (connection.destination.workload === undefined && set.needsWorkload)
    return { allowed: false, reason: reasons.unknownWorkload, considered: [] }
  const [unknown] = unknownPolicies
  if (unknown !== undefined && (options.unknownPolicy ?? defaults.unknownPolicy) === 'deny')
    return { allowed: false, reason: reasons.unknownPolicy(unknown), by: { policy: unknown }, considered: [] }
  const allows = enforced.filter(({ action }) => action === 'Allow')
  const allowed = allows.find(({ matched }) => matched)
  if (allowed !== undefined)
    return { allowed: true, reason: reasons.allowed(allowed.policy), by: ruleOf(allowed) }
  if (allows.length === 0) return { allowed: true, reason: reasons.noAllowPolicies }
  return { allowed: false, reason: reasons.noneAllowed, considered: allows.map(({ policy }) => policy) }
}

function ruleOf({ policy, rules }: PolicyExplanation): { readonly policy: string; readonly rule: number } {
  return { policy, rule: rules.findIndex(({ matched }) => matched) }
}

function formatValue(value: StringMatch | ServiceAccountMatch | string | number): string {
  if (typeof value !== 'object') return String(value)
  if ('serviceAccount' in value) return `${value.namespace}/${value.serviceAccount}`
  if (value.kind === 'presence') return '*'
  if (value.kind === 'prefix') return `${value.value}*`
  return value.kind === 'suffix' ? `*${value.value}` : value.value
}

const NO_IDENTITY = '(no identity)'

function actualOf(attribute: AuthorizationAttribute, facts: Facts): string {
  switch (attribute) {
    case 'principals':
    case 'notPrincipals':
      return facts.principal ?? NO_IDENTITY
    case 'namespaces':
    case 'notNamespaces':
      return facts.principal === undefined ? NO_IDENTITY : facts.namespace
    case 'serviceAccounts':
    case 'notServiceAccounts':
      return facts.account ?? NO_IDENTITY
    case 'sourceIps':
    case 'notSourceIps':
      return facts.sourceAddress
    case 'destinationIps':
    case 'notDestinationIps':
      return facts.destinationAddress
    case 'destinationPorts':
    case 'notDestinationPorts':
      return String(facts.destinationPort)
  }
}

function formatPolicy(policy: PolicyExplanation): readonly string[] {
  const action = `${policy.dryRun ? 'dry-run ' : ''}${policy.action.toUpperCase()}`
  const verdict = policy.matched
    ? 'matches'
    : policy.rules.length === 0
      ? 'has no rules, never matches'
      : 'does not match'
  return [`${action} ${policy.policy} (${policy.scope}) ${verdict}`, ...policy.rules.flatMap(formatRule)]
}

function formatRule({ rule, matched, failed }: RuleExplanation): readonly string[] {
  if (matched) return [`  rules[${rule}] matches`]
  const alternatives = failed?.alternatives ?? []
  return alternatives.map(({ attribute, expected, actual }) => {
    const what =
      attribute === undefined
        ? 'sets nothing, never matches'
        : `${attribute}: ${actual} against ${expected.join(', ')}`
    return `  rules[${rule}] fails in clause ${failed?.clause}: ${what}`
  })
}
