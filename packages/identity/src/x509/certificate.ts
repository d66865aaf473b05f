/** One X.509 certificate as facts: what RFC 5280 says is in it, read strictly from its bytes. */
import { X509Certificate } from 'node:crypto'
import { messageOf } from '@ambient/core'
import {
  constructedTag,
  contextTag,
  type DerElement,
  DerReader,
  readBitString,
  readBoolean,
  readInteger,
  readOid,
  readSmallInteger,
  readTime,
  readWholeBytes,
  sameBytes,
  tags,
} from './der.ts'
import { IdentityError } from '../errors.ts'

export const oids = Object.freeze({
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  nameConstraints: '2.5.29.30',
  certificatePolicies: '2.5.29.32',
  extendedKeyUsage: '2.5.29.37',
  anyExtendedKeyUsage: '2.5.29.37.0',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
})

/** Bits of KeyUsage, as masks of {@link Certificate.keyUsage}. */
export const keyUsageBits = Object.freeze({
  digitalSignature: 1 << 0,
  keyEncipherment: 1 << 2,
  keyCertSign: 1 << 5,
  cRLSign: 1 << 6,
})

/** Tags of GeneralName that the rules speak of. */
export const generalName = Object.freeze({
  dns: contextTag(2),
  directory: constructedTag(4),
  uri: contextTag(6),
  ip: contextTag(7),
})

/** All that RFC 5280 §4.2.1.6 knows, in the form that DER gives each. */
const GENERAL_NAMES: readonly number[] = [
  constructedTag(0),
  contextTag(1),
  generalName.dns,
  constructedTag(3),
  generalName.directory,
  constructedTag(5),
  generalName.uri,
  generalName.ip,
  contextTag(8),
]

export interface GeneralName {
  readonly tag: number
  readonly value: Uint8Array
}

export interface Certificate {
  readonly der: Uint8Array
  readonly serial: string
  /** DER of the names, compared byte by byte. */
  readonly issuer: Uint8Array
  readonly subject: Uint8Array
  readonly subjectIsEmpty: boolean
  readonly notBefore: number
  readonly notAfter: number
  readonly signatureAlgorithm: string
  /** DER of SubjectPublicKeyInfo. */
  readonly publicKey: Uint8Array
  readonly basicConstraints: { readonly ca: boolean; readonly pathLength: number | undefined } | undefined
  readonly keyUsage: { readonly critical: boolean; readonly bits: number } | undefined
  readonly extendedKeyUsage: readonly string[] | undefined
  readonly subjectAltName: { readonly critical: boolean; readonly names: readonly GeneralName[] } | undefined
  readonly nameConstraints:
    | { readonly permitted: readonly GeneralName[]; readonly excluded: readonly GeneralName[] }
    | undefined
  /** OIDs of critical extensions that nothing here understands. */
  readonly unknownCritical: readonly string[]
  /** The platform's view, for its keys and signatures. */
  readonly x509: X509Certificate
}

interface RawExtension {
  readonly critical: boolean
  readonly value: Uint8Array
}

const UNDERSTOOD: readonly string[] = [
  oids.keyUsage,
  oids.subjectAltName,
  oids.basicConstraints,
  oids.nameConstraints,
  oids.certificatePolicies,
  oids.extendedKeyUsage,
]

/**
 * Reads an X.509 v3 certificate.
 * @throws IdentityError `AMBIENT_E_CERTIFICATE` with the part that is wrong.
 */
export function readCertificate(der: Uint8Array): Certificate {
  const file = new DerReader(der)
  const outer = file.enter(tags.sequence, 'certificate')
  file.end('certificate')
  const tbs = outer.enter(tags.sequence, 'tbsCertificate')
  const algorithm = outer.expect(tags.sequence, 'signatureAlgorithm')
  readWholeBytes(outer.expect(tags.bitString, 'signature'), 'signature')
  outer.end('certificate')
  return { der, ...readSignedPart(tbs, algorithm), x509: platformCertificate(der) }
}

