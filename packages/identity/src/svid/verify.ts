/**
 * Whom we believe: the verdict on a peer's chain. Stricter than TLS libraries (which accept a leaf with CA:TRUE, two
 * URIs or another domain's CA) and independent of them; synchronous, because it stands before the first byte.
 */
import { messageOf, type PeerExpectation, type PeerProblem, type PeerVerdict } from '@ambient/core'
import { type Certificate, readCertificate } from '../x509/certificate.ts'
import { verifyLimits } from '../defaults.ts'
import { checkLeaf } from './leaf-rules.ts'
import { findPath, type Labelled } from './path.ts'
import { readBundleCertificates } from '../x509/pem.ts'

export interface VerifyPeerOptions {
  /** DER, leaf first, as the peer sent it. */
  readonly chain: readonly Uint8Array[]
  /** PEM of every trust anchor of `ownTrustDomain`; certificates in it that cannot be read are passed over. */
  readonly trustBundle: string
  readonly ownTrustDomain: string
  readonly expect: PeerExpectation
  /** Milliseconds since the epoch. */
  readonly now: number
}

/** The anchors of a bundle, read once. */
export interface TrustAnchors {
  readonly anchors: readonly Labelled[]
}

/**
 * Proves a peer's chain. Never throws: what cannot be read is a verdict too, whose reason names the certificate and
 * the rule. Rules: SPIFFE X509-SVID, RFC 5280 §6, and the limits of `defaults.ts`.
 */
export function verifyPeerChain(options: VerifyPeerOptions): PeerVerdict {
  return verifyWithAnchors({ ...options, trust: readTrustBundle(options.trustBundle) })
}

/** Anchors that can be read; the others are skipped, as ztunnel does. */
export function readTrustBundle(pem: string): TrustAnchors {
  const anchors: Labelled[] = []
  for (const [index, der] of readBundleCertificates(pem).entries()) {
    try {
      anchors.push({ label: `trust anchor ${index + 1}`, certificate: readCertificate(der) })
    } catch {
      // One unreadable root must not take the others' peers down; an empty result is refused by its users.
    }
  }
  return { anchors }
}

export function verifyWithAnchors(
  options: Omit<VerifyPeerOptions, 'trustBundle'> & { readonly trust: TrustAnchors },
): PeerVerdict {
  const { chain, trust, ownTrustDomain, expect, now } = options
  const read = readPresented(chain)
  if (!read.ok) return read
  const [leaf] = read.presented
  if (leaf === undefined) return refuse('no-certificate', 'the peer presented no certificate')
  const own = checkLeaf(leaf.certificate)
  if (!own.ok) return refuse(own.problem, `${leaf.label}: ${own.reason}`)
  const { id } = own
  const named = `${leaf.label} (${id.uri})`
  if (id.trustDomain !== ownTrustDomain)
    return refuse('trust-domain', `${named}: trust domain is not ours, ${ownTrustDomain}`)
  if (trust.anchors.length === 0)
    return refuse('untrusted', `${named}: the trust bundle holds no certificate that can be read`)
  const path = findPath([{ ...leaf, label: named }, ...read.presented.slice(1)], trust.anchors, now)
  if (!path.ok) return refuse(path.problem, path.reason)
  if (expect.kind === 'one-of' && !expect.ids.some(expected => expected.uri === id.uri))
    return refuse(
      'unexpected-identity',
      `${leaf.label}: peer is ${id.uri}, expected ${expect.ids.map(expected => expected.uri).join(' or ') || 'nobody'}`,
    )
  return { ok: true, id, notAfter: earliestEnd(path.path) }
}

function readPresented(
  chain: readonly Uint8Array[],
): { readonly ok: true; readonly presented: readonly Labelled[] } | Extract<PeerVerdict, { ok: false }> {
  if (chain.length > verifyLimits.maxPathLength)
    return refuse('malformed', `chain: ${chain.length} certificates, at most ${verifyLimits.maxPathLength}`)
  const bytes = chain.reduce((total, der) => total + der.length, 0)
  if (bytes > verifyLimits.maxChainBytes)
    return refuse('malformed', `chain: ${bytes} bytes, at most ${verifyLimits.maxChainBytes}`)
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

/** A proof holds as long as its shortest-lived certificate. */
function earliestEnd(path: readonly Certificate[]): number {
  return Math.min(...path.map(certificate => certificate.notAfter))
}

function refuse(problem: PeerProblem, reason: string): Extract<PeerVerdict, { ok: false }> {
  return { ok: false, problem, reason }
}
