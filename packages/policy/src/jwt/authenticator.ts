/**
 * Request authentication of one target: all its rules together. Without a token a request passes as nobody; with one it
 * passes if a rule accepts what it finds at its own places.
 *
 * Source: istiod's requirement for Envoy's JWT filter: one of the rules, or for each of them nothing at its places.
 */
import type { JwtRule, RequestAuthentication } from '../documents/request-authentication.ts'
import { defaults } from '../defaults.ts'
import { limits } from '../limits.ts'
import type { JwtClaims } from '../waypoint/jwt-claims.ts'
import { audienceTest } from './audience.ts'
import { editsOfToken } from './edits.ts'
import { type JwksSource, noJwksSource, notFetched } from './jwks-source.ts'
import { type JwtKeySet, readKeySet } from './key-set.ts'
import { findTokens, type FoundToken, locationsOf, type TokenLocation } from './locations.ts'
import { outputHeaders } from './outputs.ts'
import { withoutParams } from './remove-token.ts'
import { isPreflight, type JwtEdits, type JwtRequest } from './request.ts'
import { type JwtFailure, type JwtRefusal, refusalOf } from './status.ts'
import { parseToken, type UnprovenToken } from './token.ts'
import { type TokenRule, verifyToken } from './verify-token.ts'

export type JwtOutcome =
  | {
      readonly kind: 'passed'
      /** Of the verified token; absent without one. What rules on `request.auth` see. */
      readonly jwt?: JwtClaims
      readonly edits: JwtEdits
    }
  | JwtRefusal

export interface JwtAuthenticator {
  /** A promise only where a token has to be verified. Never rejects, never throws. */
  authenticate(request: JwtRequest): JwtOutcome | Promise<JwtOutcome>
  /** A path and query as logs may have it: without the parameters that could be tokens. */
  shownPath(path: string): string
}

export interface JwtAuthenticatorOptions {
  /** For rules without inline keys; without it their tokens are refused. */
  readonly jwks?: JwksSource
  /** Milliseconds since the epoch. */
  readonly now?: () => number
}

interface CompiledRule extends TokenRule {
  readonly rule: JwtRule
  readonly locations: readonly TokenLocation[]
}

type Verified =
  | {
      readonly ok: true
      readonly rule: JwtRule
      readonly token: UnprovenToken
      readonly found: readonly FoundToken[]
    }
  | { readonly ok: false; readonly failure: JwtFailure }

/** Rules of every policy that attaches, in the order in which they are asked: by issuer. */
export function jwtRulesOf(policies: readonly RequestAuthentication[]): readonly JwtRule[] {
  return policies.flatMap(({ spec }) => spec.jwtRules ?? []).sort(byIssuer)
}

/** Validates nothing and fetches nothing: rules come from documents that were read. */
export function createJwtAuthenticator(
  rules: readonly JwtRule[],
  { jwks = noJwksSource, now = Date.now }: JwtAuthenticatorOptions = {},
): JwtAuthenticator {
  const compiled = [...rules].sort(byIssuer).map(rule => compileRule(rule, jwks))
  const sanitized = [...new Set(compiled.flatMap(({ rule }) => outputHeaders(rule)))]
  const params = new Set(
    compiled.flatMap(({ locations }) => locations.flatMap(at => (at.in === 'query' ? [at.name] : []))),
  )
  const shownPath = (path: string): string => (params.size === 0 ? path : withoutParams(path, params))
  const refuse = (request: JwtRequest, failure: JwtFailure): JwtRefusal => {
    const { scheme, authority, path } = request
    return refusalOf(failure, { scheme, authority, path: shownPath(path) })
  }
  return {
    shownPath,
    authenticate(request) {
      const clean = sanitized.filter(name => request.header(name).length > 0)
      const asNobody: JwtOutcome = { kind: 'passed', edits: { removeHeaders: clean, setHeaders: [] } }
      if (compiled.length === 0 || isPreflight(request)) return asNobody
      const found = compiled.map(({ locations }) => findTokens(request, locations))
      if (found.every(tokens => tokens.length === 0)) return asNobody
      return verifyRules(compiled, found, now()).then(verified =>
        verified.ok ? passed(request, verified, clean) : refuse(request, verified.failure),
      )
    },
  }
}

function byIssuer(a: JwtRule, b: JwtRule): number {
  if (a.issuer === b.issuer) return 0
  return a.issuer < b.issuer ? -1 : 1
}

function compileRule(rule: JwtRule, source: JwksSource): CompiledRule {
  const { issuer, jwksUri, jwks } = rule
  const inline = jwks === undefined ? undefined : readKeySet(jwks)
  const reference = {
    issuer,
    timeoutMs: rule.timeoutMs ?? defaults.jwksTimeoutMs,
    ...(jwksUri === undefined ? {} : { jwksUri }),
  }
  return {
    rule,
    issuer,
    locations: locationsOf(rule),
    isForUs: audienceTest(rule.audiences),
    keys: () => inline ?? asked(() => source.keys(reference)),
    newerKeys: () => inline ?? asked(() => source.newerKeys(reference)),
  }
}

/** A source of somebody else's that fails has no keys. */
async function asked(ask: () => JwtKeySet | Promise<JwtKeySet>): Promise<JwtKeySet> {
  try {
    return await ask()
  } catch {
    return notFetched
  }
}

/** The first rule that accepts, or the failure that says most: one of a rule that knew the token, else the issuer's. */
async function verifyRules(
  rules: readonly CompiledRule[],
  found: readonly (readonly FoundToken[])[],
  now: number,
): Promise<Verified> {
  const failures: JwtFailure[] = []
  for (const [index, rule] of rules.entries()) {
    const verified = await verifyAll(found[index] ?? [], rule, now)
    if (verified.ok) return verified
    failures.push(verified.failure)
  }
  // Envoy asks every rule for itself, and then the first that found anything once more.
  const again = failures.filter(failure => failure !== 'missing').slice(0, 1)
  let failure: JwtFailure = 'missing'
  for (const next of [...failures, ...again]) if (isTelling(next) || failure === 'missing') failure = next
  return { ok: false, failure }
}

function isTelling(failure: JwtFailure): boolean {
  return failure !== 'missing' && failure !== 'unknown-issuer'
}

/**
 * All that a rule finds has to be good, or a service could take the bad one for the one that was verified; and it has to
 * be one token, or the service could take another than we did.
 */
async function verifyAll(found: readonly FoundToken[], rule: CompiledRule, now: number): Promise<Verified> {
  const texts = [...new Set(found.map(({ text }) => text))]
  if (texts.length === 0) return { ok: false, failure: 'missing' }
  if (found.length > limits.maxTokensPerRule) return { ok: false, failure: 'several-tokens' }
  const tokens: UnprovenToken[] = []
  for (const text of texts.reverse()) {
    const parsed = parseToken(text)
    if (!parsed.ok) return parsed
    const failure = await verifyToken(parsed.value, rule, now)
    if (failure !== undefined) return { ok: false, failure }
    tokens.push(parsed.value)
  }
  const [token, another] = tokens
  if (token === undefined || another !== undefined) return { ok: false, failure: 'several-tokens' }
  return { ok: true, rule: rule.rule, token, found }
}

function passed(
  request: JwtRequest,
  verified: Extract<Verified, { ok: true }>,
  clean: readonly string[],
): JwtOutcome {
  const { rule, token } = verified
  const { spaceDelimitedClaims } = rule
  return {
    kind: 'passed',
    jwt: { payload: token.payload, ...(spaceDelimitedClaims === undefined ? {} : { spaceDelimitedClaims }) },
    edits: editsOfToken(request, verified, clean),
  }
}
