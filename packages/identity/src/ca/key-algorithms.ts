/** The kinds of keys that a CA may have, as WebCrypto makes, reads and signs with them. */
import { createPrivateKey, type KeyObject, type webcrypto } from 'node:crypto'
import { IdentityError } from '../errors.ts'
import { keyProblem } from '../x509/key-rules.ts'
import { crypto, type KeyPair } from '../x509/peculiar.ts'

/** P-256 is what every peer verifies fastest. */
export type CaKeyType = 'P-256' | 'P-384' | 'RSA-2048' | 'RSA-3072' | 'RSA-4096'

export const caKeyTypes: readonly CaKeyType[] = ['P-256', 'P-384', 'RSA-2048', 'RSA-3072', 'RSA-4096']

/** A key that signs certificates, and how. */
export interface SigningKey {
  readonly key: webcrypto.CryptoKey
  readonly algorithm: SigningAlgorithm
}

/** What the certificate library and WebCrypto both take; plain data, so that it can go to another thread. */
export type SigningAlgorithm =
  | { readonly name: 'ECDSA'; readonly namedCurve: 'P-256' | 'P-384'; readonly hash: 'SHA-256' | 'SHA-384' }
  | { readonly name: 'RSASSA-PKCS1-v1_5'; readonly hash: 'SHA-256' }

export interface CaKeys {
  readonly pair: KeyPair
  readonly algorithm: SigningAlgorithm
}

export async function generateCaKeys(type: CaKeyType): Promise<CaKeys> {
  const algorithm = algorithmOf(type)
  if (algorithm.name === 'ECDSA')
    return { algorithm, pair: await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify']) }
  const modulusLength = Number(type.slice('RSA-'.length))
  const rsa = { ...algorithm, modulusLength, publicExponent: new Uint8Array([1, 0, 1]) }
  return { algorithm, pair: await crypto.subtle.generateKey(rsa, true, ['sign', 'verify']) }
}

/**
 * A CA's private key from PEM (PKCS#8, PKCS#1 or SEC 1, as OpenSSL writes them).
 * @throws IdentityError `AMBIENT_E_PRIVATE_KEY`; the text never quotes its input.
 */
export async function importSigningKey(pem: string, where: string): Promise<SigningKey> {
  const key = readKey(pem, where)
  const algorithm = algorithmOfKey(key, where)
  const der = key.export({ type: 'pkcs8', format: 'der' })
  return { algorithm, key: await crypto.subtle.importKey('pkcs8', der, algorithm, false, ['sign']) }
}

function readKey(pem: string, where: string): KeyObject {
  try {
    return createPrivateKey(pem)
  } catch {
    // The parser's own error could quote its input.
    throw refuse(`${where}: the private key cannot be read`)
  }
}

function algorithmOfKey(key: KeyObject, where: string): SigningAlgorithm {
  const weak = keyProblem(key)
  if (weak !== undefined) throw refuse(`${where}: ${weak}`)
  if (key.asymmetricKeyType === 'rsa') return algorithmOf('RSA-2048')
  const curve = key.asymmetricKeyDetails?.namedCurve
  if (curve === 'prime256v1') return algorithmOf('P-256')
  if (curve === 'secp384r1') return algorithmOf('P-384')
  throw refuse(`${where}: a CA's key is P-256, P-384 or RSA`)
}

function algorithmOf(type: CaKeyType): SigningAlgorithm {
  switch (type) {
    case 'P-256':
      return { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
    case 'P-384':
      return { name: 'ECDSA', namedCurve: 'P-384', hash: 'SHA-384' }
    default:
      return { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' }
  }
}

function refuse(message: string): IdentityError {
  return new IdentityError('AMBIENT_E_PRIVATE_KEY', message, { layer: 'identity' })
}
