/** The one exception to the rule that names never come from a request: a CA on loopback that knows no callers. */
import { readSpiffeId, type SpiffeId } from '@ambient/core'
import { constructedTag, DerReader, readOid, tags } from '../x509/der.ts'
import { readPem } from '../x509/pem.ts'
import { generalName, oids } from '../x509/certificate.ts'
import type { CaAuthorization, CaCall } from './service.ts'

const EXTENSION_REQUEST = '1.2.840.113549.1.9.14'

/** For `createCaService({ authorize })`: whoever reaches the port gets the one URI that its request names. */
export function believeRequests(trustDomain: string): (call: CaCall) => CaAuthorization {
  return ({ csrPem, impersonated }) => {
    const uris = requestedUris(csrPem)
    const [uri] = uris
    if (uri === undefined || uris.length > 1)
      return { ok: false, reason: `the request names ${uris.length} URIs where one is due` }
    const read = readSpiffeId(uri)
    if (!read.ok) return { ok: false, reason: `the request's URI: ${read.reason}` }
    const problem = problemOf(read.id, trustDomain, impersonated)
    return problem === undefined ? read : { ok: false, reason: problem }
  }
}

/** Every URI of the subject alternative names that a request asks for; none of one that cannot be read. */
export function requestedUris(csrPem: string): readonly string[] {
  try {
    const [block] = readPem(csrPem, 'AMBIENT_E_CERTIFICATE_REQUEST')
    return block === undefined ? [] : requestedExtensions(block.der).flatMap(urisOf)
  } catch {
    // The CA says what is wrong with it, should it ever come so far.
    return []
  }
}

function problemOf(id: SpiffeId, trustDomain: string, impersonated: string | undefined): string | undefined {
  if (id.trustDomain !== trustDomain) return `${id.uri}: this CA speaks for ${trustDomain}`
  if (impersonated !== undefined && impersonated !== id.uri)
    return `the request names ${id.uri}, its metadata another identity`
  return undefined
}

interface RequestedExtension {
  readonly oid: string
  readonly value: Uint8Array
}

/** RFC 2986 §4.1, RFC 2985 §5.4.2. */
function requestedExtensions(der: Uint8Array): RequestedExtension[] {
  const info = new DerReader(der).enter(tags.sequence, 'request').enter(tags.sequence, 'information')
  info.expect(tags.integer, 'version')
  info.expect(tags.sequence, 'subject')
  info.expect(tags.sequence, 'subjectPublicKeyInfo')
  const attributes = new DerReader(
    info.optional(constructedTag(0), 'attributes')?.content ?? new Uint8Array(),
  )
  const found: RequestedExtension[] = []
  while (!attributes.done) {
    const attribute = attributes.enter(tags.sequence, 'attribute')
    if (readOid(attribute.expect(tags.oid, 'attribute'), 'attribute') !== EXTENSION_REQUEST) continue
    const values = attribute.enter(tags.set, 'attribute')
    while (!values.done) {
      const extensions = values.enter(tags.sequence, 'extensions')
      while (!extensions.done) found.push(readExtension(extensions.enter(tags.sequence, 'extension')))
    }
  }
  return found
}

function readExtension(extension: DerReader): RequestedExtension {
  const oid = readOid(extension.expect(tags.oid, 'extension'), 'extension')
  extension.optional(tags.boolean, 'critical')
  return { oid, value: extension.expect(tags.octetString, 'extension').content }
}

function urisOf({ oid, value }: RequestedExtension): string[] {
  if (oid !== oids.subjectAltName) return []
  const names = new DerReader(value).enter(tags.sequence, 'subjectAltName')
  const uris: string[] = []
  while (!names.done) {
    const { tag, content } = names.next('name')
    if (tag === generalName.uri) uris.push(Buffer.from(content).toString('latin1'))
  }
  return uris
}
