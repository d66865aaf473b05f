/** A verdict as text, stable enough to compare in tests. */
import { formatEnforcer } from './enforcer.ts'
import type { PolicyRequest } from './request.ts'
import type {
  ClauseTrace,
  DryRunVerdict,
  FieldTrace,
  PolicyTrace,
  PolicyVerdict,
  RuleTrace,
} from './verdict.ts'

/** The verdict, what was asked of whom, then each policy with the first thing in each rule that failed. No line end at the end. */
export function formatVerdict(request: PolicyRequest, verdict: PolicyVerdict): string {
  const status = verdict.status === undefined ? '' : ` ${verdict.status}`
  return [
    `${verdict.verdict.toUpperCase()}${status}: ${verdict.reason}`,
    `${questionText(request, verdict)}, ${answererText(verdict)}`,
    ...verdict.trace.flatMap(policyLines),
    ...verdict.dryRun.map(dryRunLine),
  ].join('\n')
}

function questionText({ source, destination, http }: PolicyRequest, { dialect }: PolicyVerdict): string {
  const what =
    http === undefined || dialect !== 'envoy-http'
      ? 'a connection'
      : `${http.method} ${http.authority}${http.path}`
  const from = `${source.principal ?? 'no identity'}${source.ip === undefined ? '' : ` (${source.ip})`}`
  const { namespace, workload, service, port } = destination
  const to = workload === undefined ? (service ?? namespace) : `${namespace}/${workload}`
  return `${what} from ${from} to ${to}:${port}`
}

/** `at waypoint shop/waypoint (envoy-http)`; ztunnel speaks one dialect. */
function answererText({ enforcer, dialect }: PolicyVerdict): string {
  if (enforcer === undefined) return dialect
  const proxy = `at ${formatEnforcer(enforcer, dialect)}`
  return dialect === 'ztunnel' ? proxy : `${proxy} (${dialect})`
}

function policyLines(policy: PolicyTrace): readonly string[] {
  const name = `${policy.dryRun ? 'dry-run ' : ''}${policy.action} ${policy.policy}`
  if (!policy.applies) return [`${name} does not apply: ${policy.attachment}`]
  const verdict = policy.matched
    ? 'matches'
    : policy.rules.length === 0
      ? 'has no rules, never matches'
      : 'does not match'
  return [`${name} (${policy.attachment}) ${verdict}`, ...policy.rules.flatMap(ruleLines)]
}

function ruleLines(rule: RuleTrace): readonly string[] {
  const name = `  rules[${rule.rule}]`
  if (rule.skipped !== undefined) return [`${name} is left out: ${rule.skipped}`]
  const without = rule.dropped.length === 0 ? '' : `, without ${rule.dropped.join(', ')}`
  if (rule.matched) return [`${name} matches${without}`]
  return failureLines(name, rule.failed)
}

function failureLines(name: string, failed: ClauseTrace | undefined): readonly string[] {
  if (failed === undefined) return [`${name} does not match`]
  return failed.alternatives.map(one => `${name} fails in ${failed.clause}: ${fieldText(one)}`)
}

function fieldText({ field, wanted, found }: FieldTrace): string {
  if (wanted.length === 0) return `${field}: ${found}`
  const negated = /^not[A-Z]| notValues$/.test(field)
  return negated
    ? `${field}: found ${found}, must not be ${wanted.join(', ')}`
    : `${field}: wanted ${wanted.join(', ')}, found ${found}`
}

function dryRunLine({ action, verdict, policy, rule }: DryRunVerdict): string {
  const by = policy === null ? 'no rule matches' : `${policy} rules[${rule ?? 0}] matches`
  return `dry-run ${action}: would ${verdict}, ${by}`
}
