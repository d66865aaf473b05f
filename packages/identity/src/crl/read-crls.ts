/** Certificate revocation lists as facts, read strictly from their bytes. RFC 5280 §5. */
import { messageOf } from '@ambient/core'
import { IdentityError } from '../errors.ts'
import {
  constructedTag,
  contextTag,
  type DerElement,
  DerReader,
  readBoolean,
  readInteger,
  readOid,
  readSmallInteger,
  readTime,
  readWholeBytes,
  sameBytes,
  tags,
} from '../x509/der.ts'
import { readPem } from '../x509/pem.ts'

export interface Crl {
  /** DER of the issuer's name. */
  readonly issuer: Uint8Array
  /** Milliseconds since the epoch. */
  readonly thisUpdate: number
  readonly nextUpdate: number | undefined
  /** Serial numbers of withdrawn certificates, as `Certificate.serial`. */
  readonly revoked: ReadonlySet<string>
  /** It speaks of a part of its issuer's certificates: what it names is withdrawn, the rest is not known to be good. */
  readonly isPartial: boolean
  readonly signedBytes: Uint8Array
  readonly signatureAlgorithm: string
  readonly signature: Uint8Array
}

const oids = Object.freeze({
  deltaCrlIndicator: '2.5.29.27',
  issuingDistributionPoint: '2.5.29.28',
})

const BLOCK = /-----BEGIN X509 CRL-----[^-]*-----END X509 CRL-----/g
const BEGIN = /-----BEGIN X509 CRL-----/g

/**
 * The lists of a file: PEM with any number of `X509 CRL` blocks, among others that are passed over, or the DER of one.
 * An empty file holds none.
 * @throws IdentityError `AMBIENT_E_CRL` with the list and the part that is wrong.
 */
export function readCrls(file: Uint8Array): Crl[] {
  const bytes = Buffer.from(file.buffer, file.byteOffset, file.byteLength)
  if (bytes[0] === tags.sequence) return [readCrl(bytes, 'the list')]
  const text = bytes.toString('latin1')
  if (text.trim() === '') return []
  if (!text.includes('-----BEGIN ')) throw unreadable('neither PEM nor DER')
  const blocks = text.match(BLOCK) ?? []
  const begun = text.match(BEGIN)?.length ?? 0
  if (begun !== blocks.length) throw unreadable(`${begun} lists begin, ${blocks.length} end`)
  return blocks.map((block, index) => {
    const [found] = readPem(block, 'AMBIENT_E_CRL')
    if (found === undefined) throw unreadable(`list ${index + 1} of ${begun} is empty`)
    return readCrl(found.der, `list ${index + 1} of ${begun}`)
  })
}

function readCrl(der: Uint8Array, label: string): Crl {
  try {
    return readList(der)
  } catch (cause) {
    throw unreadable(`${label}: ${messageOf(cause)}`, cause)
  }
}

function readList(der: Uint8Array): Crl {
  const file = new DerReader(der)
  const outer = file.enter(tags.sequence, 'certificateList')
  file.end('certificateList')
  const list = outer.expect(tags.sequence, 'tbsCertList')
  const algorithm = outer.expect(tags.sequence, 'signatureAlgorithm')
  const signature = readWholeBytes(outer.expect(tags.bitString, 'signature'), 'signature')
  outer.end('certificateList')
  return { ...readSignedPart(list, algorithm), signedBytes: list.raw, signature }
}

