/**
 * Why a token is refused, in Envoy's words: the body of the answer, and with underscores the response code detail.
 *
 * Source: Envoy 1.40's JWT filter, asked.
 */

export type JwtFailure = keyof typeof texts

const texts = Object.freeze({
  missing: 'Jwt is missing',
  'bad-form': 'Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections',
  'header-base64': 'Jwt header is an invalid Base64url encoded',
  'header-json': 'Jwt header is an invalid JSON',
  'alg-missing': 'Jwt header [alg] field is required and must be a string',
  'alg-unsupported': 'Jwt header [alg] is not supported',
  'kid-type': 'Jwt header [kid] field is not a string',
  'payload-base64': 'Jwt payload is an invalid Base64url encoded',
  'payload-json': 'Jwt payload is an invalid JSON',
  'iss-type': 'Jwt payload [iss] field is not a string',
  'sub-type': 'Jwt payload [sub] field is not a string',
  'jti-type': 'Jwt payload [jti] field is not a string',
  'aud-type': 'Jwt payload [aud] field is not a string or string list',
  'iat-type': 'Jwt payload [iat] field is not an integer',
  'nbf-type': 'Jwt payload [nbf] field is not an integer',
  'exp-type': 'Jwt payload [exp] field is not an integer',
  'iat-range': 'Jwt payload [iat] field is not a positive 64 bit integer',
  'nbf-range': 'Jwt payload [nbf] field is not a positive 64 bit integer',
  'exp-range': 'Jwt payload [exp] field is not a positive 64 bit integer',
  'signature-base64': 'Jwt signature is an invalid Base64url encoded',
  'unknown-issuer': 'Jwt issuer is not configured',
  expired: 'Jwt is expired',
  'not-yet-valid': 'Jwt not yet valid',
  audience: 'Audiences in Jwt are not allowed',
  signature: 'Jwt verification fails',
  'ed25519-length': 'Jwt ED25519 signature is wrong length',
  'several-tokens': 'Found multiple Jwt tokens',
  'no-key': "Jwks doesn't have key to match kid or alg from Jwt",
  'no-valid-keys': "Jwks doesn't have any valid public key",
  'jwks-json': 'Jwks is an invalid JSON',
  'jwks-no-keys': 'Jwks does not have [keys] field',
  'jwks-bad-keys': '[keys] in Jwks is not an array',
  'jwks-fetch': 'Jwks remote fetch is failed',
})

export function failureText(failure: JwtFailure): string {
  return texts[failure]
}

/** What answers the request in place of its service. */
export interface JwtRefusal {
  readonly kind: 'refused'
  readonly failure: JwtFailure
  readonly status: 401 | 403
  readonly body: string
  /** `www-authenticate`, as Envoy has it. */
  readonly headers: readonly (readonly [name: string, value: string])[]
  /** `%RESPONSE_CODE_DETAILS%`. */
  readonly detail: string
}

/** Of the path in the realm, as Envoy cuts it. */
const MAX_REALM_PATH = 256

/** `path` is the realm's: without any token that was in its query. */
export function refusalOf(
  failure: JwtFailure,
  request: { readonly scheme: string; readonly authority: string; readonly path: string },
): JwtRefusal {
  const body = failureText(failure)
  const path = request.path.slice(0, MAX_REALM_PATH)
  const realm = `${request.scheme}://${request.authority}${path}`.replace(/[^\x21\x23-\x5b\x5d-\x7e]/g, '')
  const error = failure === 'missing' ? '' : ', error="invalid_token"'
  return {
    kind: 'refused',
    failure,
    status: failure === 'audience' ? 403 : 401,
    body,
    headers: [['www-authenticate', `Bearer realm="${realm}"${error}`]],
    detail: `jwt_authn_access_denied{${body.replaceAll(' ', '_')}}`,
  }
}
