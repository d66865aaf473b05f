/** Which keys and signature algorithms count as proof. */
import type { KeyObject } from 'node:crypto'
import { verifyLimits } from '../defaults.ts'

const CURVE_NAMES: ReadonlyMap<string, string> = new Map([
  ['prime256v1', 'P-256'],
  ['secp384r1', 'P-384'],
  ['secp521r1', 'P-521'],
])

/** Signatures over SHA-256 or better; the digest is what `node:crypto` calls it, `undefined` where the key implies it. */
const SIGNATURES: ReadonlyMap<string, { readonly name: string; readonly digest: string | undefined }> =
  new Map([
    ['1.2.840.10045.4.3.2', { name: 'ecdsa-with-SHA256', digest: 'sha256' }],
    ['1.2.840.10045.4.3.3', { name: 'ecdsa-with-SHA384', digest: 'sha384' }],
    ['1.2.840.10045.4.3.4', { name: 'ecdsa-with-SHA512', digest: 'sha512' }],
    ['1.2.840.113549.1.1.11', { name: 'sha256WithRSAEncryption', digest: 'sha256' }],
    ['1.2.840.113549.1.1.12', { name: 'sha384WithRSAEncryption', digest: 'sha384' }],
    ['1.2.840.113549.1.1.13', { name: 'sha512WithRSAEncryption', digest: 'sha512' }],
    ['1.3.101.112', { name: 'Ed25519', digest: undefined }],
  ])

/** What is wrong with a public key, `undefined` when it is strong enough. */
export function keyProblem(key: KeyObject): string | undefined {
  const type = key.asymmetricKeyType
  const details = key.asymmetricKeyDetails
  if (type === 'ed25519') return undefined
  if (type === 'ec') {
    const curve = details?.namedCurve
    return CURVE_NAMES.has(curve ?? '')
      ? undefined
      : `the curve ${curve ?? 'of its key'} is not P-256, P-384 or P-521`
  }
  if (type === 'rsa') {
    const bits = details?.modulusLength ?? 0
    if (bits < verifyLimits.minRsaBits)
      return `an RSA key of ${bits} bits is weaker than ${verifyLimits.minRsaBits}`
    if (bits > verifyLimits.maxRsaBits)
      return `an RSA key of ${bits} bits is larger than ${verifyLimits.maxRsaBits}`
    const exponent = details?.publicExponent ?? 0n
    // With 1 every number is its own signature.
    return exponent < 3n || exponent % 2n === 0n
      ? `an RSA key with the public exponent ${exponent} proves nothing`
      : undefined
  }
  return `keys of type ${type ?? 'unknown'} are not supported`
}

/** A key in words, good or not. */
export function keyFacts(key: KeyObject): string {
  const details = key.asymmetricKeyDetails
  switch (key.asymmetricKeyType) {
    case 'ed25519':
      return 'Ed25519'
    case 'rsa':
      return `RSA, ${details?.modulusLength ?? 0} bits`
    case 'ec':
      return (
        CURVE_NAMES.get(details?.namedCurve ?? '') ?? `EC, ${details?.namedCurve ?? 'a curve of its own'}`
      )
    default:
      return key.asymmetricKeyType ?? 'unknown'
  }
}

/** What the standard calls an algorithm that {@link signatureAlgorithmProblem} let pass. */
export function signatureAlgorithmName(oid: string): string {
  return SIGNATURES.get(oid)?.name ?? oid
}

export function signatureAlgorithmProblem(oid: string): string | undefined {
  return SIGNATURES.has(oid)
    ? undefined
    : `signature algorithm ${oid} is not SHA-256 or better with ECDSA, RSA or Ed25519`
}

/** The digest of a signature algorithm that {@link signatureAlgorithmProblem} let pass. */
export function signatureDigest(oid: string): string | undefined {
  return SIGNATURES.get(oid)?.digest
}
