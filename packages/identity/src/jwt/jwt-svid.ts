/**
 * JWT-SVIDs: who a bearer is, for this audience, now. X.509-SVIDs prove possession, these do not: give each audience its
 * own, with a short life. Source: SPIFFE JWT-SVID §3–§6.
 */
import type { JsonWebKey } from 'node:crypto'
import { messageOf, readSpiffeId, type SpiffeId } from '@ambient/core'
import { compactVerify, decodeJwt, decodeProtectedHeader, importJWK, type JWTPayload } from 'jose'
import type { SpiffeBundle } from '../bundle/spiffe-bundle.ts'
import { jwtLimits } from '../defaults.ts'
import type { JwtClaims } from './claims.ts'

/** The only ones that the specification allows. */
export const jwtAlgorithms: readonly string[] = Object.freeze([
  'RS256',
  'RS384',
  'RS512',
  'ES256',
  'ES384',
  'ES512',
  'PS256',
  'PS384',
  'PS512',
])

export interface JwtSvid {
  readonly id: SpiffeId
  readonly audience: readonly string[]
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
  readonly claims: JwtClaims
}

/** The rule that a token breaks. */
export type JwtProblem =
  | 'malformed'
  | 'algorithm'
  | 'type'
  | 'key-id'
  | 'spiffe-id'
  | 'audience'
  | 'expired'
  | 'not-yet-valid'
  | 'trust-domain'
  | 'unknown-key'
  | 'signature'

export type JwtVerdict =
  | { readonly ok: true; readonly svid: JwtSvid }
  | { readonly ok: false; readonly problem: JwtProblem; readonly reason: string }

export interface VerifyJwtOptions {
  readonly token: string
  /** Who we are to the bearer; the token has to name it. */
  readonly audience: string
  /** Whose keys count, by trust domain: a token is proven by the bundle of its own domain only. */
  readonly bundles: ReadonlyMap<string, SpiffeBundle>
  /** Milliseconds since the epoch. */
  readonly now: number
}

type Refusal = Extract<JwtVerdict, { ok: false }>
type Read<T> = { readonly ok: true; readonly value: T } | Refusal

interface Unproven {
  readonly algorithm: string
  readonly keyId: string
  readonly id: SpiffeId
}

/** Proves a token. Never rejects: what cannot be read is a verdict too, and no reason quotes the token. */
export async function verifyJwtSvid({
  token,
  audience,
  bundles,
  now,
}: VerifyJwtOptions): Promise<JwtVerdict> {
  const unproven = readUnproven(token)
  if (!unproven.ok) return unproven
  const { algorithm, keyId, id } = unproven.value
  const bundle = bundles.get(id.trustDomain)
  if (bundle === undefined)
    return refuse('trust-domain', `${id.uri}: no bundle of the trust domain ${id.trustDomain} is known`)
  const jwk = bundle.jwtAuthorities.get(keyId)
  if (jwk === undefined)
    return refuse('unknown-key', `${id.uri}: ${id.trustDomain} has no key ${JSON.stringify(keyId)}`)
  const forged = await signatureProblem(token, jwk, algorithm)
  if (forged !== undefined) return refuse('signature', `${id.uri}: ${forged}`)
  return readClaims(id, decodeJwt(token), audience, now)
}

/** What the token says of itself, and is needed to find its key. */
function readUnproven(token: string): Read<Unproven> {
  if (typeof token !== 'string') return refuse('malformed', 'not a text')
  if (token.length > jwtLimits.maxTokenBytes)
    return refuse('malformed', `longer than ${jwtLimits.maxTokenBytes} bytes`)
  // The library forgives padding, blanks and bits that count for nothing: one token would have many texts.
  if (!token.split('.').every(isCanonical)) return refuse('malformed', 'not base64url as RFC 7515 has it')
  let header: ReturnType<typeof decodeProtectedHeader>
  let claims: JWTPayload
  try {
    header = decodeProtectedHeader(token)
    claims = decodeJwt(token)
  } catch (error) {
    return refuse('malformed', `not a signed JWT: ${messageOf(error)}`)
  }
  const { alg, typ, kid } = header
  if (typeof alg !== 'string' || !jwtAlgorithms.includes(alg))
    return refuse('algorithm', `alg ${shown(alg)} is not one of ${jwtAlgorithms.join(', ')}`)
  if (typ !== undefined && typ !== 'JWT' && typ !== 'JOSE')
    return refuse('type', `typ ${shown(typ)} is neither JWT nor JOSE`)
  if (header.crit !== undefined) return refuse('malformed', `crit ${shown(header.crit)} is not understood`)
  if (typeof kid !== 'string' || kid === '') return refuse('key-id', 'kid is missing')
  if (kid.length > jwtLimits.maxKeyIdBytes)
    return refuse('key-id', `kid is longer than ${jwtLimits.maxKeyIdBytes} bytes`)
  if (typeof claims.sub !== 'string') return refuse('spiffe-id', 'sub is missing')
  const id = readSpiffeId(claims.sub)
  if (!id.ok) return refuse('spiffe-id', `sub ${shown(claims.sub)}: ${id.reason}`)
  if (id.id.path === '') return refuse('spiffe-id', `sub ${id.id.uri} names a trust domain, not a workload`)
  return { ok: true, value: { algorithm: alg, keyId: kid, id: id.id } }
}

async function signatureProblem(
  token: string,
  jwk: JsonWebKey,
  algorithm: string,
): Promise<string | undefined> {
  try {
    const key = await importJWK(jwk, algorithm)
    await compactVerify(token, key, { algorithms: [algorithm] })
    return undefined
  } catch (error) {
    return messageOf(error)
  }
}

function readClaims(id: SpiffeId, claims: JWTPayload, audience: string, now: number): JwtVerdict {
  const { aud, exp, nbf } = claims
  const audiences = typeof aud === 'string' ? [aud] : Array.isArray(aud) ? aud : []
  if (!audiences.every(one => typeof one === 'string')) return refuse('audience', `${id.uri}: aud is no text`)
  if (audience === '' || !audiences.includes(audience))
    return refuse(
      'audience',
      `${id.uri}: the token is for ${shown(audiences.join(', ') || 'nobody')}, not for ${shown(audience)}`,
    )
  if (typeof exp !== 'number' || !isTime(exp))
    return refuse('expired', `${id.uri}: exp is missing or no time`)
  if (now >= exp * 1_000)
    return refuse('expired', `${id.uri}: expired at ${new Date(exp * 1_000).toISOString()}`)
  if (nbf !== undefined && !isTime(nbf)) return refuse('not-yet-valid', `${id.uri}: nbf is no time`)
  if (nbf !== undefined && now + jwtLimits.notBeforeSkewMs < nbf * 1_000)
    return refuse('not-yet-valid', `${id.uri}: not valid before ${new Date(nbf * 1_000).toISOString()}`)
  return {
    ok: true,
    svid: Object.freeze({ id, audience: audiences, expiresAt: exp * 1_000, claims }),
  }
}

function isCanonical(part: string): boolean {
  return Buffer.from(part, 'base64url').toString('base64url') === part
}

/** Seconds that a date can hold. */
function isTime(seconds: unknown): boolean {
  return typeof seconds === 'number' && Math.abs(seconds) <= 8.64e12
}

function shown(value: unknown): string {
  return (JSON.stringify(value) ?? 'undefined').slice(0, 120)
}

function refuse(problem: JwtProblem, reason: string): Refusal {
  return { ok: false, problem, reason: `JWT-SVID: ${reason}` }
}
