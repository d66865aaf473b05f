/** Signs JWT-SVIDs of one trust domain, with keys that overlap while they rotate. */
import { createPublicKey, generateKeyPair, type JsonWebKey, type KeyObject, randomUUID } from 'node:crypto'
import { promisify } from 'node:util'
import { type Clock, type SpiffeId, systemClock, trustDomainProblem } from '@ambient/core'
import { SignJWT } from 'jose'
import { jwtDefaults } from '../defaults.ts'
import { IdentityError } from '../errors.ts'
import { redacted } from '../svid/redact.ts'
import { checkOptions } from '../option-checks.ts'

export interface JwtAuthorityOptions {
  readonly trustDomain: string
  /** Lifetime of a token. Default 5 min. */
  readonly ttlMs?: number
  readonly clock?: Clock
}

export interface JwtSvidRequest {
  /** A workload of this trust domain, which the caller has authenticated. */
  readonly id: SpiffeId
  /** At least one; each may use the token against the others, so give one. */
  readonly audience: readonly string[]
}

export interface IssuedJwtSvid {
  /** The bearer's token. Shown as `[redacted]` by `JSON.stringify` and `util.inspect` of this object. */
  readonly token: string
  readonly id: SpiffeId
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
}

export interface JwtAuthority {
  readonly trustDomain: string
  /** Every public key whose tokens may still be valid, the newest last. */
  authorities(): ReadonlyMap<string, JsonWebKey>
  /** @throws IdentityError `AMBIENT_E_CA_IDENTITY`, `AMBIENT_E_IDENTITY_OPTION` */
  sign(request: JwtSvidRequest): Promise<IssuedJwtSvid>
  /** A new key signs from now on; the old one is published until its last token has expired. */
  rotate(): Promise<void>
}

interface SigningKey {
  readonly kid: string
  readonly jwk: JsonWebKey
  readonly privateKey: KeyObject
  /** Of the last token that it signed, milliseconds since the epoch. */
  lastExpiry: number
}

const ALGORITHM = 'ES256'

/** An authority with a fresh P-256 key. @throws IdentityError `AMBIENT_E_IDENTITY_OPTION` */
export async function createJwtAuthority(options: JwtAuthorityOptions): Promise<JwtAuthority> {
  checkOptions(options, { trustDomain: 'text' })
  const { trustDomain, ttlMs = jwtDefaults.ttlMs, clock = systemClock } = options
  const problem = trustDomainProblem(trustDomain)
  if (problem !== undefined) throw optionError(`trustDomain: ${problem}`)
  if (!(ttlMs >= 1_000)) throw optionError(`ttlMs: ${ttlMs} is less than a second`)
  let keys: readonly SigningKey[] = [await createKey()]
  const live = (): readonly SigningKey[] =>
    keys.filter((key, index) => index === keys.length - 1 || key.lastExpiry > clock.now())
  const authority: JwtAuthority = {
    trustDomain,
    authorities: () => new Map(live().map(({ kid, jwk }) => [kid, jwk])),
    async sign({ id, audience }) {
      checkRequest(trustDomain, id, audience)
      const key = keys[keys.length - 1]
      if (key === undefined) throw optionError('no key')
      const now = Math.floor(clock.now() / 1_000)
      const exp = now + Math.floor(ttlMs / 1_000)
      key.lastExpiry = Math.max(key.lastExpiry, exp * 1_000)
      const token = await new SignJWT({})
        .setProtectedHeader({ alg: ALGORITHM, kid: key.kid, typ: 'JWT' })
        .setSubject(id.uri)
        .setAudience([...audience])
        .setIssuedAt(now)
        .setExpirationTime(exp)
        .sign(key.privateKey)
      const issued = { token, id, expiresAt: exp * 1_000 }
      return Object.freeze(redacted(issued, { ...issued, id: id.uri, token: '[redacted]' }))
    },
    async rotate() {
      keys = [...live(), await createKey()]
    },
  }
  return Object.freeze(authority)
}

function checkRequest(trustDomain: string, id: SpiffeId, audience: readonly string[]): void {
  if (id.trustDomain !== trustDomain || id.path === '')
    throw new IdentityError('AMBIENT_E_CA_IDENTITY', `${id.uri}: not a workload of ${trustDomain}`, {
      layer: 'identity',
    })
  if (audience.length === 0 || audience.includes(''))
    throw optionError('audience: a JWT-SVID is for somebody, and nobody was named')
}

async function createKey(): Promise<SigningKey> {
  const { privateKey } = await promisify(generateKeyPair)('ec', { namedCurve: 'P-256' })
  return {
    kid: randomUUID(),
    jwk: createPublicKey(privateKey).export({ format: 'jwk' }),
    privateKey,
    lastExpiry: 0,
  }
}

function optionError(message: string): IdentityError {
  return new IdentityError('AMBIENT_E_IDENTITY_OPTION', message, { layer: 'config' })
}
