/** An explanation of Envoy's dialects as the plain data of a verdict. */
import type { EnvoySelection } from './envoy-selection.ts'
import type { ClauseTrace, FieldTrace, PolicyTrace, RuleTrace } from './verdict.ts'
import type { AuthorizationPolicy } from '../documents/authorization-policy.ts'
import { parseDryRun } from '../documents/dry-run.ts'
import type {
  WaypointClauseFailure,
  WaypointExplanation,
  WaypointFieldFailure,
  WaypointPolicyExplanation,
  WaypointRuleExplanation,
} from '../waypoint/explain-request.ts'

/** Attached policies first, then those that one could expect; each in order of keys. */
export function traceOf(explanation: WaypointExplanation, selection: EnvoySelection): readonly PolicyTrace[] {
  return [
    ...explanation.policies.map(attachedTrace),
    ...selection.elsewhere.map(({ policy, document, reason }) => absentTrace(policy, document, reason)),
  ]
}

/** Of a policy that this enforcer does not obey. */
export function absentTrace(policy: string, document: AuthorizationPolicy, attachment: string): PolicyTrace {
  return {
    policy,
    action: document.spec.action ?? 'ALLOW',
    dryRun: isDryRun(document),
    applies: false,
    attachment,
    matched: false,
    rules: [],
  }
}

/** What does not parse is enforced, as istiod does it. */
export function isDryRun({ metadata }: AuthorizationPolicy): boolean {
  return parseDryRun(metadata.annotations['istio.io/dry-run'] ?? '') === true
}

function attachedTrace(policy: WaypointPolicyExplanation): PolicyTrace {
  return {
    policy: policy.policy,
    action: policy.action,
    dryRun: policy.dryRun,
    applies: true,
    attachment: policy.attachedBy,
    matched: policy.matched,
    rules: policy.rules.map(ruleTrace),
  }
}

function ruleTrace({ rule, matched, skipped, dropped, failed }: WaypointRuleExplanation): RuleTrace {
  return {
    rule,
    matched,
    ...(skipped === undefined ? {} : { skipped }),
    dropped,
    ...(failed === undefined ? {} : { failed: clauseTrace(failed) }),
  }
}

function clauseTrace({ part, alternatives }: WaypointClauseFailure): ClauseTrace {
  return { clause: part, alternatives: alternatives.map(fieldTrace) }
}

/** Of a condition both halves have one name: the negative one says so. */
function fieldTrace({ field, negated, wanted, found }: WaypointFieldFailure): FieldTrace {
  return { field: negated && !field.startsWith('not') ? `${field} notValues` : field, wanted, found }
}
