/** The reason of a verdict in Envoy's dialects, for people: what decided, and what one would not expect of it. */
import type { ResolvedEnforcer } from './enforcer.ts'
import type { EnvoySelection } from './envoy-selection.ts'
import type { ResolvedOptions } from './policy-evaluator.ts'
import { atMost, listed } from './text.ts'
import type { PolicyRequest } from './request.ts'
import type { WaypointDecision, WaypointDialect } from '../waypoint/decision.ts'
import type { WaypointExplanation, WaypointRuleExplanation } from '../waypoint/explain-request.ts'
import { shownJson } from '../waypoint/jwt-claims.ts'

export interface EnvoyFindings {
  readonly request: PolicyRequest
  readonly enforcer: ResolvedEnforcer
  readonly selection: EnvoySelection
  readonly providers: readonly string[]
  readonly chain: WaypointDialect
  readonly explanation: WaypointExplanation
  readonly options: ResolvedOptions
  /** A token was given whose issuer nobody here believes, or with a request of which nobody looks at it. */
  readonly jwtIgnored: 'issuer' | 'preflight' | undefined
  readonly withoutSourceIp: WaypointDecision | undefined
  /** `ns/name rules[0]` of rules with IPv4-mapped blocks. */
  readonly mappedBlocks: readonly string[]
  /** `ns/name rules[0]` of rules with headers that the JWT filter has changed. */
  readonly editedHeaders: readonly string[]
}

export function reasonOf(findings: EnvoyFindings): string {
  return [
    mainReason(findings),
    ...customNotes(findings),
    ...dryRunNotes(findings),
    ...chainNotes(findings),
    ...atMost(ruleNotes(findings)),
    ...inputNotes(findings),
    ...elsewhereNotes(findings),
  ].join('; ')
}

function mainReason({ explanation, providers }: EnvoyFindings): string {
  const { decision, policies } = explanation
  const { by } = decision
  if (by === undefined)
    return decision.allowed
      ? 'no ALLOW policy selected you, so what no DENY policy matches is allowed'
      : `allow policies exist, but none allowed: ${listed(decision.considered)}`
  const rule = `${by.policy} rules[${by.rule ?? 0}]`
  if (decision.allowed) return `allowed by: ${rule}`
  if (policies.find(({ policy }) => policy === by.policy)?.action !== 'CUSTOM')
    return `explicitly denied by: ${rule}`
  return providers.length > 1
    ? `CUSTOM policy ${rule} matches, and the policies here name several providers (${listed(providers)}): istiod then denies instead of asking`
    : `CUSTOM policy ${rule} matches: its provider ${providers.join()} is asked, and counts as a denial here`
}

function customNotes({ explanation, options, providers }: EnvoyFindings): readonly string[] {
  if (options.custom !== 'allow' || providers.length > 1) return []
  const matched = explanation.policies.filter(
    ({ action, matched, dryRun }) => action === 'CUSTOM' && matched && !dryRun,
  )
  return matched.map(({ policy }) => `CUSTOM policy ${policy} matches, and its provider is taken to allow it`)
}

/** Found in Envoy running istiod's translation; here a dry run never decides. */
function dryRunNotes({ explanation }: EnvoyFindings): readonly string[] {
  return explanation.policies
    .filter(({ action, dryRun, matched }) => action === 'CUSTOM' && dryRun && matched)
    .map(
      ({ policy }) =>
        `the dry-run CUSTOM policy ${policy} matches and is only reported; istiod, where its provider exists, makes Envoy deny by it`,
    )
}

function chainNotes({ chain, options }: EnvoyFindings): readonly string[] {
  return chain === 'envoy-tcp' && options.dialect === 'envoy-http'
    ? ['the request has no http: it is judged as a connection (envoy-tcp)']
    : []
}

/** Rules that are not what they were written to be, where that may have made the verdict. */
function ruleNotes({ explanation }: EnvoyFindings): readonly string[] {
  const { decision, policies } = explanation
  return policies.flatMap(({ policy, action, dryRun, rules }) =>
    dryRun
      ? []
      : rules.flatMap(rule => {
          const decided = decision.by?.policy === policy && decision.by.rule === rule.rule
          const missed = action === 'ALLOW' && decision.by === undefined && !decision.allowed
          return ruleNote(rule, `${policy} rules[${rule.rule}]`, { decided, missed })
        }),
  )
}

function ruleNote(
  { skipped, dropped }: WaypointRuleExplanation,
  name: string,
  { decided, missed }: { readonly decided: boolean; readonly missed: boolean },
): readonly string[] {
  if (decided && dropped.length > 0)
    return [`${name} is wider than written: istiod drops ${listed(dropped)} from it on a TCP chain`]
  return missed && skipped !== undefined ? [`istiod leaves ${name} out: ${skipped}`] : []
}

function inputNotes(findings: EnvoyFindings): readonly string[] {
  const { request, jwtIgnored, explanation, withoutSourceIp, mappedBlocks, editedHeaders } = findings
  const notes: string[] = []
  if (mappedBlocks.length > 0)
    notes.push(`to Envoy an IPv4-mapped block is one of IPv6, in which no caller is: ${listed(mappedBlocks)}`)
  if (jwtIgnored === 'issuer')
    notes.push(
      `the JWT does not count: no attached RequestAuthentication has its issuer ${shownJson(request.jwt?.payload['iss'] ?? null)}`,
    )
  if (jwtIgnored === 'preflight')
    notes.push('the JWT does not count: Envoy looks at no token of a CORS preflight')
  if (editedHeaders.length > 0)
    notes.push(
      `a RequestAuthentication takes its token and its output headers out of the request before DENY and ALLOW policies see it, and sets the outputs of the verified token: that concerns ${listed(editedHeaders)}`,
    )
  if (asksMetadata(explanation))
    notes.push(
      'there is no metadata of other filters here: rules that ask experimental.envoy.filters see none',
    )
  const { decision } = explanation
  if (withoutSourceIp !== undefined && differs(decision, withoutSourceIp))
    notes.push(
      `the address of the proven caller was compared; Istio's own waypoint never matches ipBlocks and source.ip, and would ${sayDecision(withoutSourceIp)}`,
    )
  return notes
}

function asksMetadata({ policies }: WaypointExplanation): boolean {
  return policies.some(({ rules }) =>
    rules.some(({ failed }) =>
      failed?.alternatives.some(({ field }) => field.startsWith('experimental.envoy.filters.')),
    ),
  )
}

function differs(a: WaypointDecision, b: WaypointDecision): boolean {
  return a.allowed !== b.allowed || a.by?.policy !== b.by?.policy || a.by?.rule !== b.by?.rule
}

function sayDecision({ allowed, by }: WaypointDecision): string {
  const verdict = allowed ? 'allow' : 'deny'
  return by === undefined ? verdict : `${verdict} by ${by.policy} rules[${by.rule ?? 0}]`
}

/** Only where no rule decided: otherwise nobody misses them. */
function elsewhereNotes({ explanation, selection }: EnvoyFindings): readonly string[] {
  if (explanation.decision.by !== undefined) return []
  return atMost(selection.elsewhere.map(({ policy, reason }) => `${policy} is not asked: ${reason}`))
}
