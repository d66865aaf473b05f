/**
 * A token taken apart, nothing of it proven yet. Bounds come before decoding; what has two readings is refused.
 *
 * Source: RFC 7515, RFC 7519; order and words of failures are Envoy's.
 */
import { base64url } from 'jose'
import { limits } from '../limits.ts'
import type { JwtFailure } from './status.ts'
import { isJsonObject, type JsonObject, parseStrictObject } from './strict-json.ts'

/** Envoy's; `none` is not among them, nor is what only some libraries know. */
export const jwtAlgorithms: ReadonlySet<string> = new Set([
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'HS256',
  'HS384',
  'HS512',
  'EdDSA',
])

export interface UnprovenToken {
  readonly text: string
  readonly algorithm: string
  /** Empty when the token names no key. */
  readonly keyId: string
  readonly payload: JsonObject
  /** As it was sent. */
  readonly payloadText: string
  /** Empty when the token has none. */
  readonly issuer: string
  readonly audiences: readonly string[]
  /** Whole seconds since the epoch. */
  readonly expiresAt: number | undefined
  readonly notBefore: number | undefined
  readonly signatureBytes: number
  /** Asks for what we do not understand (`crit`, `b64`): not proven by any key. */
  readonly isExtended: boolean
}

type Parsed<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly failure: JwtFailure }

const SECTION = /^[A-Za-z0-9_-]+$/
/** The first number that does not fit into 64 bits. */
const TIME_END = 2 ** 64
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

export function parseToken(text: string): Parsed<UnprovenToken> {
  const sections = text.length <= limits.maxTokenBytes ? text.split('.') : []
  const [headerText = '', payloadText = '', signatureText = ''] = sections
  if (sections.length !== 3 || sections.includes('')) return failed('bad-form')
  const header = parseSection(headerText, 'header-base64', 'header-json')
  if (!header.ok) return header
  const { alg, kid = '' } = header.value
  if (typeof alg !== 'string') return failed('alg-missing')
  if (!jwtAlgorithms.has(alg)) return failed('alg-unsupported')
  if (typeof kid !== 'string') return failed('kid-type')
  const payload = parseSection(payloadText, 'payload-base64', 'payload-json')
  if (!payload.ok) return payload
  const failure = claimFailure(payload.value)
  if (failure !== undefined) return failed(failure)
  const signature = decodeSection(signatureText)
  if (signature === undefined) return failed('signature-base64')
  const { iss, aud, exp, nbf } = payload.value
  return {
    ok: true,
    value: {
      text,
      algorithm: alg,
      keyId: kid,
      payload: payload.value,
      payloadText,
      issuer: typeof iss === 'string' ? iss : '',
      audiences: [aud].flat().filter(value => typeof value === 'string'),
      expiresAt: typeof exp === 'number' ? Math.floor(exp) : undefined,
      notBefore: typeof nbf === 'number' ? Math.floor(nbf) : undefined,
      signatureBytes: signature.length,
      isExtended: 'crit' in header.value || 'b64' in header.value,
    },
  }
}

function failed(failure: JwtFailure): { readonly ok: false; readonly failure: JwtFailure } {
  return { ok: false, failure }
}

function parseSection(text: string, badBase64: JwtFailure, badJson: JwtFailure): Parsed<JsonObject> {
  const bytes = decodeSection(text)
  if (bytes === undefined) return failed(badBase64)
  const json = decodeText(bytes)
  const value = json === undefined ? undefined : parseStrictObject(json, limits.maxTokenDepth)
  return value === undefined ? failed(badJson) : { ok: true, value }
}

/** One spelling per sequence of bytes: no padding, no spaces, no bits left over. */
function decodeSection(text: string): Uint8Array | undefined {
  if (!SECTION.test(text) || text.length % 4 === 1) return undefined
  const bytes = base64url.decode(text)
  return base64url.encode(bytes) === text ? bytes : undefined
}

function decodeText(bytes: Uint8Array): string | undefined {
  try {
    return decoder.decode(bytes)
  } catch {
    return undefined
  }
}

/** The first registered claim of a wrong type, in Envoy's order. */
function claimFailure(payload: JsonObject): JwtFailure | undefined {
  if (isWrong(payload['iss'], 'string')) return 'iss-type'
  if (isWrong(payload['sub'], 'string')) return 'sub-type'
  for (const name of ['iat', 'nbf', 'exp'] as const) {
    const time = payload[name]
    if (isWrong(time, 'number')) return `${name}-type`
    if (typeof time === 'number' && (time < 0 || time >= TIME_END)) return `${name}-range`
  }
  if (isWrong(payload['jti'], 'string')) return 'jti-type'
  const { aud } = payload
  const isList = Array.isArray(aud) && aud.every(item => typeof item === 'string')
  return isWrong(aud, 'string') && !isList ? 'aud-type' : undefined
}

function isWrong(value: unknown, type: 'string' | 'number'): boolean {
  return value !== undefined && typeof value !== type
}

/** A claim by its path (`a.b`), as Envoy's outputs name nested ones. */
export function claimAt(payload: JsonObject, path: string): unknown {
  let at: unknown = payload
  for (const name of path.split('.')) {
    if (!isJsonObject(at) || !Object.hasOwn(at, name)) return undefined
    at = at[name]
  }
  return at
}
