/** Makes certificates with any fault: the library's extensions, and hand-made DER where it is too well behaved. */
import 'reflect-metadata'
import { generateKeyPairSync, KeyObject, randomBytes, webcrypto } from 'node:crypto'
import {
  BasicConstraintsExtension,
  ExtendedKeyUsageExtension,
  Extension,
  type JsonGeneralNames,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  X509CertificateGenerator,
} from '@peculiar/x509'

export const NOW = Date.UTC(2026, 5, 1)
export const HOUR = 3_600_000
export const TRUST_DOMAIN = 'td.example'
export const WEB = 'spiffe://td.example/ns/shop/sa/web'

type KeyPair = webcrypto.CryptoKeyPair

export interface Made {
  readonly der: Uint8Array
  readonly pem: string
  readonly keys: KeyPair
  /** PKCS#8 PEM of the key that the certificate is for; absent where that key is not known. */
  readonly keyPem: string | undefined
  readonly subject: string
}

/** A key that WebCrypto does not have. */
export interface ForeignKey {
  /** DER SubjectPublicKeyInfo. */
  readonly spki: Uint8Array
  readonly pem?: string
}

const P256 = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }

export function p256(): Promise<KeyPair> {
  return webcrypto.subtle.generateKey(P256, true, ['sign', 'verify'])
}

export function rsa(bits: number, hash = 'SHA-256'): Promise<KeyPair> {
  return webcrypto.subtle.generateKey(
    { name: 'RSASSA-PKCS1-v1_5', modulusLength: bits, publicExponent: new Uint8Array([1, 0, 1]), hash },
    true,
    ['sign', 'verify'],
  )
}

export function curveKey(namedCurve: string): ForeignKey {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve })
  return {
    spki: new Uint8Array(publicKey.export({ type: 'spki', format: 'der' })),
    pem: String(privateKey.export({ type: 'pkcs8', format: 'pem' })),
  }
}

/** An RSA key whose signatures are the messages themselves. */
export function exponentOneKey(): ForeignKey {
  const modulus = Buffer.concat([Uint8Array.of(0, 0xc0), randomBytes(254), Uint8Array.of(1)])
  const key = tlv(0x30, tlv(0x02, modulus), tlv(0x02, Uint8Array.of(1)))
  const rsaEncryption = Uint8Array.of(0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0)
  return { spki: tlv(0x30, rsaEncryption, tlv(0x03, Uint8Array.of(0), key)) }
}

export const tlv = (tag: number, ...content: readonly Uint8Array[]): Uint8Array => {
  const body = Buffer.concat(content)
  const length =
    body.length < 0x80
      ? [body.length]
      : body.length < 0x100
        ? [0x81, body.length]
        : [0x82, body.length >> 8, body.length & 0xff]
  return Buffer.concat([Uint8Array.from([tag, ...length]), body])
}

export const uriName = (text: string): Uint8Array => tlv(0x86, Buffer.from(text, 'latin1'))

/** Extensions by their short names. */
export const ext = {
  san: (names: JsonGeneralNames, critical = true): Extension =>
    new SubjectAlternativeNameExtension(names, critical),
  sanBytes: (...names: readonly Uint8Array[]): Extension =>
    new Extension('2.5.29.17', true, tlv(0x30, ...names)),
  raw: (oid: string, critical: boolean, value: Uint8Array): Extension => new Extension(oid, critical, value),
  ku: (flags: number, critical = true): Extension => new KeyUsagesExtension(flags, critical),
  bc: (ca: boolean, pathLength?: number): Extension => new BasicConstraintsExtension(ca, pathLength, true),
  eku: (...purposes: string[]): Extension => new ExtendedKeyUsageExtension(purposes, false),
  /** Permitted URI hosts. */
  uriConstraint: (host: string): Extension =>
    new Extension('2.5.29.30', true, tlv(0x30, tlv(0xa0, tlv(0x30, uriName(host))))),
  /** With a maximum, which RFC 5280 does not have. */
  uriConstraintUpTo: (host: string): Extension =>
    new Extension(
      '2.5.29.30',
      true,
      tlv(0x30, tlv(0xa0, tlv(0x30, uriName(host), tlv(0x81, Uint8Array.of(9))))),
    ),
  /** Excluded URI hosts. */
  uriExclusion: (host: string): Extension =>
    new Extension('2.5.29.30', true, tlv(0x30, tlv(0xa1, tlv(0x30, uriName(host))))),
  /** An excluded name with a tag that no name has: a URI in pieces, as BER allows. */
  piecesExclusion: (host: string): Extension =>
    new Extension('2.5.29.30', true, tlv(0x30, tlv(0xa1, tlv(0x30, tlv(0xa6, uriName(host)))))),
}

