/**
 * Whom we believe: the verdict on a peer's chain. Stricter than TLS libraries (which accept a leaf with CA:TRUE, two
 * URIs or another domain's CA) and independent of them; synchronous, because it stands before the first byte.
 */
import { messageOf, type PeerExpectation, type PeerVerdict } from '@ambient/core'
import { nothingRevoked, type Revocations } from '../crl/revocations.ts'
import { readCertificate } from '../x509/certificate.ts'
import { type TrustedDomains, trustedDomains } from './anchors.ts'
import { bundleRules, expectationRule, presentedRules, unexpectedProblem } from './chain-rules.ts'
import { checkLeaf } from './leaf-rules.ts'
import { findPath, type Labelled, noLeaf } from './path.ts'
import { chainKey, holdsAt, type ProvenPath, provenPath } from './proven-paths.ts'
import { type BrokenChainRule, brokenRule, firstBroken, plainLabel } from './rules.ts'
import { checkOptions } from '../option-checks.ts'

/** For {@link checkOptions}: what every verdict needs. */
export const VERIFY_OPTIONS = {
  chain: 'list',
  trustBundle: 'text',
  ownTrustDomain: 'text',
  expect: 'object',
  now: 'number',
} as const

export interface VerifyPeerOptions {
  /** DER, leaf first, as the peer sent it. */
  readonly chain: readonly Uint8Array[]
  /** PEM of every trust anchor of `ownTrustDomain`; certificates in it that cannot be read are passed over. */
  readonly trustBundle: string
  readonly ownTrustDomain: string
  /** PEM of the anchors of other trust domains; a chain is proven by the bundle of its leaf's domain only. */
  readonly federatedBundles?: ReadonlyMap<string, string>
  /** What is known of withdrawn certificates. Default: nothing is. */
  readonly revocations?: Revocations
  readonly expect: PeerExpectation
  /** Milliseconds since the epoch. */
  readonly now: number
}

export interface VerifyWithAnchors {
  readonly chain: readonly Uint8Array[]
  readonly domains: TrustedDomains
  readonly ownTrustDomain: string
  readonly revocations: Revocations
  readonly expect: PeerExpectation
  readonly now: number
}

/**
 * Proves a peer's chain. Never throws: what cannot be read is a verdict too, whose reason names the certificate and
 * the rule. Rules: SPIFFE X509-SVID, RFC 5280 §6, and the limits of `defaults.ts`.
 */
export function verifyPeerChain(options: VerifyPeerOptions): PeerVerdict {
  checkOptions(options, VERIFY_OPTIONS)
  const { trustBundle, federatedBundles, revocations = nothingRevoked, ...rest } = options
  const domains = trustedDomains(options.ownTrustDomain, trustBundle, federatedBundles)
  return verifyWithAnchors({ ...rest, domains, revocations })
}

export function verifyWithAnchors(options: VerifyWithAnchors): PeerVerdict {
  const judged = judgeChain(options)
  return judged.ok ? judged : { ok: false, problem: judged.problem, reason: judged.reason }
}

export type ChainRefusal = { readonly ok: false } & BrokenChainRule

/** A verdict that also names the certificate and the rule for programs. */
export type ChainVerdict = Extract<PeerVerdict, { ok: true }> | ChainRefusal

export function judgeChain(options: VerifyWithAnchors): ChainVerdict {
  const { chain, domains, expect, now, ownTrustDomain, revocations } = options
  const proof = proveChain(chain, domains, ownTrustDomain, now)
  if (!proof.ok) return proof
  const revoked = revocations.problemOf(proof.path, now)
  if (revoked !== undefined)
    return { ok: false, ...revoked, rule: 'revocation', certificate: certificateNamedIn(revoked.reason) }
  const unexpected = firstBroken([expectationRule], { id: proof.id, expect, ownTrustDomain }, 'leaf')
  if (unexpected !== undefined) return { ok: false, ...unexpected, problem: unexpectedProblem(expect) }
  return { ok: true, id: proof.id, notAfter: proof.notAfter }
}

/** Who the leaf is and what proves it, whoever was expected. */
function proveChain(
  chain: readonly Uint8Array[],
  domains: TrustedDomains,
  ownTrustDomain: string,
  now: number,
): ProvenPath | ChainRefusal {
  const oversized = firstBroken(presentedRules, chain, 'chain')
  if (oversized !== undefined) return refuse(oversized)
  const key = chainKey(chain)
  for (const [domain, anchors] of domains) {
    const known = anchors.proven.get(key)
    // Two domains may have one bundle; each proves its own members only.
    if (known?.id.trustDomain === domain && holdsAt(known, now)) return known
  }
  const presented: Labelled[] = []
  for (const read of readPresented(chain)) {
    if (!read.ok) return read
    presented.push(read.labelled)
  }
  const [leaf] = presented
  if (leaf === undefined) return refuse(noLeaf())
  const own = checkLeaf(leaf.certificate, leaf.label)
  if (!own.ok) return own
  const { id } = own
  const named = { ...leaf, label: `${leaf.label} (${id.uri})` }
  const unknown = firstBroken(bundleRules, { id, domains, ownTrustDomain }, named.label)
  const trust = domains.get(id.trustDomain)
  if (unknown !== undefined || trust === undefined) return refuse(unknown ?? noLeaf())
  const found = findPath([named, ...presented.slice(1)], trust.anchors, now)
  if (!found.ok) return refuse(found)
  return trust.proven.add(key, provenPath(id, found.path))
}

type Presented = { readonly ok: true; readonly labelled: Labelled } | ChainRefusal

/** Each certificate as it was sent, or what makes it unreadable. */
export function* readPresented(chain: readonly Uint8Array[]): Generator<Presented> {
  for (const [index, der] of chain.entries()) {
    const label = index === 0 ? 'leaf' : `certificate ${index + 1} of ${chain.length}`
    try {
      yield { ok: true, labelled: { label, certificate: readCertificate(der) } }
    } catch (error) {
      yield refuse(brokenRule(label, 'der', 'malformed', messageOf(error)))
    }
  }
}

/** Reasons begin with it. */
export function certificateNamedIn(reason: string): string {
  return plainLabel(/^(.*?): /s.exec(reason)?.[1] ?? 'chain')
}

function refuse({ problem, rule, certificate, reason }: BrokenChainRule): ChainRefusal {
  return { ok: false, problem, rule, certificate, reason }
}
