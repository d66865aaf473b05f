/**
 * What Envoy's JWT filter makes of a request before DENY and ALLOW policies see it: the token is taken out, its outputs are
 * set, and what a client sends under their names is removed. CUSTOM policies are asked before.
 *
 * Source: Envoy's filter as istiod configures it. Where our own waypoint is stricter: docs/protocol.md.
 */
import { headersOf } from './facts-of.ts'
import type { PolicyRequest, RequestHttp } from './request.ts'
import type { JwtRule } from '../documents/request-authentication.ts'
import { editsOfToken } from '../jwt/edits.ts'
import { findTokens, locationsOf } from '../jwt/locations.ts'
import { outputHeaders, payloadOf } from '../jwt/outputs.ts'
import { isPreflight, type JwtEdits, type JwtRequest } from '../jwt/request.ts'
import type { JwtClaims } from '../waypoint/jwt-claims.ts'

export interface TokenStep {
  /** As policies see it from here on, its path normalized. */
  readonly http: RequestHttp
  readonly jwt: JwtClaims | undefined
  /** A token was given that does not count: nobody here believes its issuer, or nobody looks at one in such a request. */
  readonly ignored: 'issuer' | 'preflight' | undefined
  /** Headers that are not those of the client any more, `:path` too; empty for most requests. */
  readonly edited: ReadonlySet<string>
}

/** @param http its path normalized */
export function tokenStep(
  { jwt: given }: PolicyRequest,
  http: RequestHttp,
  rules: readonly JwtRule[],
): TokenStep {
  if (rules.length === 0) return { http, jwt: undefined, ignored: given && 'issuer', edited: NOTHING }
  const headers = headersOf(http)
  const { method, authority, path } = http
  const header = (name: string): readonly string[] => headers.get(name) ?? []
  const request: JwtRequest = { method, scheme: 'http', authority, path, header }
  const preflight = isPreflight(request)
  const rule = preflight ? undefined : given && acceptingRule(given.payload, rules)
  const clean = rules.flatMap(outputHeaders).filter(name => header(name).length > 0)
  const edits =
    rule === undefined || given === undefined
      ? { removeHeaders: clean, setHeaders: [] }
      : editsOf(request, rule, given.payload, clean)
  const edited = editedBy(edits)
  return {
    http: edited.size === 0 ? http : applied(http, headers, edits),
    jwt: given && rule && claimsOf(given.payload, rule),
    ignored: given === undefined || rule !== undefined ? undefined : preflight ? 'preflight' : 'issuer',
    edited,
  }
}

const NOTHING: ReadonlySet<string> = new Set()

function acceptingRule(
  payload: Readonly<Record<string, unknown>>,
  rules: readonly JwtRule[],
): JwtRule | undefined {
  const ofIssuer = rules.filter(({ issuer }) => issuer === payload['iss'])
  return ofIssuer.find(({ audiences }) => takesAudience(payload['aud'], audiences)) ?? ofIssuer[0]
}

function claimsOf(payload: Readonly<Record<string, unknown>>, { spaceDelimitedClaims }: JwtRule): JwtClaims {
  return { payload, ...(spaceDelimitedClaims === undefined ? {} : { spaceDelimitedClaims }) }
}

function takesAudience(found: unknown, audiences: readonly string[] = []): boolean {
  return (
    audiences.length === 0 || [found].flat().some(one => typeof one === 'string' && audiences.includes(one))
  )
}

function editsOf(
  request: JwtRequest,
  rule: JwtRule,
  payload: Readonly<Record<string, unknown>>,
  clean: readonly string[],
): JwtEdits {
  // Envoy leaves cookies as they are.
  const places = locationsOf(rule).filter(location => location.in !== 'cookie')
  const token = outputHeaders(rule).length === 0 ? undefined : payloadOf(payload)
  return editsOfToken(request, { rule, token, found: findTokens(request, places) }, clean)
}

function editedBy({ removeHeaders, setHeaders, path }: JwtEdits): ReadonlySet<string> {
  const set = setHeaders.map(([name]) => name)
  return new Set([...removeHeaders, ...set, ...(path === undefined ? [] : [':path'])])
}

function applied(
  http: RequestHttp,
  headers: ReadonlyMap<string, readonly string[]>,
  { removeHeaders, setHeaders, path = http.path }: JwtEdits,
): RequestHttp {
  const changed = new Map(headers)
  for (const name of removeHeaders) changed.delete(name)
  for (const [name, value] of setHeaders) changed.set(name, [value])
  return { ...http, path, headers: Object.fromEntries(changed) }
}
