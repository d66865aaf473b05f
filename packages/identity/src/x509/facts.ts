/** What a certificate says, as text for people and tools. Nothing here is a verdict. */
import { createHash } from 'node:crypto'
import { escapeUnseen } from '@ambient/core'
import { type Certificate, generalName } from './certificate.ts'
import { DerReader, readOid, tags } from './der.ts'
import { keyFacts } from './key-rules.ts'

export interface CertificateFacts {
  /** `leaf`, `certificate 2 of 3`, `trust anchor 1`. */
  readonly certificate: string
  /** As RFC 4514 writes names, in the order of the certificate; empty for an empty one. */
  readonly subject: string
  readonly issuer: string
  /** Hexadecimal. */
  readonly serial: string
  /** RFC 3339. */
  readonly notBefore: string
  readonly notAfter: string
  readonly uris: readonly string[]
  readonly dnsNames: readonly string[]
  readonly isCa: boolean
  readonly key: string
  /** SHA-256 of the DER, hexadecimal. */
  readonly fingerprint: string
}

const SHORT_NAMES: ReadonlyMap<string, string> = new Map([
  ['2.5.4.3', 'CN'],
  ['2.5.4.5', 'serialNumber'],
  ['2.5.4.6', 'C'],
  ['2.5.4.7', 'L'],
  ['2.5.4.8', 'ST'],
  ['2.5.4.10', 'O'],
  ['2.5.4.11', 'OU'],
  ['0.9.2342.19200300.100.1.25', 'DC'],
])
const BMP_STRING = 0x1e

export function certificateFacts(label: string, certificate: Certificate): CertificateFacts {
  const names = (tag: number): readonly string[] =>
    (certificate.subjectAltName?.names ?? [])
      .filter(name => name.tag === tag)
      .map(({ value }) => escapeUnseen(Buffer.from(value).toString('latin1')))
  return {
    certificate: label,
    subject: nameText(certificate.subject),
    issuer: nameText(certificate.issuer),
    serial: certificate.serial,
    notBefore: new Date(certificate.notBefore).toISOString(),
    notAfter: new Date(certificate.notAfter).toISOString(),
    uris: names(generalName.uri),
    dnsNames: names(generalName.dns),
    isCa: certificate.basicConstraints?.ca === true,
    key: keyText(certificate),
    fingerprint: createHash('sha256').update(certificate.der).digest('hex'),
  }
}

function keyText({ x509 }: Certificate): string {
  try {
    return keyFacts(x509.publicKey)
  } catch {
    return 'unreadable'
  }
}

/** A name that cannot be read is shown as its bytes: nobody believes names. */
export function nameText(der: Uint8Array): string {
  try {
    const sets = new DerReader(der).enter(tags.sequence, 'name')
    const parts: string[] = []
    while (!sets.done) {
      const set = sets.enter(tags.set, 'name')
      while (!set.done) parts.push(attributeText(set.enter(tags.sequence, 'attribute')))
    }
    return parts.join(', ')
  } catch {
    return `#${Buffer.from(der).toString('hex')}`
  }
}

function attributeText(attribute: DerReader): string {
  const oid = readOid(attribute.expect(tags.oid, 'attribute'), 'attribute')
  const { tag, content } = attribute.next('attribute')
  const bytes = Buffer.from(content)
  const text = tag === BMP_STRING ? bytes.swap16().toString('utf16le') : bytes.toString('utf8')
  return `${SHORT_NAMES.get(oid) ?? oid}=${escapeUnseen(text.replace(/[\\,+"<>;=]/g, '\\$&'))}`
}
