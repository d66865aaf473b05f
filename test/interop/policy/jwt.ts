/** RequestAuthentication as the JWT filter that istiod configures at Envoy, and tokens for it. */
import { createHmac } from 'node:crypto'
import type { JwtRule } from '@ambient/policy'
import { type Json, JWT_FILTER } from './rbac.ts'

/** Shared by everything that is signed here; worth nothing elsewhere. */
const SECRET = 'only-of-these-tests-'.repeat(3)
export const HMAC_JWKS = JSON.stringify({
  keys: [{ kty: 'oct', alg: 'HS256', k: Buffer.from(SECRET).toString('base64url') }],
})

export function hmacToken(payload: Readonly<Record<string, unknown>>): string {
  const part = (of: object): string => Buffer.from(JSON.stringify(of)).toString('base64url')
  const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(payload)}`
  return `${signed}.${createHmac('sha256', SECRET).update(signed).digest('base64url')}`
}

/** Rules of all attached documents; istiod sorts them by issuer. */
export function jwtFilter(unsorted: readonly JwtRule[]): Json {
  const rules = [...unsorted].sort((a, b) => (a.issuer < b.issuer ? -1 : a.issuer > b.issuer ? 1 : 0))
  const names = rules.map((_, index) => `origins-${index}`)
  const orMissing = names.map(provider_name => ({
    requires_any: { requirements: [{ provider_name }, { allow_missing: {} }] },
  }))
  const [first] = orMissing
  const any = [
    ...names.map(provider_name => ({ provider_name })),
    { requires_all: { requirements: orMissing } },
  ]
  return {
    name: JWT_FILTER,
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication',
      providers: Object.fromEntries(rules.map((rule, index) => [`origins-${index}`, provider(rule)])),
      rules: [
        {
          match: { prefix: '/' },
          requires: orMissing.length === 1 ? first : { requires_any: { requirements: any } },
        },
      ],
      bypass_cors_preflight: true,
    },
  }
}

function provider(rule: JwtRule): Json {
  const lists = [...new Set([...(rule.spaceDelimitedClaims ?? []), 'permission', 'scope'])].sort()
  return {
    issuer: rule.issuer,
    audiences: rule.audiences ?? [],
    forward: rule.forwardOriginalToken ?? false,
    ...(rule.outputPayloadToHeader === undefined
      ? {}
      : { forward_payload_header: rule.outputPayloadToHeader }),
    payload_in_metadata: 'payload',
    normalize_payload_in_metadata: { space_delimited_claims: lists },
    claim_to_headers: (rule.outputClaimToHeaders ?? []).map(({ header, claim }) => ({
      header_name: header,
      claim_name: claim,
    })),
    from_headers: (rule.fromHeaders ?? []).map(({ name, prefix = '' }) => ({ name, value_prefix: prefix })),
    from_params: rule.fromParams ?? [],
    from_cookies: rule.fromCookies ?? [],
    local_jwks: { inline_string: rule.jwks ?? '' },
  }
}
