/** What a rule is, by what name it is told, and what it finds. */
import type { PeerProblem } from '@ambient/core'

/** Names of the rules, for programs: they stay as they are. The README says what each asks for. */
export type ChainRule =
  | 'chain-not-empty'
  | 'chain-bytes'
  | 'chain-length'
  | 'der'
  | 'uri-san'
  | 'san-critical'
  | 'spiffe-id'
  | 'spiffe-id-path'
  | 'basic-constraints'
  | 'key-usage'
  | 'key-usage-critical'
  | 'key-usage-cert-sign'
  | 'key-usage-crl-sign'
  | 'key-usage-digital-signature'
  | 'extended-key-usage'
  | 'critical-extensions'
  | 'key-strength'
  | 'trust-domain'
  | 'trust-bundle'
  | 'not-after'
  | 'not-before'
  | 'signature-algorithm'
  | 'signature'
  | 'path-length'
  | 'name-constraints'
  | 'revocation'
  | 'expectation'

export interface Finding {
  readonly outcome: 'pass' | 'fail' | 'skip'
  /** Of a failure: completes `leaf: …`. */
  readonly detail: string
}

export interface Rule<Of> {
  readonly name: ChainRule
  /** What breaking it is, in the words of the contract. */
  readonly problem: PeerProblem
  readonly check: (of: Of) => Finding
}

/** One broken rule, as verdicts report it: the reason names the certificate. */
export interface BrokenRule {
  readonly problem: PeerProblem
  readonly reason: string
}

/** A broken rule of a certificate of a chain. */
export interface BrokenChainRule extends BrokenRule {
  readonly rule: ChainRule
  /** `leaf`, `certificate 2 of 3`, `trust anchor 1`, or `chain` for all of it. */
  readonly certificate: string
}

export const pass = (detail: string): Finding => ({ outcome: 'pass', detail })
export const fail = (detail: string): Finding => ({ outcome: 'fail', detail })
export const skip = (detail: string): Finding => ({ outcome: 'skip', detail })

/** Holds, or the reason why not. */
export const holds = (does: boolean, detail: string, reason: string): Finding =>
  does ? pass(detail) : fail(reason)

/** The first rule that is broken. */
export function firstBroken<Of>(
  rules: readonly Rule<Of>[],
  of: Of,
  label: string,
): BrokenChainRule | undefined {
  for (const { name, problem, check } of rules) {
    const { outcome, detail } = check(of)
    if (outcome === 'fail') return brokenRule(label, name, problem, detail)
  }
  return undefined
}

export function brokenRule(
  label: string,
  rule: ChainRule,
  problem: PeerProblem,
  detail: string,
): BrokenChainRule {
  return { problem, rule, certificate: plainLabel(label), reason: `${label}: ${detail}` }
}

/** Without the identity that reasons show behind it. */
export function plainLabel(label: string): string {
  return label.replace(/ \(.*\)$/s, '')
}