/** The fields of RFC 5280 §4.1.2, in their order. `outerAlgorithm` must be the same as the one inside. */
function readSignedPart(tbs: DerReader, outerAlgorithm: DerElement): Omit<Certificate, 'der' | 'x509'> {
  readVersion(tbs)
  const serial = readInteger(tbs.expect(tags.integer, 'serialNumber'), 'serialNumber')
  const algorithm = tbs.expect(tags.sequence, 'signature')
  if (!sameBytes(algorithm.raw, outerAlgorithm.raw))
    throw malformed('signature: two different algorithms are named')
  const issuer = tbs.expect(tags.sequence, 'issuer')
  const validity = tbs.enter(tags.sequence, 'validity')
  const notBefore = readTime(validity.next('notBefore'), 'notBefore')
  const notAfter = readTime(validity.next('notAfter'), 'notAfter')
  validity.end('validity')
  const subject = tbs.expect(tags.sequence, 'subject')
  const publicKey = tbs.expect(tags.sequence, 'subjectPublicKeyInfo')
  tbs.optional(contextTag(1), 'issuerUniqueID')
  tbs.optional(contextTag(2), 'subjectUniqueID')
  const extensions = readExtensions(tbs)
  tbs.end('tbsCertificate')
  return {
    serial: Buffer.from(serial).toString('hex'),
    issuer: issuer.raw,
    subject: subject.raw,
    subjectIsEmpty: subject.content.length === 0,
    notBefore,
    notAfter,
    signatureAlgorithm: readOid(new DerReader(algorithm.content).expect(tags.oid, 'signature'), 'signature'),
    publicKey: publicKey.raw,
    ...readKnownExtensions(extensions),
    unknownCritical: [...extensions]
      .filter(([oid, extension]) => extension.critical && !UNDERSTOOD.includes(oid))
      .map(([oid]) => oid),
  }
}

function readVersion(tbs: DerReader): void {
  const version = tbs.enter(constructedTag(0), 'version')
  if (readSmallInteger(version.expect(tags.integer, 'version'), 'version') !== 2)
    throw malformed('version: not X.509 v3')
  version.end('version')
}

function platformCertificate(der: Uint8Array): X509Certificate {
  try {
    return new X509Certificate(der)
  } catch (cause) {
    throw malformed(`unreadable: ${messageOf(cause)}`, cause)
  }
}

function readExtensions(tbs: DerReader): ReadonlyMap<string, RawExtension> {
  const found = new Map<string, RawExtension>()
  const wrapper = tbs.optional(constructedTag(3), 'extensions')
  if (wrapper === undefined) return found
  const inside = new DerReader(wrapper.content)
  const list = inside.enter(tags.sequence, 'extensions')
  inside.end('extensions')
  while (!list.done) {
    const extension = list.enter(tags.sequence, 'extension')
    const oid = readOid(extension.expect(tags.oid, 'extension'), 'extension')
    const critical = extension.optional(tags.boolean, 'critical')
    const value = extension.expect(tags.octetString, `extension ${oid}`).content
    extension.end(`extension ${oid}`)
    if (found.has(oid)) throw malformed(`extension ${oid}: given twice`)
    found.set(oid, { critical: critical !== undefined && readBoolean(critical, 'critical'), value })
  }
  return found
}

function readKnownExtensions(
  extensions: ReadonlyMap<string, RawExtension>,
): Pick<
  Certificate,
  'basicConstraints' | 'keyUsage' | 'extendedKeyUsage' | 'subjectAltName' | 'nameConstraints'
