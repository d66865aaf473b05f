/**
 * The verdict over one connection, in ztunnel's order: DENY that matches, no ALLOW at all, ALLOW that matches, else
 * denied. Dry-run policies are asked and reported, never obeyed.
 */
import type { Connection, Decision, Workload } from '@ambient/core'
import type { Lane } from './bucket.ts'
import type { CompiledRule } from './compile.ts'
import type { Facts } from './facts.ts'
import { type IndexedPolicies, indexPolicies, type PolicySet } from './policy-set.ts'
import { defaults } from '../defaults.ts'
import type { Authorization } from '../ztunnel/authorization.ts'

/** What a dry-run policy would have done. */
export type DryRunFinding =
  | {
      readonly action: 'Allow' | 'Deny'
      readonly matched: true
      readonly policy: string
      readonly rule: number
    }
  /** Dry-run ALLOW policies exist, none matched, and no enforced ALLOW does either. */
  | { readonly action: 'Allow'; readonly matched: false }

export interface DecideOptions {
  /**
   * What a reference to a policy that is not here means: `deny` until it is known (the default: it may be the DENY
   * that protects the workload), or `skip`, as ztunnel does.
   */
  readonly unknownPolicy?: 'deny' | 'skip'
  readonly onDryRun?: (finding: DryRunFinding) => void
}

/** ztunnel's words. */
export const reasons = Object.freeze({
  denied: (policy: string) => `explicitly denied by: ${policy}`,
  allowed: (policy: string) => `allowed by: ${policy}`,
  noneAllowed: 'allow policies exist, but none allowed',
  noAllowPolicies: 'no allow policies, allow',
  unknownPolicy: (policy: string) => `policy ${policy} is referenced but not known`,
  unknownWorkload: 'workload not found',
})

const noOptions: DecideOptions = Object.freeze({})
const noAllowPolicies: Decision = Object.freeze({ allowed: true, reason: reasons.noAllowPolicies })

const lanes = Object.freeze({
  deny: { action: 'Deny', dryRun: false },
  allow: { action: 'Allow', dryRun: false },
  dryRunDeny: { action: 'Deny', dryRun: true },
  dryRunAllow: { action: 'Allow', dryRun: true },
}) satisfies Readonly<Record<string, Lane>>

/**
 * Decides without side effects. A list of policies is indexed anew on each call: pass a store's set where it matters.
 *
 * Without a destination workload only global policies can be chosen; when the set has others too the connection is
 * denied (`workload not found`).
 */
export function decide(
  policies: PolicySet | readonly Authorization[],
  connection: Connection,
  options: DecideOptions = noOptions,
): Decision {
  const set = indexPolicies(policies)
  const facts = set.takeFacts().read(connection)
  const decision = judge(set, connection, facts, options)
  set.giveBack(facts)
  return decision
}

/** Gives an object made beforehand, unless something is missing. */
function judge(set: IndexedPolicies, connection: Connection, facts: Facts, options: DecideOptions): Decision {
  const { workload } = connection.destination
  if (options.onDryRun !== undefined) reportDryRunDeny(set, workload, facts, options.onDryRun)
  const denial = set.find(lanes.deny, workload, facts)
  if (denial !== undefined) return verdictOf(denial)
  if (options.onDryRun !== undefined) reportDryRunAllow(set, workload, facts, options.onDryRun)
  const unknown = whatIsMissing(set, connection, options)
  if (unknown !== undefined) return unknown
  const allowed = set.find(lanes.allow, workload, facts)
  if (allowed !== undefined) return verdictOf(allowed)
  if (!set.has(lanes.allow, workload)) return noAllowPolicies
  return noneAllowed(set.keys(lanes.allow, workload))
}

/** Of the rule, made when it first decides. */
function verdictOf(rule: CompiledRule): Decision {
  rule.verdict ??= Object.freeze(
    rule.policy.authorization.action === 'Deny'
      ? {
          allowed: false,
          reason: reasons.denied(rule.policy.key),
          by: Object.freeze(ruleOf(rule)),
          considered: nothing,
        }
      : { allowed: true, reason: reasons.allowed(rule.policy.key), by: Object.freeze(ruleOf(rule)) },
  )
  return rule.verdict
}

/** By the list that it names, which stays the same until a policy changes. */
function noneAllowed(considered: readonly string[]): Decision {
  const known = denials.get(considered)
  if (known !== undefined) return known
  const denial: Decision = Object.freeze({ allowed: false, reason: reasons.noneAllowed, considered })
  denials.set(considered, denial)
  return denial
}

const denials = new WeakMap<readonly string[], Decision>()
const nothing: readonly string[] = Object.freeze([])

function whatIsMissing(
  set: IndexedPolicies,
  connection: Connection,
  options: DecideOptions,
): Decision | undefined {
  const { workload } = connection.destination
  if (workload === undefined && set.needsWorkload)
    return { allowed: false, reason: reasons.unknownWorkload, considered: [] }
  if ((options.unknownPolicy ?? defaults.unknownPolicy) === 'skip') return undefined
  const key = set.firstUnknown(workload)
  if (key === undefined) return undefined
  return { allowed: false, reason: reasons.unknownPolicy(key), by: { policy: key }, considered: [] }
}

type ReportDryRun = (finding: DryRunFinding) => void

function reportDryRunDeny(
  set: IndexedPolicies,
  workload: Workload | undefined,
  facts: Facts,
  report: ReportDryRun,
): void {
  const denial = set.find(lanes.dryRunDeny, workload, facts)
  if (denial !== undefined) report({ action: 'Deny', matched: true, ...ruleOf(denial) })
}

function reportDryRunAllow(
  set: IndexedPolicies,
  workload: Workload | undefined,
  facts: Facts,
  report: ReportDryRun,
): void {
  const allowed = set.find(lanes.dryRunAllow, workload, facts)
  if (allowed !== undefined) report({ action: 'Allow', matched: true, ...ruleOf(allowed) })
  else if (set.has(lanes.dryRunAllow, workload) && !set.has(lanes.allow, workload))
    report({ action: 'Allow', matched: false })
}

function ruleOf({ policy, rule }: CompiledRule): { readonly policy: string; readonly rule: number } {
  return { policy: policy.key, rule }
}
