/** An explanation as text, stable enough to compare in tests. */
import type { WaypointDryRun } from './decision.ts'
import type {
  WaypointExplanation,
  WaypointFieldFailure,
  WaypointPolicyExplanation,
  WaypointRuleExplanation,
} from './explain-request.ts'

export function formatWaypointExplanation(explanation: WaypointExplanation): string {
  const { decision, request, target, policies, elsewhere, notes } = explanation
  const rule = decision.by?.rule === undefined ? '' : ` rules[${decision.by.rule}]`
  const what =
    request.method === undefined ? 'a connection' : `${request.method} ${request.authority}${request.path}`
  const to = `${request.destinationAddress}:${request.destinationPort}`
  return [
    `${decision.allowed ? 'ALLOWED' : 'DENIED'}: ${decision.reason}${rule}`,
    `${what} from ${request.principal ?? 'no identity'} (${request.sourceAddress}) to ${target} (${to})`,
    ...policies.flatMap(formatPolicy),
    ...(decision.dryRun ?? []).map(formatDryRun),
    ...elsewhere.map(({ policy, reason }) => `${policy} is not asked: ${reason}`),
    ...notes,
  ].join('\n')
}

function formatPolicy(policy: WaypointPolicyExplanation): readonly string[] {
  const action = `${policy.dryRun ? 'dry-run ' : ''}${policy.action}`
  const verdict = policy.matched
    ? 'matches'
    : policy.rules.length === 0
      ? 'has no rules, never matches'
      : 'does not match'
  return [`${action} ${policy.policy} (${policy.attachedBy}) ${verdict}`, ...policy.rules.flatMap(formatRule)]
}

function formatRule(rule: WaypointRuleExplanation): readonly string[] {
  const name = `  rules[${rule.rule}]`
  if (rule.skipped !== undefined) return [`${name} is left out: ${rule.skipped}`]
  const wider = rule.dropped.length === 0 ? '' : `, without ${rule.dropped.join(', ')}`
  if (rule.matched) return [`${name} matches${wider}`]
  const { failed } = rule
  return (failed?.alternatives ?? []).map(one => `${name} fails in ${failed?.part}: ${formatField(one)}`)
}

function formatField({ field, negated, wanted, found }: WaypointFieldFailure): string {
  const values = wanted.join(', ')
  return negated
    ? `${field}: found ${found}, must not be ${values}`
    : `${field}: wanted ${values}, found ${found}`
}

function formatDryRun({ action, result, by }: WaypointDryRun): string {
  const rule = by === undefined ? 'no rule matches' : `${by.policy} rules[${by.rule}] matches`
  return `dry-run ${action}: ${result}, ${rule}`
}
