/** The rules of X509-SVID that a leaf must keep, whoever signed it. SPIFFE X509-SVID §2–§5, RFC 5280 §4.2. */
import { messageOf, type PeerProblem, readSpiffeId, type SpiffeId } from '@ambient/core'
import { type Certificate, generalName, keyUsageBits, oids } from '../x509/certificate.ts'
import { keyProblem } from '../x509/key-rules.ts'

/** One broken rule. The reason does not name the certificate; whoever reports it does. */
export interface BrokenRule {
  readonly problem: PeerProblem
  readonly reason: string
}

export type LeafVerdict = { readonly ok: true; readonly id: SpiffeId } | ({ readonly ok: false } & BrokenRule)

/** Far above what an ID may have, so that the ID's own rule gives the reason. */
const MAX_SHOWN = 120

/** Everything a leaf says about itself: identity, purpose, key. Nothing here proves who signed it. */
export function checkLeaf(leaf: Certificate): LeafVerdict {
  const identity = leafIdentity(leaf)
  if (!identity.ok) return identity
  const broken = leafUsage(leaf) ?? commonRules(leaf)
  return broken === undefined ? identity : { ok: false, ...broken }
}

/** Rules for every certificate of a path. */
export function commonRules(certificate: Certificate): BrokenRule | undefined {
  const [unknown] = certificate.unknownCritical
  if (unknown !== undefined)
    return { problem: 'malformed', reason: `critical extension ${unknown} is not understood` }
  const weak = publicKeyProblem(certificate)
  return weak === undefined ? undefined : { problem: 'weak-key', reason: weak }
}

function publicKeyProblem(certificate: Certificate): string | undefined {
  try {
    return keyProblem(certificate.x509.publicKey)
  } catch (cause) {
    return `its public key cannot be read: ${messageOf(cause)}`
  }
}

function leafIdentity(leaf: Certificate): LeafVerdict {
  const san = leaf.subjectAltName
  const uris = (san?.names ?? []).filter(name => name.tag === generalName.uri)
  const [uri] = uris
  if (san === undefined || uri === undefined)
    return { ok: false, problem: 'uri-san', reason: 'has no URI in its subject alternative name' }
  if (uris.length > 1)
    return {
      ok: false,
      problem: 'uri-san',
      reason: `has ${uris.length} URIs where a SPIFFE certificate has exactly one`,
    }
  if (leaf.subjectIsEmpty && !san.critical)
    return {
      ok: false,
      problem: 'uri-san',
      reason: 'its subject is empty, so its subject alternative name must be critical',
    }
  // Latin-1 keeps one character per byte; the ID's own rules refuse everything beyond ASCII.
  const text = Buffer.from(uri.value).toString('latin1')
  const parsed = readSpiffeId(text)
  if (!parsed.ok)
    return {
      ok: false,
      problem: 'spiffe-id',
      reason: `its URI ${JSON.stringify(text.slice(0, MAX_SHOWN))} is not a SPIFFE ID: ${parsed.reason}`,
    }
  if (parsed.id.path === '')
    return {
      ok: false,
      problem: 'spiffe-id',
      reason: `its SPIFFE ID ${text} names a trust domain, not a workload`,
    }
  return { ok: true, id: parsed.id }
}

function leafUsage(leaf: Certificate): BrokenRule | undefined {
  if (leaf.basicConstraints?.ca === true)
    return {
      problem: 'basic-constraints',
      reason: 'is a CA certificate (CA:TRUE) where a workload certificate is due',
    }
  const usage = leaf.keyUsage
  if (usage === undefined) return { problem: 'key-usage', reason: 'has no key usage' }
  if (!usage.critical) return { problem: 'key-usage', reason: 'its key usage is not critical' }
  if ((usage.bits & keyUsageBits.keyCertSign) !== 0)
    return { problem: 'key-usage', reason: 'its key usage has keyCertSign, which is for CAs' }
  if ((usage.bits & keyUsageBits.cRLSign) !== 0)
    return { problem: 'key-usage', reason: 'its key usage has cRLSign, which is for CAs' }
  if ((usage.bits & keyUsageBits.digitalSignature) === 0)
    return { problem: 'key-usage', reason: 'its key usage lacks digitalSignature' }
  const purposes = leaf.extendedKeyUsage
  if (purposes === undefined) return undefined
  const missing = [
    ...(purposes.includes(oids.serverAuth) ? [] : ['serverAuth']),
    ...(purposes.includes(oids.clientAuth) ? [] : ['clientAuth']),
  ]
  return missing.length === 0
    ? undefined
    : { problem: 'key-usage', reason: `its extended key usage lacks ${missing.join(' and ')}` }
}
