/** An explanation of the L4 engine in the words of the documents: their rule numbers, clauses and field names. */
import { absentTrace } from './envoy-trace.ts'
import type { ClauseTrace, FieldTrace, PolicyTrace, RuleTrace } from './verdict.ts'
import type { AppliedPolicy, ZtunnelSelection } from './ztunnel-selection.ts'
import type { PolicyCondition } from '../documents/authorization-policy.ts'
import type {
  ClauseFailure,
  Explanation,
  MatchFailure,
  PolicyExplanation,
  RuleExplanation,
} from '../engine/explain.ts'
import type { AuthorizationAttribute } from '../ztunnel/authorization.ts'
import type { RuleOrigin } from '../ztunnel/to-authorization.ts'
import { unseenFields } from '../ztunnel/translation-warnings.ts'

/** The rule of the document that a rule of the L4 form comes from. */
export function documentRule(
  selection: ZtunnelSelection,
  by: { readonly policy: string; readonly rule?: number },
): number {
  const { rule = 0 } = by
  const document = selection.applied.find(({ key }) => key === by.policy)
  return document?.origins[rule]?.rule ?? rule
}

/** Policies that apply, in the order they are asked; then converted ones; then those that one could expect. */
export function ztunnelTrace(selection: ZtunnelSelection, explanation: Explanation): readonly PolicyTrace[] {
  const documents = new Map(selection.applied.map(policy => [policy.key, policy]))
  return [
    ...explanation.policies.map(policy => {
      const document = documents.get(policy.policy)
      return document === undefined ? convertedTrace(policy) : appliedTrace(document, policy)
    }),
    ...selection.absent.map(({ key, document, why }) => absentTrace(key, document, why)),
  ]
}

function appliedTrace(applied: AppliedPolicy, explained: PolicyExplanation): PolicyTrace {
  const { key, document, by, origins } = applied
  const action = document.spec.action ?? 'ALLOW'
  const rules = (document.spec.rules ?? []).map((rule, index): RuleTrace => {
    const at = origins.findIndex(origin => origin.rule === index)
    const [origin, found] = [origins[at], explained.rules[at]]
    const unseen = unseenFields(rule)
    if (origin === undefined || found === undefined) {
      const skipped = `istiod leaves an ALLOW rule out whose ${unseen.join(', ')} cannot be judged at L4`
      return { rule: index, matched: false, skipped, dropped: unseen }
    }
    return ruleTrace(index, unseen, found, origin, rule.when ?? [])
  })
  return {
    policy: key,
    action,
    dryRun: applied.authorization.dryRun,
    applies: true,
    attachment: by,
    matched: rules.some(({ matched }) => matched),
    rules,
  }
}

function ruleTrace(
  rule: number,
  dropped: readonly string[],
  { matched, failed }: RuleExplanation,
  origin: RuleOrigin,
  when: readonly PolicyCondition[],
): RuleTrace {
  return {
    rule,
    matched,
    dropped,
    ...(failed === undefined ? {} : { failed: clauseTrace(failed, origin.parts[failed.clause] ?? '', when) }),
  }
}

function clauseTrace(
  { alternatives }: ClauseFailure,
  clause: string,
  when: readonly PolicyCondition[],
): ClauseTrace {
  const key = when[Number(/^when\[(\d+)\]$/.exec(clause)?.[1] ?? -1)]?.key
  return { clause, alternatives: alternatives.map(failure => fieldTrace(failure, key)) }
}

/** @param key of a condition */
function fieldTrace({ attribute, expected, actual }: MatchFailure, key: string | undefined): FieldTrace {
  if (attribute === undefined) return { field: key ?? NOTHING_LEFT, wanted: [], found: NEVER_MATCHES }
  const name = FIELD_NAMES[attribute] ?? attribute
  if (key === undefined) return { field: name, wanted: expected, found: actual }
  return { field: attribute.startsWith('not') ? `${key} notValues` : key, wanted: expected, found: actual }
}

const NOTHING_LEFT = '(nothing left)'
const NEVER_MATCHES = 'ztunnel is sent nothing of it that it could compare, so it never matches'

const FIELD_NAMES: Readonly<Partial<Record<AuthorizationAttribute, string>>> = {
  sourceIps: 'ipBlocks',
  notSourceIps: 'notIpBlocks',
  destinationPorts: 'ports',
  notDestinationPorts: 'notPorts',
}

/** istiod's own policies have no document, hence no names of clauses. */
function convertedTrace({ policy, matched, rules, dryRun }: PolicyExplanation): PolicyTrace {
  return {
    policy,
    action: 'DENY',
    dryRun,
    applies: true,
    attachment: 'converted from PeerAuthentication, listed by the workload',
    matched,
    rules: rules.map(({ rule, matched: holds, failed }) => ({
      rule,
      matched: holds,
      dropped: [],
      ...(failed === undefined ? {} : { failed: clauseTrace(failed, `clauses[${failed.clause}]`, []) }),
    })),
  }
}

/** Whether a rule failed only because nothing of a part is left at L4. */
export function failedForNothing({ failed }: RuleTrace): boolean {
  return failed?.alternatives.some(({ found }) => found === NEVER_MATCHES) === true
}
