/** `RequestAuthentication` of `security.istio.io`, as readonly data: every field of the Istio API, none of our own. */
import type { PolicyTargetReference, WorkloadSelector } from './authorization-policy.ts'
import type { PolicyObject } from './metadata.ts'

export interface RequestAuthentication extends PolicyObject {
  readonly kind: 'RequestAuthentication'
  readonly spec: RequestAuthenticationSpec
}

export interface RequestAuthenticationSpec {
  readonly selector?: WorkloadSelector
  readonly targetRefs?: readonly PolicyTargetReference[]
  readonly jwtRules?: readonly JwtRule[]
}

/** A token whose `iss` is `issuer` has to satisfy the rest of the rule. */
export interface JwtRule {
  /** Empty with a `jwksUri` only: a token of any issuer, if one of its keys has signed it. */
  readonly issuer: string
  /** One of them has to be in `aud`; any audience when absent or empty. */
  readonly audiences?: readonly string[]
  readonly jwksUri?: string
  /** Inline keys; wins over `jwksUri`. */
  readonly jwks?: string
  /** Where the token is. When none of the three is set: `Authorization: Bearer`, then the query's `access_token`. */
  readonly fromHeaders?: readonly { readonly name: string; readonly prefix?: string }[]
  readonly fromParams?: readonly string[]
  readonly fromCookies?: readonly string[]
  readonly outputPayloadToHeader?: string
  readonly outputClaimToHeaders?: readonly { readonly header: string; readonly claim: string }[]
  /** Default false: the token is removed before the request goes on. */
  readonly forwardOriginalToken?: boolean
  /** Of fetching `jwksUri`. */
  readonly timeoutMs?: number
  /** Claims that are lists written as text with spaces, beside `scope` and `permission`. */
  readonly spaceDelimitedClaims?: readonly string[]
}
