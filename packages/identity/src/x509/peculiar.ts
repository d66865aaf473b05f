/**
 * The one place that imports `@peculiar/x509`: its dependency injection needs the reflect polyfill evaluated first.
 * Every call gets the platform's WebCrypto explicitly, so no global provider is set.
 */
import 'reflect-metadata'
import { webcrypto } from 'node:crypto'

export {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsageExtension,
  Extension,
  KeyUsagesExtension,
  KeyUsageFlags,
  type JsonGeneralNames,
  Pkcs10CertificateRequestGenerator,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate as GeneratedCertificate,
  X509CertificateGenerator,
  X509CrlGenerator,
} from '@peculiar/x509'

export const crypto = webcrypto

export type KeyPair = webcrypto.CryptoKeyPair

/** P-256 with SHA-256: what ztunnel asks for and every peer understands. */
export const p256 = Object.freeze({ name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' })

export function generateKeys(): Promise<KeyPair> {
  return crypto.subtle.generateKey(p256, true, ['sign', 'verify'])
}
