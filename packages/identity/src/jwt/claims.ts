/**
 * Claims as JSON, RFC 7519. A type of our own in what we export, as `JsonWebKey` of `node:crypto` is for keys: those of
 * `jose` are of ES modules alone, which a strict CommonJS user's compiler refuses.
 */
export type JwtClaims = {
  readonly iss?: string
  readonly sub?: string
  readonly aud?: string | string[]
  readonly jti?: string
  /** Seconds since the epoch. */
  readonly nbf?: number
  readonly exp?: number
  readonly iat?: number
  readonly [claim: string]: unknown
}
