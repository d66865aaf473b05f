/**
 * One answer of the Workload API, read strictly: each is the whole truth of its moment, and one that breaks a rule is
 * discarded as a whole. SPIFFE Workload API §5.
 */
import {
  type Clock,
  type Credentials,
  messageOf,
  readSpiffeId,
  type SpiffeId,
  trustDomainProblem,
} from '@ambient/core'
import { type CrlSet, crlSet } from '../crl/judge.ts'
import { readCrls } from '../crl/read-crls.ts'
import type { Revocations } from '../crl/revocations.ts'
import { workloadApiDefaults } from '../defaults.ts'
import { IdentityError } from '../errors.ts'
import type { X509SVID, X509SVIDResponse } from '../gen/workload-api_pb.ts'
import { createCredentials } from '../svid/credentials.ts'
import { readCertificate } from '../x509/certificate.ts'
import { DerReader, tags } from '../x509/der.ts'
import { formatPem, formatPemCertificate } from '../x509/pem.ts'

/** One of the identities that a workload was given. */
export interface WorkloadSvid {
  readonly id: SpiffeId
  /** The operator's name for it; empty for none. */
  readonly hint: string
  readonly credentials: Credentials
}

export interface X509Snapshot {
  /** The first one is the default. May be empty: nothing is due any more. */
  readonly svids: readonly WorkloadSvid[]
  /** DER of every root, by trust domain: those of the SVIDs and of their federation. */
  readonly bundles: ReadonlyMap<string, readonly Uint8Array[]>
  readonly crls: CrlSet
}

export interface SnapshotContext {
  readonly generation: number
  readonly clock: Clock
  readonly revocations: Revocations
}

/** @throws IdentityError `AMBIENT_E_WORKLOAD_API_RESPONSE` with the field and the broken rule. */
export function readX509Snapshot(response: X509SVIDResponse, context: SnapshotContext): X509Snapshot {
  const federated = readBundleMap(response.federatedBundles, 'federated_bundles')
  const crls = readLists(response.crl)
  const bundles = new Map(federated)
  const svids: WorkloadSvid[] = []
  const hints = new Set<string>()
  for (const [index, message] of response.svids.entries()) {
    const field = `svids[${index}]`
    const { svid, roots } = readSvid(message, field, federated, context)
    const { trustDomain } = svid.id
    // The SVID's own word on its own trust domain.
    bundles.set(trustDomain, roots)
    if (svid.hint !== '' && hints.has(svid.hint)) continue
    hints.add(svid.hint)
    svids.push(svid)
  }
  return { svids, bundles, crls }
}

/**
 * DER certificates one behind the other, by the ID of their trust domain.
 * @throws IdentityError `AMBIENT_E_WORKLOAD_API_RESPONSE`
 */
export function readBundleMap(
  entries: Readonly<Record<string, Uint8Array>>,
  field: string,
): Map<string, readonly Uint8Array[]> {
  const bundles = new Map<string, readonly Uint8Array[]>()
  for (const [key, value] of Object.entries(entries)) {
    const domain = trustDomainOf(key, field)
    if (bundles.has(domain)) throw refuse(`${field}: ${domain} is given twice`)
    bundles.set(domain, readCertificates(value, `${field}[${domain}]`))
  }
  return bundles
}

/** `spiffe://td`, or the bare name as some servers send it. @throws IdentityError `AMBIENT_E_WORKLOAD_API_RESPONSE` */
export function trustDomainOf(key: string, field: string): string {
  const name = key.startsWith('spiffe://') ? key.slice('spiffe://'.length) : key
  const problem = trustDomainProblem(name)
  if (problem !== undefined) throw refuse(`${field}: ${JSON.stringify(key.slice(0, 256))}: ${problem}`)
  return name
}

function readSvid(
  message: X509SVID,
  field: string,
  federated: ReadonlyMap<string, readonly Uint8Array[]>,
  { generation, clock, revocations }: SnapshotContext,
): { readonly svid: WorkloadSvid; readonly roots: readonly Uint8Array[] } {
  const id = readSpiffeId(message.spiffeId)
  if (!id.ok) throw refuse(`${field}.spiffe_id: ${id.reason}`)
  const named = `${field} (${message.spiffeId})`
  if (Buffer.byteLength(message.hint) > workloadApiDefaults.maxHintBytes)
    throw refuse(`${named}.hint: longer than ${workloadApiDefaults.maxHintBytes} bytes`)
  const chain = readCertificates(message.x509Svid, `${named}.x509_svid`)
  const roots = readCertificates(message.bundle, `${named}.bundle`)
  if (message.x509SvidKey.length === 0) throw refuse(`${named}.x509_svid_key: is missing`)
  let credentials: Credentials
  try {
    credentials = createCredentials({
      certificateChain: chain.map(formatPemCertificate).join(''),
      // This label is read as PKCS#8 only.
      privateKey: formatPem('PRIVATE KEY', message.x509SvidKey),
      trustBundle: roots.map(formatPemCertificate).join(''),
      federatedBundles: new Map(
        [...federated]
          .filter(([domain]) => domain !== id.id.trustDomain)
          .map(([domain, ders]) => [domain, ders.map(formatPemCertificate).join('')]),
      ),
      revocations,
      generation,
      clock,
    })
  } catch (cause) {
    throw refuse(`${named}: ${messageOf(cause)}`, cause)
  }
  if (credentials.id.uri !== message.spiffeId)
    throw refuse(`${named}: the certificate is that of ${credentials.id.uri}`)
  if (clock.now() > credentials.notAfter)
    throw refuse(`${named}: expired at ${new Date(credentials.notAfter).toISOString()}`)
  return { svid: Object.freeze({ id: id.id, hint: message.hint, credentials }), roots }
}

/** At least one, each of them whole. */
function readCertificates(bytes: Uint8Array, field: string): readonly Uint8Array[] {
  if (bytes.length === 0) throw refuse(`${field}: is missing`)
  const reader = new DerReader(bytes)
  const certificates: Uint8Array[] = []
  try {
    while (!reader.done) {
      const { raw } = reader.expect(tags.sequence, 'certificate')
      readCertificate(raw)
      certificates.push(raw)
    }
  } catch (cause) {
    throw refuse(`${field}: certificate ${certificates.length + 1}: ${messageOf(cause)}`, cause)
  }
  return certificates
}

function readLists(lists: readonly Uint8Array[]): CrlSet {
  return crlSet(
    lists.flatMap((der, index) => {
      try {
        if (der[0] !== tags.sequence) throw new TypeError('not DER')
        return readCrls(der)
      } catch (cause) {
        throw refuse(`crl[${index}]: ${messageOf(cause)}`, cause)
      }
    }),
  )
}

/** The answer is discarded. */
export function refuse(what: string, cause?: unknown): IdentityError {
  return new IdentityError('AMBIENT_E_WORKLOAD_API_RESPONSE', `the Workload API's answer: ${what}`, {
    cause,
    layer: 'identity',
  })
}
