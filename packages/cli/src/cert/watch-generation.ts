/** One generation of an identity, as a line: what it is, how long it holds, and what changed since the last one. */
import { X509Certificate } from 'node:crypto'
import { type Credentials, messageOf } from '@ambient/core'
import { readPemCertificates } from '@ambient/identity'

export interface Generation {
  /** RFC 3339, as the others. */
  readonly time: string
  readonly generation: number
  readonly id: string
  /** Hexadecimal. */
  readonly serial: string
  readonly notBefore: string
  readonly notAfter: string
  /** When we ask for the next one; absent where somebody else renews. */
  readonly nextRenewal?: string
  readonly changed: readonly Change[]
}

export type Change = 'first' | 'id' | 'certificate' | 'key' | 'intermediates' | 'roots' | 'federated-bundles'

/** What of a generation is kept, to compare the next one with: no key. */
export interface Remembered {
  readonly id: string
  readonly serial: string
  readonly leaf: string
  readonly publicKey: string
  readonly intermediates: string
  readonly roots: string
  readonly federated: string
}

export function remember(credentials: Credentials): Remembered {
  const [leaf, ...intermediates] = readPemCertificates(credentials.certificateChain)
  const certificate = new X509Certificate(leaf ?? new Uint8Array())
  return {
    id: credentials.id.uri,
    serial: certificate.serialNumber.toLowerCase(),
    leaf: certificate.fingerprint256,
    publicKey: certificate.publicKey.export({ type: 'spki', format: 'der' }).toString('base64'),
    intermediates: inOrder(intermediates),
    roots: anyOrder(readRoots(credentials.trustBundle)),
    federated: [...credentials.federatedBundles]
      .map(([domain, pem]) => `${domain} ${anyOrder(readRoots(pem))}`)
      .sort()
      .join(),
  }
}

export function describeGeneration(
  credentials: Credentials,
  of: {
    readonly now: Remembered
    readonly before: Remembered | undefined
    readonly timeMs: number
    readonly nextRenewalMs: number | undefined
  },
): Generation {
  const { notBefore, notAfter, generation, id } = credentials
  return {
    time: timeText(of.timeMs),
    generation,
    id: id.uri,
    serial: of.now.serial,
    notBefore: timeText(notBefore),
    notAfter: timeText(notAfter),
    ...(of.nextRenewalMs === undefined ? {} : { nextRenewal: timeText(of.nextRenewalMs) }),
    changed: changes(of.before, of.now),
  }
}

export function generationLine(of: Generation): string {
  const renewal = of.nextRenewal === undefined ? 'renewed by others' : `next renewal ${of.nextRenewal}`
  return (
    `${of.time}  ${of.id}  serial ${of.serial}  valid ${of.notBefore} to ${of.notAfter}  ${renewal}` +
    `  changed: ${of.changed.join(', ')}\n`
  )
}

const FIELDS: readonly (readonly [keyof Remembered, Change])[] = [
  ['id', 'id'],
  ['leaf', 'certificate'],
  ['publicKey', 'key'],
  ['intermediates', 'intermediates'],
  ['roots', 'roots'],
  ['federated', 'federated-bundles'],
]

function changes(before: Remembered | undefined, now: Remembered): readonly Change[] {
  if (before === undefined) return ['first']
  return FIELDS.flatMap(([field, change]) => (before[field] === now[field] ? [] : [change]))
}

/** A bundle with a broken block is believed by the others. */
function readRoots(pem: string): readonly Uint8Array[] {
  try {
    return readPemCertificates(pem)
  } catch (error) {
    return [Buffer.from(messageOf(error))]
  }
}

function inOrder(ders: readonly Uint8Array[]): string {
  return ders.map(der => Buffer.from(der).toString('base64')).join()
}

function anyOrder(ders: readonly Uint8Array[]): string {
  return ders
    .map(der => Buffer.from(der).toString('base64'))
    .sort()
    .join()
}

function timeText(ms: number): string {
  return new Date(ms).toISOString()
}
