/**
 * What is believed of one trust domain, as a value and as the JWKS document that SPIFFE publishes it in.
 * Source: SPIFFE Trust Domain and Bundle §4.
 */
import { createPublicKey, type JsonWebKey, X509Certificate } from 'node:crypto'
import { messageOf, trustDomainProblem } from '@ambient/core'
import { bundleLimits } from '../defaults.ts'
import { IdentityError } from '../errors.ts'
import { readCertificate } from '../x509/certificate.ts'
import { formatPemCertificate } from '../x509/pem.ts'

export interface SpiffeBundle {
  /** From configuration or from whoever vouches for the document, never from the document. */
  readonly trustDomain: string
  /** DER of every X.509 root. */
  readonly x509Authorities: readonly Uint8Array[]
  /** Public keys of JWT-SVIDs by key ID. */
  readonly jwtAuthorities: ReadonlyMap<string, JsonWebKey>
  /** Grows with each change of the bundle. */
  readonly sequenceNumber?: number
  /** How often its publisher wants to be asked, milliseconds. */
  readonly refreshHintMs?: number
  /** Entries of the document that were passed over, each with its reason. */
  readonly ignored: readonly string[]
}

interface Entries {
  readonly x509Authorities: Uint8Array[]
  readonly jwtAuthorities: Map<string, JsonWebKey>
  readonly ignored: string[]
}

type Fields = Readonly<Record<string, unknown>>

/**
 * Reads a bundle document. Entries with an unknown `use`, and entries that cannot be used, are passed over.
 * @throws IdentityError `AMBIENT_E_TRUST_BUNDLE` when the document as a whole is none.
 */
export function readSpiffeBundle(trustDomain: string, text: string): SpiffeBundle {
  const problem = trustDomainProblem(trustDomain)
  if (problem !== undefined) throw refuse(trustDomain, problem)
  if (Buffer.byteLength(text) > bundleLimits.maxDocumentBytes)
    throw refuse(trustDomain, `larger than ${bundleLimits.maxDocumentBytes} bytes`)
  const document = parse(trustDomain, text)
  const { keys } = document
  if (!Array.isArray(keys)) throw refuse(trustDomain, '"keys" is not an array')
  if (keys.length > bundleLimits.maxAuthorities)
    throw refuse(trustDomain, `${keys.length} keys, at most ${bundleLimits.maxAuthorities}`)
  const entries: Entries = { x509Authorities: [], jwtAuthorities: new Map(), ignored: [] }
  for (const [index, entry] of keys.entries()) {
    const ignored = readEntry(entry, entries)
    if (ignored !== undefined) entries.ignored.push(`keys[${index}]: ${ignored}`)
  }
  const sequenceNumber = wholeNumber(trustDomain, document, 'spiffe_sequence')
  const refreshHintSeconds = wholeNumber(trustDomain, document, 'spiffe_refresh_hint')
  return Object.freeze({
    trustDomain,
    ...entries,
    ...(sequenceNumber === undefined ? {} : { sequenceNumber }),
    ...(refreshHintSeconds === undefined ? {} : { refreshHintMs: refreshHintSeconds * 1_000 }),
  })
}

/** The document of a bundle. Refresh hints are whole seconds. */
export function formatSpiffeBundle(bundle: SpiffeBundle): string {
  const x509 = bundle.x509Authorities.map(der => ({
    ...publicJwk(der),
    use: 'x509-svid',
    x5c: [Buffer.from(der).toString('base64')],
  }))
  const jwt = [...bundle.jwtAuthorities].map(([kid, jwk]) => ({ ...publicPart(jwk), use: 'jwt-svid', kid }))
  return JSON.stringify(
    {
      keys: [...x509, ...jwt],
      ...(bundle.sequenceNumber === undefined ? {} : { spiffe_sequence: bundle.sequenceNumber }),
      ...(bundle.refreshHintMs === undefined
        ? {}
        : { spiffe_refresh_hint: Math.ceil(bundle.refreshHintMs / 1_000) }),
    },
    null,
    2,
  )
}

/** The X.509 roots as PEM: what credentials and `verifyPeerChain` take. */
export function bundlePem(bundle: SpiffeBundle): string {
  return bundle.x509Authorities.map(formatPemCertificate).join('')
}

function parse(trustDomain: string, text: string): Fields {
  let document: unknown
  try {
    document = JSON.parse(text)
  } catch (cause) {
    throw refuse(trustDomain, `not JSON: ${messageOf(cause)}`, cause)
  }
  if (!isFields(document)) throw refuse(trustDomain, 'not a JSON object')
  return document
}

/** Why the entry was passed over, `undefined` when it was taken. */
function readEntry(entry: unknown, into: Entries): string | undefined {
  if (!isFields(entry)) return 'not an object'
  switch (entry['use']) {
    case 'x509-svid':
      return readX509Authority(entry, into)
    case 'jwt-svid':
      return readJwtAuthority(entry, into)
    default:
      return `use ${JSON.stringify(entry['use'])} is neither x509-svid nor jwt-svid`
  }
}

/** The first certificate counts; more of them are ignored, as the specification wants. */
function readX509Authority({ x5c }: Fields, into: Entries): string | undefined {
  const [first]: readonly unknown[] = Array.isArray(x5c) ? x5c : []
  if (typeof first !== 'string') return 'x5c holds no certificate'
  try {
    const certificate = readCertificate(Buffer.from(first, 'base64'))
    into.x509Authorities.push(certificate.der)
    return undefined
  } catch (error) {
    return `x5c: ${messageOf(error)}`
  }
}

function readJwtAuthority(entry: Fields, into: Entries): string | undefined {
  const { kid } = entry
  if (typeof kid !== 'string' || kid === '') return 'a jwt-svid key without kid'
  if (into.jwtAuthorities.has(kid)) return `kid ${JSON.stringify(kid)} is given twice, the first one counts`
  try {
    const key = createPublicKey({ key: publicPart(entry), format: 'jwk' })
    into.jwtAuthorities.set(kid, key.export({ format: 'jwk' }))
    return undefined
  } catch {
    // The parser's own error could quote its input.
    return `the key ${JSON.stringify(kid)} is no public key`
  }
}

/** What a public key consists of, whatever else stands beside it: a private part never gets further. */
function publicPart({ kty, crv, x, y, n, e }: Fields): Record<string, string> {
  return Object.fromEntries(
    Object.entries({ kty, crv, x, y, n, e }).filter(
      (field): field is [string, string] => typeof field[1] === 'string',
    ),
  )
}

function publicJwk(der: Uint8Array): Record<string, string> {
  return publicPart({ ...new X509Certificate(der).publicKey.export({ format: 'jwk' }) })
}

function wholeNumber(trustDomain: string, document: Fields, name: string): number | undefined {
  const value = document[name]
  if (value === undefined) return undefined
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value
  throw refuse(trustDomain, `${JSON.stringify(name)} is not a whole number`)
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function refuse(trustDomain: string, what: string, cause?: unknown): IdentityError {
  return new IdentityError(
    'AMBIENT_E_TRUST_BUNDLE',
    `the bundle of ${JSON.stringify(trustDomain)}: ${what}`,
    {
      cause,
      layer: 'identity',
    },
  )
}
