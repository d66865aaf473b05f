/** The same verdict as `verifyPeerChain`, with every rule on the way to it: for people who ask why. */
import { nothingRevoked, type Revocations } from '../crl/revocations.ts'
import { type CertificateFacts, certificateFacts } from '../x509/facts.ts'
import { type TrustedDomains, trustedDomains } from './anchors.ts'
import { bundleRules, expectationRule, presentedRules } from './chain-rules.ts'
import { leafId, leafRules } from './leaf-rules.ts'
import { findPath, isNamedBy, isSignedBy, notLed, signatureAlgorithmRule } from './path.ts'
import { type ChainRule, type Finding, fail, pass, plainLabel, type Rule, skip } from './rules.ts'
import { constraintRule, type Labelled, signerRules, validityRules } from './signer-rules.ts'
import {
  type ChainVerdict,
  certificateNamedIn,
  judgeChain,
  readPresented,
  type VerifyPeerOptions,
  VERIFY_OPTIONS,
} from './verify.ts'
import { checkOptions } from '../option-checks.ts'

/** One rule, asked of one certificate. */
export interface ExplainedRule {
  /** `leaf`, `certificate 2 of 3`, `trust anchor 1`, or `chain` for all of it. */
  readonly certificate: string
  readonly rule: ChainRule
  /** Skipped: it could not be asked, or has nothing to say; the detail says which. */
  readonly outcome: 'pass' | 'fail' | 'skip'
  readonly detail: string
}

export interface ChainExplanation {
  /** As `verifyPeerChain` gives it; a refusal also names the rule and the certificate by which it was decided. */
  readonly verdict: ChainVerdict
  /**
   * Every rule in the order of the path, from the leaf up. One of them fails exactly when the verdict is a refusal, and
   * the one that the verdict names is among those that fail.
   */
  readonly rules: readonly ExplainedRule[]
  /** What was presented, as far as it can be read, and the trust anchor that a path led to. */
  readonly certificates: readonly CertificateFacts[]
}

type Rows = ExplainedRule[]

/** Never throws, as `verifyPeerChain`, whose options it takes. */
export function explainChain(options: VerifyPeerOptions): ChainExplanation {
  checkOptions(options, VERIFY_OPTIONS)
  const { trustBundle, federatedBundles, revocations = nothingRevoked, ...rest } = options
  const domains = trustedDomains(options.ownTrustDomain, trustBundle, federatedBundles)
  const verdict = judgeChain({ ...rest, domains, revocations })
  const rows: Rows = []
  ask(rows, 'chain', presentedRules, options.chain)
  const isOversized = rows.some(({ outcome }) => outcome === 'fail')
  // What is too large is not read, here as there.
  const known = isOversized ? [] : explainCertificates(rows, options, domains, revocations)
  if (!verdict.ok && !rows.some(row => isFailureOf(row, verdict)))
    rows.push(row(verdict.certificate, verdict.rule, fail(withoutLabel(verdict.reason))))
  const certificates = known.map(({ label, certificate }) => certificateFacts(label, certificate))
  return { verdict, rules: rows, certificates }
}

function explainCertificates(
  rows: Rows,
  options: VerifyPeerOptions,
  domains: TrustedDomains,
  revocations: Revocations,
): readonly Labelled[] {
  const readable = readAll(rows, options.chain)
  // A chain is judged as a whole or not at all.
  const presented = readable.length === options.chain.length ? readable : []
  const [leaf] = presented
  if (leaf === undefined) return readable
  ask(rows, leaf.label, leafRules, leaf.certificate)
  const { expect, now, ownTrustDomain } = options
  const id = leafId(leaf.certificate)
  if (id === undefined) {
    for (const { name } of [...bundleRules, { name: 'signature' } as const, expectationRule])
      rows.push(row(leaf.label, name, skip('the leaf has no SPIFFE ID')))
    return readable
  }
  ask(rows, leaf.label, bundleRules, { id, domains, ownTrustDomain })
  const anchors = domains.get(id.trustDomain)?.anchors ?? []
  const path = explainPath(rows, presented, anchors, now)
  explainRevocation(rows, path, revocations, now)
  ask(rows, leaf.label, [expectationRule], { id, expect, ownTrustDomain })
  return [...readable, ...(path ?? []).filter(one => anchors.includes(one))]
}

