/** Where keys come from that are not written in the rule itself. */
import type { JwtKeySet } from './key-set.ts'

/** What a rule says about its keys. */
export interface JwksReference {
  readonly issuer: string
  /** Absent: found through the issuer's OpenID configuration. */
  readonly jwksUri?: string
  readonly timeoutMs: number
}

/** Keys of issuers, fetched and kept by somebody. Nothing of it rejects or throws. */
export interface JwksSource {
  /** As known now; only who comes before the first answer has to wait. Failing that: `jwks-fetch`. */
  keys(reference: JwksReference): JwtKeySet | Promise<JwtKeySet>
  /** A token names a key that is not among them: fetched once more, where that was not tried lately. */
  newerKeys(reference: JwksReference): JwtKeySet | Promise<JwtKeySet>
}

/** For programs that have no keys but inline ones: every other token is refused. */
export const noJwksSource: JwksSource = Object.freeze({
  keys: (): JwtKeySet => notFetched,
  newerKeys: (): JwtKeySet => notFetched,
})

export const notFetched: JwtKeySet = Object.freeze({ ok: false, failure: 'jwks-fetch' })