export const SERVER = '1.3.6.1.5.5.7.3.1'
export const CLIENT = '1.3.6.1.5.5.7.3.2'
export const CODE_SIGNING = '1.3.6.1.5.5.7.3.3'
export const ANY_PURPOSE = '2.5.29.37.0'
export { KeyUsageFlags as KU }

export interface LeafParts {
  readonly uri?: string
  /** `null` leaves an extension out. */
  readonly san?: Extension | null
  readonly ku?: Extension | null
  readonly bc?: Extension | null
  readonly eku?: Extension | null
  readonly more?: readonly Extension[]
}

export interface MakeOptions {
  readonly subject?: string
  readonly signer?: Made
  /** Writes another issuer than the signer's name. */
  readonly issuer?: string
  readonly notBefore?: number
  readonly notAfter?: number
  readonly keys?: KeyPair
  readonly publicKey?: ForeignKey
  readonly extensions: readonly Extension[]
}

export async function make(options: MakeOptions): Promise<Made> {
  const keys = options.keys ?? (await p256())
  const { subject = '' } = options
  const issuer = options.issuer ?? options.signer?.subject ?? subject
  const signingKey = options.signer?.keys.privateKey ?? keys.privateKey
  const certificate = await X509CertificateGenerator.create(
    {
      ...(subject === '' ? {} : { subject }),
      ...(issuer === '' ? {} : { issuer }),
      notBefore: new Date(options.notBefore ?? NOW - HOUR),
      notAfter: new Date(options.notAfter ?? NOW + HOUR),
      publicKey: options.publicKey?.spki ?? keys.publicKey,
      signingKey,
      signingAlgorithm: P256,
      extensions: [...options.extensions],
    },
    webcrypto,
  )
  return {
    der: new Uint8Array(certificate.rawData),
    pem: `${certificate.toString('pem')}\n`,
    keys,
    keyPem:
      options.publicKey === undefined
        ? String(KeyObject.from(keys.privateKey).export({ type: 'pkcs8', format: 'pem' }))
        : options.publicKey.pem,
    subject,
  }
}

export function leafExtensions(parts: LeafParts = {}): Extension[] {
  const {
    uri = WEB,
    san = ext.san([{ type: 'url', value: uri }]),
    ku = ext.ku(KeyUsageFlags.digitalSignature),
    bc = ext.bc(false),
    eku = ext.eku(SERVER, CLIENT),
    more = [],
  } = parts
  return [san, ku, bc, eku, ...more].filter(extension => extension !== null)
}

export function caExtensions(
  parts: {
    pathLength?: number
    ku?: Extension | null
    bc?: Extension | null
    more?: readonly Extension[]
  } = {},
): Extension[] {
  const {
    ku = ext.ku(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign),
    bc = ext.bc(true, parts.pathLength),
    more = [],
  } = parts
  return [bc, ku, ...more].filter(extension => extension !== null)
}

export function root(subject = 'O=td.example', more: Partial<MakeOptions> = {}): Promise<Made> {
  return make({
    subject,
    notBefore: NOW - 24 * HOUR,
    notAfter: NOW + 24 * HOUR,
    extensions: caExtensions(),
    ...more,
  })
}

export function intermediate(signer: Made, subject: string, more: Partial<MakeOptions> = {}): Promise<Made> {
  return make({ subject, signer, extensions: caExtensions(), ...more })
}

export function leaf(signer: Made, parts: LeafParts = {}, more: Partial<MakeOptions> = {}): Promise<Made> {
  return make({ signer, extensions: leafExtensions(parts), ...more })
}