/** Those that can be read. */
function readAll(rows: Rows, chain: readonly Uint8Array[]): readonly Labelled[] {
  const presented: Labelled[] = []
  for (const read of readPresented(chain)) {
    if (read.ok) {
      presented.push(read.labelled)
      rows.push(row(read.labelled.label, 'der', pass(`${read.labelled.certificate.der.length} bytes of DER`)))
    } else rows.push(row(read.certificate, read.rule, fail(withoutLabel(read.reason))))
  }
  rows.push(
    row(
      'chain',
      'chain-not-empty',
      chain.length > 0 ? pass('a certificate') : fail('no certificate was presented'),
    ),
  )
  return presented
}

/** @returns the path up to a trust anchor, or `undefined` when none leads there. */
function explainPath(
  rows: Rows,
  presented: readonly Labelled[],
  anchors: readonly Labelled[],
  now: number,
): readonly Labelled[] | undefined {
  const found = findPath(presented, anchors, now)
  const path = found.ok ? found.path : led(found.path, presented, anchors)
  for (const [at, below] of path.entries()) {
    const { label, certificate } = below
    if (at === 0) ask(rows, label, validityRules, { certificate, now })
    const signer = path[at + 1]
    if (signer === undefined) break
    ask(rows, label, [signatureAlgorithmRule], below)
    rows.push(row(label, 'signature', pass(`by ${signer.label}`)))
    const isAnchor = anchors.includes(signer)
    const under = path.slice(0, at + 1)
    ask(rows, signer.label, signerRules, { certificate: signer.certificate, below: under, isAnchor, now })
    for (const named of under)
      if (signer.certificate.nameConstraints !== undefined)
        ask(rows, named.label, [constraintRule], { certificate: named.certificate, signer })
  }
  for (const { label } of presented.filter(one => !path.includes(one)))
    rows.push(row(label, 'signature', skip('not on the path to a trust anchor')))
  const last = path[path.length - 1]
  if (last === undefined || anchors.includes(last)) return path
  ask(rows, last.label, [signatureAlgorithmRule], last)
  rows.push(row(last.label, 'signature', fail(withoutLabel(notLed(last).reason))))
  return undefined
}

/** As far as names and signatures lead, whatever rules are broken on the way. */
function led(
  begun: readonly Labelled[],
  presented: readonly Labelled[],
  anchors: readonly Labelled[],
): readonly Labelled[] {
  const path = [...begun]
  for (;;) {
    const last = path[path.length - 1]
    if (last === undefined || anchors.includes(last)) return path
    const next = [...anchors, ...presented].find(
      one => !path.includes(one) && isNamedBy(last, one) && isSignedBy(last, one),
    )
    if (next === undefined) return path
    path.push(next)
  }
}

function explainRevocation(
  rows: Rows,
  path: readonly Labelled[] | undefined,
  revocations: Revocations,
  now: number,
): void {
  if (path === undefined) return void rows.push(row('leaf', 'revocation', skip('no path to a trust anchor')))
  const revoked = revocations.problemOf(path, now)
  rows.push(
    revoked === undefined
      ? row('leaf', 'revocation', pass('nothing on its path is known to be revoked'))
      : row(certificateNamedIn(revoked.reason), 'revocation', fail(withoutLabel(revoked.reason))),
  )
}

function ask<Of>(rows: Rows, label: string, rules: readonly Rule<Of>[], of: Of): void {
  for (const { name, check } of rules) rows.push(row(label, name, check(of)))
}

function row(label: string, rule: ChainRule, { outcome, detail }: Finding): ExplainedRule {
  return { certificate: plainLabel(label), rule, outcome, detail }
}

function isFailureOf(
  { certificate, outcome, rule }: ExplainedRule,
  verdict: Extract<ChainVerdict, { ok: false }>,
): boolean {
  return outcome === 'fail' && rule === verdict.rule && certificate === verdict.certificate
}

function withoutLabel(reason: string): string {
  return reason.replace(/^.*?: /s, '')
}