> {
  const basicConstraints = extensions.get(oids.basicConstraints)
  const keyUsage = extensions.get(oids.keyUsage)
  const extendedKeyUsage = extensions.get(oids.extendedKeyUsage)
  const subjectAltName = extensions.get(oids.subjectAltName)
  const nameConstraints = extensions.get(oids.nameConstraints)
  return {
    basicConstraints: basicConstraints && readBasicConstraints(basicConstraints.value),
    keyUsage: keyUsage && { critical: keyUsage.critical, bits: readKeyUsage(keyUsage.value) },
    extendedKeyUsage: extendedKeyUsage && readExtendedKeyUsage(extendedKeyUsage.value),
    subjectAltName: subjectAltName && {
      critical: subjectAltName.critical,
      names: readGeneralNames(subjectAltName.value),
    },
    nameConstraints: nameConstraints && readNameConstraints(nameConstraints.value),
  }
}

function readBasicConstraints(value: Uint8Array): { ca: boolean; pathLength: number | undefined } {
  const file = new DerReader(value)
  const fields = file.enter(tags.sequence, 'basicConstraints')
  file.end('basicConstraints')
  const ca = fields.optional(tags.boolean, 'cA')
  const pathLength = fields.optional(tags.integer, 'pathLenConstraint')
  fields.end('basicConstraints')
  return {
    ca: ca !== undefined && readBoolean(ca, 'cA'),
    pathLength: pathLength && readSmallInteger(pathLength, 'pathLenConstraint'),
  }
}

function readKeyUsage(value: Uint8Array): number {
  const file = new DerReader(value)
  const { bytes } = readBitString(file.expect(tags.bitString, 'keyUsage'), 'keyUsage')
  file.end('keyUsage')
  let bits = 0
  for (const [index, byte] of bytes.subarray(0, 2).entries())
    for (let bit = 0; bit < 8; bit += 1) if ((byte & (0x80 >> bit)) !== 0) bits |= 1 << (index * 8 + bit)
  return bits
}

function readExtendedKeyUsage(value: Uint8Array): readonly string[] {
  const file = new DerReader(value)
  const list = file.enter(tags.sequence, 'extKeyUsage')
  file.end('extKeyUsage')
  const purposes: string[] = []
  while (!list.done) purposes.push(readOid(list.expect(tags.oid, 'extKeyUsage'), 'extKeyUsage'))
  return purposes
}

function readGeneralNames(value: Uint8Array): readonly GeneralName[] {
  const file = new DerReader(value)
  const list = file.enter(tags.sequence, 'subjectAltName')
  file.end('subjectAltName')
  const names: GeneralName[] = []
  while (!list.done) {
    const { tag, content } = list.next('subjectAltName')
    // A URI in pieces (BER) would otherwise be a name of an unknown kind.
    if (!GENERAL_NAMES.includes(tag)) throw malformed(`subjectAltName: no name has tag 0x${tag.toString(16)}`)
    names.push({ tag, value: content })
  }
  return names
}

function readNameConstraints(value: Uint8Array): NonNullable<Certificate['nameConstraints']> {
  const file = new DerReader(value)
  const fields = file.enter(tags.sequence, 'nameConstraints')
  file.end('nameConstraints')
  const permitted = fields.optional(constructedTag(0), 'permittedSubtrees')
  const excluded = fields.optional(constructedTag(1), 'excludedSubtrees')
  fields.end('nameConstraints')
  const subtrees = (content: Uint8Array | undefined): GeneralName[] => {
    const list = new DerReader(content ?? new Uint8Array())
    const names: GeneralName[] = []
    while (!list.done) {
      const subtree = list.enter(tags.sequence, 'subtree')
      const { tag, content: base } = subtree.next('subtree')
      // As in a name itself: what nobody knows would constrain nothing.
      if (!GENERAL_NAMES.includes(tag))
        throw malformed(`nameConstraints: no name has tag 0x${tag.toString(16)}`)
      // RFC 5280 §4.2.1.10: a minimum is 0, which DER leaves out, and there is no maximum.
      subtree.end('subtree')
      names.push({ tag, value: base })
    }
    return names
  }
  return { permitted: subtrees(permitted?.content), excluded: subtrees(excluded?.content) }
}

function malformed(message: string, cause?: unknown): IdentityError {
  return new IdentityError('AMBIENT_E_CERTIFICATE', message, { cause, layer: 'identity' })
}
