/** One leaf certificate, signed: what costs a CA its time, and so what may run in another thread. */
import { caDefaults } from '../defaults.ts'
import { IdentityError } from '../errors.ts'
import { oids } from '../x509/certificate.ts'
import {
  BasicConstraintsExtension,
  crypto,
  ExtendedKeyUsageExtension,
  type Extension,
  type GeneratedCertificate,
  type JsonGeneralNames,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  X509CertificateGenerator,
} from '../x509/peculiar.ts'
import { authorityKeyOf, newSerial, parseAuthority, pemOf } from './ca-certificates.ts'
import type { SigningKey } from './key-algorithms.ts'

/** Who signs, by certificates and key. Plain data and one CryptoKey: both can be sent to a thread. */
export interface IssuerMaterial {
  readonly certificatePem: string
  readonly signing: SigningKey
  /** No leaf begins before or ends after what is above it. Milliseconds since the epoch. */
  readonly notBefore: number
  readonly notAfter: number
}

export interface LeafRequest {
  /** DER SubjectPublicKeyInfo. */
  readonly publicKey: Uint8Array
  readonly names: JsonGeneralNames
  readonly purpose: 'workload' | 'server'
  readonly now: number
  readonly ttlMs: number
}

export interface SignedLeaf {
  readonly pem: string
  /** Milliseconds since the epoch. */
  readonly notBefore: number
  readonly notAfter: number
}

/** Reads the issuer once; each call then signs one leaf. */
export type LeafSigner = (request: LeafRequest) => Promise<SignedLeaf>

/**
 * Empty subject; everything that says what a leaf is stands in critical extensions; shortened to its issuer's own end.
 * The signer rejects with `AMBIENT_E_CA_TTL` after that end.
 */
export function createLeafSigner(issuer: IssuerMaterial): LeafSigner {
  const certificate = parseAuthority(issuer.certificatePem)
  const authorityKey = authorityKeyOf(certificate)
  authorityKey.catch(() => {})
  return async request => {
    const { now } = request
    if (now >= issuer.notAfter)
      throw new IdentityError(
        'AMBIENT_E_CA_TTL',
        `this CA expired at ${new Date(issuer.notAfter).toISOString()}`,
        { layer: 'identity' },
      )
    const leaf = await X509CertificateGenerator.create(
      {
        serialNumber: newSerial(),
        issuer: certificate.subjectName,
        notBefore: new Date(Math.max(now - caDefaults.backdateMs, issuer.notBefore)),
        notAfter: new Date(Math.min(now + request.ttlMs, issuer.notAfter)),
        publicKey: request.publicKey,
        signingKey: issuer.signing.key,
        signingAlgorithm: issuer.signing.algorithm,
        extensions: [...leafExtensions(request), await authorityKey],
      },
      crypto,
    )
    return signedLeaf(leaf)
  }
}

function leafExtensions({ names, purpose }: LeafRequest): Extension[] {
  const purposes = purpose === 'workload' ? [oids.serverAuth, oids.clientAuth] : [oids.serverAuth]
  return [
    new KeyUsagesExtension(KeyUsageFlags.digitalSignature | KeyUsageFlags.keyEncipherment, true),
    new ExtendedKeyUsageExtension(purposes, false),
    new BasicConstraintsExtension(false, undefined, true),
    new SubjectAlternativeNameExtension(names, true),
  ]
}

function signedLeaf(leaf: GeneratedCertificate): SignedLeaf {
  return { pem: pemOf(leaf), notBefore: leaf.notBefore.getTime(), notAfter: leaf.notAfter.getTime() }
}
