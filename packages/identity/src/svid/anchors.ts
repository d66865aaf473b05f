/** The trust anchors of one bundle, read once, with what they have proven so far. */
import { verifyLimits } from '../defaults.ts'
import { readCertificate } from '../x509/certificate.ts'
import { readBundleCertificates } from '../x509/pem.ts'
import type { Labelled } from './path.ts'
import { createProvenPaths, type ProvenPaths } from './proven-paths.ts'

export interface TrustAnchors {
  readonly anchors: readonly Labelled[]
  readonly proven: ProvenPaths
}

/**
 * By their whole text: identities that share a bundle share what it has proven, and a bundle of another generation
 * starts from nothing. A path depends on nothing but its bytes, these anchors and the time.
 */
const known = new Map<string, TrustAnchors>()

/** Anchors that can be read; the others are skipped, as ztunnel does. */
export function readTrustBundle(pem: string): TrustAnchors {
  const present = known.get(pem)
  if (present !== undefined) return present
  const anchors: Labelled[] = []
  for (const [index, der] of readBundleCertificates(pem).entries()) {
    try {
      anchors.push({ label: `trust anchor ${index + 1}`, certificate: readCertificate(der) })
    } catch {
      // One unreadable root must not take the others' peers down; an empty result is refused by its users.
    }
  }
  const [oldest] = known.keys()
  if (known.size >= verifyLimits.maxKnownBundles && oldest !== undefined) known.delete(oldest)
  const trust = { anchors, proven: createProvenPaths(verifyLimits.maxProvenPaths) }
  known.set(pem, trust)
  return trust
}

/** What is proven against what: one set of anchors for each trust domain, never merged. */
export type TrustedDomains = ReadonlyMap<string, TrustAnchors>

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