/** The fields of RFC 5280 §5.1.2, in their order. `outerAlgorithm` must be the same as the one inside. */
function readSignedPart(
  list: DerElement,
  outerAlgorithm: DerElement,
): Omit<Crl, 'signedBytes' | 'signature'> {
  const fields = new DerReader(list.content)
  const version = fields.optional(tags.integer, 'version')
  if (version !== undefined && readSmallInteger(version, 'version') !== 1)
    throw unreadable('version: neither 1 nor 2')
  const algorithm = fields.expect(tags.sequence, 'signature')
  if (!sameBytes(algorithm.raw, outerAlgorithm.raw))
    throw unreadable('signature: two different algorithms are named')
  const issuer = fields.expect(tags.sequence, 'issuer')
  const thisUpdate = readTime(fields.next('thisUpdate'), 'thisUpdate')
  const next =
    fields.optional(tags.utcTime, 'nextUpdate') ?? fields.optional(tags.generalizedTime, 'nextUpdate')
  const entries = fields.optional(tags.sequence, 'revokedCertificates')
  const isPartial = readScope(fields.optional(constructedTag(0), 'crlExtensions'))
  fields.end('tbsCertList')
  return {
    issuer: issuer.raw,
    thisUpdate,
    nextUpdate: next && readTime(next, 'nextUpdate'),
    revoked: readEntries(entries),
    isPartial,
    signatureAlgorithm: readOid(new DerReader(algorithm.content).expect(tags.oid, 'signature'), 'signature'),
  }
}

/** Whether the list is partial; lists of changes and of other issuers' certificates are not read as if they were whole. */
function readScope(wrapper: DerElement | undefined): boolean {
  if (wrapper === undefined) return false
  const inside = new DerReader(wrapper.content)
  const list = inside.enter(tags.sequence, 'crlExtensions')
  inside.end('crlExtensions')
  let isPartial = false
  while (!list.done) {
    const { oid, critical, value } = readExtension(list)
    if (oid === oids.deltaCrlIndicator) throw unreadable('a list of changes (delta CRL) is not supported')
    if (oid === oids.issuingDistributionPoint) {
      if (isIndirect(value)) throw unreadable('a list for other issuers (indirect CRL) is not supported')
      isPartial = true
    } else if (critical) throw unreadable(`critical extension ${oid} is not understood`)
  }
  return isPartial
}

function readEntries(entries: DerElement | undefined): ReadonlySet<string> {
  const revoked = new Set<string>()
  if (entries === undefined) return revoked
  const list = new DerReader(entries.content)
  while (!list.done) {
    const entry = list.enter(tags.sequence, 'revokedCertificate')
    const serial = readInteger(entry.expect(tags.integer, 'userCertificate'), 'userCertificate')
    checkTimeTag(entry.next('revocationDate'))
    const extensions = entry.optional(tags.sequence, 'crlEntryExtensions')
    entry.end('revokedCertificate')
    if (extensions !== undefined) checkEntryExtensions(extensions)
    revoked.add(Buffer.from(serial.buffer, serial.byteOffset, serial.byteLength).toString('hex'))
  }
  return revoked
}

/** The date of a withdrawal changes nothing, and reading it costs more than the rest of the entry. */
function checkTimeTag({ tag }: DerElement): void {
  if (tag !== tags.utcTime && tag !== tags.generalizedTime) throw unreadable('revocationDate: not a time')
}

/** Nor does the reason; what is critical could. */
function checkEntryExtensions(extensions: DerElement): void {
  const list = new DerReader(extensions.content)
  while (!list.done) {
    const { oid, critical } = readExtension(list)
    if (critical) throw unreadable(`critical extension ${oid} of an entry is not understood`)
  }
}

function readExtension(list: DerReader): { oid: string; critical: boolean; value: Uint8Array } {
  const extension = list.enter(tags.sequence, 'extension')
  const oid = readOid(extension.expect(tags.oid, 'extension'), 'extension')
  const critical = extension.optional(tags.boolean, 'critical')
  const value = extension.expect(tags.octetString, `extension ${oid}`).content
  extension.end(`extension ${oid}`)
  return { oid, critical: critical !== undefined && readBoolean(critical, 'critical'), value }
}

/** `indirectCRL` of IssuingDistributionPoint, RFC 5280 §5.2.5. */
function isIndirect(value: Uint8Array): boolean {
  const fields = new DerReader(value).enter(tags.sequence, 'issuingDistributionPoint')
  while (!fields.done) {
    const { tag, content } = fields.next('issuingDistributionPoint')
    if (tag === contextTag(4)) return content[0] !== 0
  }
  return false
}

function unreadable(what: string, cause?: unknown): IdentityError {
  return new IdentityError('AMBIENT_E_CRL', what, { cause, layer: 'identity' })
}
