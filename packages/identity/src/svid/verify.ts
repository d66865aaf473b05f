/**
 * Whom we believe: the verdict on a peer's chain. Stricter than TLS libraries (which accept a leaf with CA:TRUE, two
 * URIs or another domain's CA) and independent of them; synchronous, because it stands before the first byte.
 */
import {
  messageOf,
  type PeerExpectation,
  type PeerProblem,
  type PeerVerdict,
  type SpiffeId,
} from '@ambient/core'
import { nothingRevoked, type Revocations } from '../crl/revocations.ts'
import { verifyLimits } from '../defaults.ts'
import { readCertificate } from '../x509/certificate.ts'
import { readTrustBundle, type TrustAnchors } from './anchors.ts'
import { type BrokenRule, checkLeaf } from './leaf-rules.ts'
import { findPath, type Labelled } from './path.ts'
import { chainKey, holdsAt, type ProvenPath, provenPath } from './proven-paths.ts'

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

/** What is proven against what: one set of anchors for each trust domain, never merged. */
export type TrustedDomains = ReadonlyMap<string, TrustAnchors>

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
  const { trustBundle, federatedBundles, revocations = nothingRevoked, ...rest } = options
  const domains = trustedDomains(options.ownTrustDomain, trustBundle, federatedBundles)
  return verifyWithAnchors({ ...rest, domains, revocations })
}

/** Our own domain's anchors and those of the domains that we federate with. */
export function trustedDomains(
  ownTrustDomain: string,
  trustBundle: string,
  federatedBundles: ReadonlyMap<string, string> = new Map(),
): TrustedDomains {
  const domains = new Map<string, TrustAnchors>()
  for (const [domain, pem] of federatedBundles) domains.set(domain, readTrustBundle(pem))
  // Last, so that no document of a federation speaks for our own domain.
  return domains.set(ownTrustDomain, readTrustBundle(trustBundle))
}

export function verifyWithAnchors(options: VerifyWithAnchors): PeerVerdict {
  const { chain, domains, expect, now, ownTrustDomain, revocations } = options
  const proof = proveChain(chain, domains, ownTrustDomain, now)
  if (!proof.ok) return proof
  const revoked = revocations.problemOf(proof.path, now)
  if (revoked !== undefined) return refuse(revoked.problem, revoked.reason)
  const unexpected = unexpectedProblem(proof.id, expect, ownTrustDomain)
  if (unexpected !== undefined) return refuse(unexpected.problem, `leaf: ${unexpected.reason}`)
  return { ok: true, id: proof.id, notAfter: proof.notAfter }
}

/** Who the leaf is and what proves it, whoever was expected. */
function proveChain(
  chain: readonly Uint8Array[],
  domains: TrustedDomains,
  ownTrustDomain: string,
  now: number,
): ProvenPath | Extract<PeerVerdict, { ok: false }> {
  const bytes = chain.reduce((total, der) => total + der.length, 0)
  if (bytes > verifyLimits.maxChainBytes)
    return refuse('malformed', `chain: ${bytes} bytes, at most ${verifyLimits.maxChainBytes}`)
  const key = chainKey(chain)
  for (const [domain, anchors] of domains) {
    const known = anchors.proven.get(key)
    // Two domains may have one bundle; each proves its own members only.
    if (known?.id.trustDomain === domain && holdsAt(known, now)) return known
  }
  const read = readPresented(chain)
  if (!read.ok) return read
  const [leaf] = read.presented
  if (leaf === undefined) return refuse('no-certificate', 'the peer presented no certificate')
  const own = checkLeaf(leaf.certificate)
  if (!own.ok) return refuse(own.problem, `${leaf.label}: ${own.reason}`)
  const { id } = own
  const named = `${leaf.label} (${id.uri})`
  const trust = domains.get(id.trustDomain)
  if (trust === undefined)
    return refuse('trust-domain', `${named}: trust domain is not ours, ${ownTrustDomain}`)
  if (trust.anchors.length === 0)
    return refuse('untrusted', `${named}: the trust bundle holds no certificate that can be read`)
  const found = findPath([{ ...leaf, label: named }, ...read.presented.slice(1)], trust.anchors, now)
  if (!found.ok) return refuse(found.problem, found.reason)
  return trust.proven.add(key, provenPath(id, found.path))
}

/** Why this is not who was expected. Proven it is. */
function unexpectedProblem(
  id: SpiffeId,
  expect: PeerExpectation,
  ownTrustDomain: string,
): BrokenRule | undefined {
  switch (expect.kind) {
    case 'any':
      return undefined
    case 'one-of':
      return expect.ids.some(expected => expected.uri === id.uri)
        ? undefined
        : {
            problem: 'unexpected-identity',
            reason: `peer is ${id.uri}, expected ${expect.ids.map(expected => expected.uri).join(' or ') || 'nobody'}`,
          }
    case 'own-trust-domain':
      return id.trustDomain === ownTrustDomain
        ? undefined
        : { problem: 'trust-domain', reason: `${id.uri}: trust domain is not ours, ${ownTrustDomain}` }
    case 'member-of':
      return id.trustDomain === expect.trustDomain
        ? undefined
        : {
            problem: 'unexpected-identity',
            reason: `peer is ${id.uri}, expected a member of ${expect.trustDomain}`,
          }
  }
}

function readPresented(
  chain: readonly Uint8Array[],
): { readonly ok: true; readonly presented: readonly Labelled[] } | Extract<PeerVerdict, { ok: false }> {
  if (chain.length > verifyLimits.maxPathLength)
    return refuse('malformed', `chain: ${chain.length} certificates, at most ${verifyLimits.maxPathLength}`)
  const presented: Labelled[] = []
  for (const [index, der] of chain.entries()) {
    const label = index === 0 ? 'leaf' : `certificate ${index + 1} of ${chain.length}`
    try {
      presented.push({ label, certificate: readCertificate(der) })
    } catch (error) {
      return refuse('malformed', `${label}: ${messageOf(error)}`)
    }
  }
  return { ok: true, presented }
}

function refuse(problem: PeerProblem, reason: string): Extract<PeerVerdict, { ok: false }> {
  return { ok: false, problem, reason }
}
