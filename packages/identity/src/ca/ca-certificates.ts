/** The certificates of a CA itself: roots that sign themselves, and intermediates that sign workloads. */
import { KeyObject, randomBytes } from 'node:crypto'
import { messageOf } from '@ambient/core'
import { IdentityError } from '../errors.ts'
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  crypto,
  GeneratedCertificate,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectKeyIdentifierExtension,
  X509CertificateGenerator,
} from '../x509/peculiar.ts'
import { formatPemCertificate } from '../x509/pem.ts'
import { type CaKeys, type CaKeyType, generateCaKeys, type SigningKey } from './key-algorithms.ts'

/** A CA certificate with its key, before anybody has written them down. */
export interface MadeAuthority {
  readonly certificatePem: string
  readonly signing: SigningKey
  /** PKCS#8 PEM. A function, so that no dump shows it. */
  privateKeyPem(): string
}

/** What a CA certificate has to have before it can sign another one. */
export type IssuingAuthority = Pick<MadeAuthority, 'certificatePem' | 'signing'>

export interface AuthorityOptions {
  readonly trustDomain: string
  readonly keyType: CaKeyType
  readonly notBefore: number
  readonly notAfter: number
  /** Kept apart from its successors by name, not by key alone. */
  readonly commonName?: string
}

/** Self-signed, path length open. */
export async function createRoot(options: AuthorityOptions): Promise<MadeAuthority> {
  const keys = await generateCaKeys(options.keyType)
  const certificate = await X509CertificateGenerator.createSelfSigned(
    {
      serialNumber: newSerial(),
      name: nameOf(options),
      notBefore: new Date(options.notBefore),
      notAfter: new Date(options.notAfter),
      keys: keys.pair,
      signingAlgorithm: keys.algorithm,
      extensions: await authorityExtensions(keys, undefined),
    },
    crypto,
  )
  return made(certificate, keys)
}

/** Signs leaves only: path length 0. Never longer than the one above it. */
export async function createIntermediate(
  options: AuthorityOptions,
  issuer: IssuingAuthority,
): Promise<MadeAuthority> {
  const keys = await generateCaKeys(options.keyType)
  const above = parseAuthority(issuer.certificatePem)
  const certificate = await X509CertificateGenerator.create(
    {
      serialNumber: newSerial(),
      subject: nameOf(options),
      issuer: above.subjectName,
      notBefore: new Date(Math.max(options.notBefore, above.notBefore.getTime())),
      notAfter: new Date(Math.min(options.notAfter, above.notAfter.getTime())),
      publicKey: keys.pair.publicKey,
      signingKey: issuer.signing.key,
      signingAlgorithm: issuer.signing.algorithm,
      extensions: [...(await authorityExtensions(keys, 0)), await authorityKeyOf(above)],
    },
    crypto,
  )
  return made(certificate, keys)
}

/** @throws IdentityError `AMBIENT_E_CERTIFICATE` */
export function parseAuthority(pem: string): GeneratedCertificate {
  try {
    return new GeneratedCertificate(pem)
  } catch (cause) {
    throw new IdentityError('AMBIENT_E_CERTIFICATE', `a CA's certificate: ${messageOf(cause)}`, {
      cause,
      layer: 'identity',
    })
  }
}

/** As the issuer's certificate names its key, or as RFC 5280 §4.2.1.2 would. */
export async function authorityKeyOf(issuer: GeneratedCertificate): Promise<AuthorityKeyIdentifierExtension> {
  const own = issuer.getExtension(SubjectKeyIdentifierExtension)
  return own === null
    ? AuthorityKeyIdentifierExtension.create(issuer.publicKey, false, crypto)
    : new AuthorityKeyIdentifierExtension(own.keyId, false)
}

/** 127 random bits; the first is set, so that the number is positive and of constant length. */
export function newSerial(): string {
  const bytes = randomBytes(16)
  bytes.writeUInt8((bytes.readUInt8(0) & 0x7f) | 0x40, 0)
  return bytes.toString('hex')
}

/** Eight hexadecimal digits that tell one CA certificate from the next. */
export function newCommonName(kind: 'root' | 'intermediate'): string {
  return `${kind} ${randomBytes(4).toString('hex')}`
}

export function pemOf(certificate: GeneratedCertificate): string {
  return formatPemCertificate(new Uint8Array(certificate.rawData))
}

function nameOf({ trustDomain, commonName }: AuthorityOptions): Record<string, string[]>[] {
  return [{ O: [trustDomain] }, ...(commonName === undefined ? [] : [{ CN: [commonName] }])]
}

async function authorityExtensions(
  { pair }: CaKeys,
  pathLength: number | undefined,
): Promise<(BasicConstraintsExtension | KeyUsagesExtension | SubjectKeyIdentifierExtension)[]> {
  return [
    new BasicConstraintsExtension(true, pathLength, true),
    new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
    await SubjectKeyIdentifierExtension.create(pair.publicKey, false, crypto),
  ]
}

function made(certificate: GeneratedCertificate, { pair, algorithm }: CaKeys): MadeAuthority {
  return {
    certificatePem: pemOf(certificate),
    signing: { key: pair.privateKey, algorithm },
    privateKeyPem: () => String(KeyObject.from(pair.privateKey).export({ type: 'pkcs8', format: 'pem' })),
  }
}
