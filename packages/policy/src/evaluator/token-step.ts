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
  const asIs = { http, jwt: undefined, edited: NOTHING }
  if (rules.length === 0) return { ...asIs, ignored: given && 'issuer' }
  const headers = headersOf(http)
  const { method, authority, path } = http
  const header = (name: string): readonly string[] => headers.get(name) ?? []
  const request: JwtRequest = { method, scheme: 'http', authority, path, header }
  if (isPreflight(request)) return { ...asIs, ignored: given && 'preflight' }
  const rule = given && acceptingRule(given.payload, rules)
  const { edits, edited } = editsOf(request, rule, given?.payload, rules)
  return {
    http: edited.size === 0 ? http : applied(http, headers, edits),
    jwt: given && rule && claimsOf(given.payload, rule),
    ignored: given !== undefined && rule === undefined ? 'issuer' : undefined,
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
  rule: JwtRule | undefined,
  payload: Readonly<Record<string, unknown>> | undefined,
  rules: readonly JwtRule[],
): { readonly edits: JwtEdits; readonly edited: ReadonlySet<string> } {
  // Envoy asks one rule after the other, and cleans for each that it asks.
  const asked = rule === undefined ? rules : rules.slice(0, rules.indexOf(rule) + 1)
  const clean = asked.flatMap(outputHeaders).filter(name => request.header(name).length > 0)
  if (rule === undefined || payload === undefined)
    return { edits: { removeHeaders: clean, setHeaders: [] }, edited: new Set(clean) }
  // It leaves cookies as they are.
  const found = findTokens(
    request,
    locationsOf(rule).filter(location => location.in !== 'cookie'),
  )
  const token = outputHeaders(rule).length === 0 ? undefined : payloadOf(payload)
  const edits = editsOfToken(request, { rule, token, found }, clean)
  const set = edits.setHeaders.map(([name]) => name)
  const path = edits.path === undefined ? [] : [':path']
  return { edits, edited: new Set([...edits.removeHeaders, ...set, ...path]) }
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
