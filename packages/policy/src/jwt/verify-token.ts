/**
 * One token against one rule, in Envoy's order: issuer, time, audience, then the signature. Which algorithm counts is
 * decided by the kind of the key; a token's word is only compared with it, and addresses in its header are not looked at.
 */
import { limits } from '../limits.ts'
import type { JwtKey, JwtKeySet } from './key-set.ts'
import type { JwtFailure } from './status.ts'
import type { UnprovenToken } from './token.ts'

export interface TokenRule {
  /** Empty: any. */
  readonly issuer: string
  isForUs(audiences: readonly string[]): boolean
  keys(): JwtKeySet | Promise<JwtKeySet>
  newerKeys(): JwtKeySet | Promise<JwtKeySet>
}

const ED25519_SIGNATURE_BYTES = 64

/** `undefined`: proven. Never rejects. `now` in milliseconds since the epoch. */
export async function verifyToken(
  token: UnprovenToken,
  rule: TokenRule,
  now: number,
): Promise<JwtFailure | undefined> {
  const failure = claimsFailure(token, rule, Math.floor(now / 1000))
  if (failure !== undefined) return failure
  const first = await rule.keys()
  if (!first.ok) return first.failure
  const known = candidates(token, first.keys)
  if (known.length > 0) return verifySignature(token, known)
  const newer = await rule.newerKeys()
  const rotated = newer.ok ? candidates(token, newer.keys) : []
  return rotated.length === 0 ? 'no-key' : verifySignature(token, rotated)
}

function claimsFailure(
  { issuer, expiresAt, notBefore, audiences }: UnprovenToken,
  rule: TokenRule,
  seconds: number,
): JwtFailure | undefined {
  if (rule.issuer !== '' && issuer !== rule.issuer) return 'unknown-issuer'
  if (notBefore !== undefined && seconds + limits.tokenClockSkewSeconds < notBefore) return 'not-yet-valid'
  if (expiresAt !== undefined && seconds > expiresAt + limits.tokenClockSkewSeconds) return 'expired'
  return rule.isForUs(audiences) ? undefined : 'audience'
}

/** Those with the token's `kid` or none, and with its `alg` or none. */
function candidates({ keyId, algorithm }: UnprovenToken, keys: readonly JwtKey[]): readonly JwtKey[] {
  return keys.filter(
    key =>
      (keyId === '' || key.keyId === '' || key.keyId === keyId) &&
      (key.algorithm === '' || key.algorithm === algorithm),
  )
}

async function verifySignature(
  token: UnprovenToken,
  keys: readonly JwtKey[],
): Promise<JwtFailure | undefined> {
  if (token.isExtended) return 'signature'
  const { text, algorithm, signatureBytes } = token
  for (const key of keys) {
    if (!key.suits(algorithm)) continue
    if (algorithm === 'EdDSA' && signatureBytes !== ED25519_SIGNATURE_BYTES) return 'ed25519-length'
    if (await key.hasSigned(text, algorithm)) return undefined
  }
  return 'signature'
}
