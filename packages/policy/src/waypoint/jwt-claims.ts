/**
 * What rules see of a verified token: principal, audiences, presenter and claims.
 *
 * Source: Istio's AuthorizationPolicy API, istiod's translation to matchers over the metadata of Envoy's JWT filter.
 */
import { type TextTest, textTest } from './text-match.ts'

export interface JwtClaims {
  readonly payload: Readonly<Record<string, unknown>>
  /** Claims that are lists written as text with spaces, beside `scope` and `permission`: of the rule that took the token. */
  readonly spaceDelimitedClaims?: readonly string[]
}

export type ClaimsTest = (claims: JwtClaims) => boolean

/** What istiod always splits. */
const SPACE_DELIMITED = new Set(['scope', 'permission'])
/** Of claims in explanations: enough to see what was compared. */
const MAX_SHOWN = 200

/** Whether text, or a text in the list, at the path is one of the values. Numbers, booleans and objects never are. */
export function claimTest(path: readonly string[], values: readonly string[]): ClaimsTest {
  const test = textTest(values, { star: 'not-empty' })
  return claims => {
    const found = claimAt(claims, path)
    if (typeof found === 'string') return test(found)
    return Array.isArray(found) && found.some(item => typeof item === 'string' && test(item))
  }
}

/** Issuer and subject as the pairs that the values ask for: each is split at its last slash, issuers may be URLs. */
export function requestPrincipalTest(values: readonly string[]): ClaimsTest {
  const pairs = values.map(pairTest)
  return ({ payload }) => {
    const { iss, sub } = payload
    if (typeof iss !== 'string' || typeof sub !== 'string') return false
    return pairs.some(pair => pair.iss(iss) && pair.sub(sub))
  }
}

/** `request.auth.claims[a][b]` as `['a', 'b']`; `undefined` for another key. */
export function claimPathOf(key: string): readonly string[] | undefined {
  const brackets = /^request\.auth\.claims((?:\[[^[\]]+\])+)$/.exec(key)?.[1]
  return brackets?.slice(1, -1).split('][')
}

/** For explanations. */
export function shownClaim(claims: JwtClaims, path: readonly string[]): string {
  const found = claimAt(claims, path)
  if (found === undefined) return '(no such claim)'
  return cut(typeof found === 'string' ? found : jsonOf(found))
}

/** A value of a token as JSON, cut. Never throws: who calls us may have made the claims himself. */
export function shownJson(value: unknown): string {
  return cut(jsonOf(value))
}

function cut(text: string): string {
  return text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text
}

function jsonOf(value: unknown): string {
  try {
    return JSON.stringify(value) ?? '(not JSON)'
  } catch {
    // Nested deeper than the stack, or in itself.
    return '(too deep to show)'
  }
}

/** For explanations: what the values of a request principal are compared with. */
export function shownPrincipal({ payload }: JwtClaims): string {
  const { iss, sub } = payload
  if (typeof iss !== 'string' || typeof sub !== 'string') return '(no issuer and subject)'
  return `${iss}/${sub}`
}

function claimAt(claims: JwtClaims, path: readonly string[]): unknown {
  let at: unknown = claims.payload
  for (const key of path) {
    if (!isRecord(at) || !Object.hasOwn(at, key)) return undefined
    at = at[key]
  }
  const [name = ''] = path
  const isList = SPACE_DELIMITED.has(name) || claims.spaceDelimitedClaims?.includes(name) === true
  // Only whole claims: what is nested in one is not split.
  if (path.length === 1 && isList && typeof at === 'string') return at.split(' ').filter(part => part !== '')
  return at
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

interface PairTest {
  readonly iss: TextTest
  readonly sub: TextTest
}

const any: TextTest = text => text !== ''

/** A star means something at the very beginning or the very end of the whole value only, looked for in this order. */
function pairTest(value: string): PairTest {
  if (value === '*') return { iss: any, sub: any }
  const slash = value.lastIndexOf('/')
  const [iss, sub] = slash < 0 ? [value, ''] : [value.slice(0, slash), value.slice(slash + 1)]
  const equals =
    (wanted: string): TextTest =>
    text =>
      text === wanted
  const endsWith =
    (wanted: string): TextTest =>
    text =>
      text.endsWith(wanted.slice(1))
  const beginsWith =
    (wanted: string): TextTest =>
    text =>
      text.startsWith(wanted.slice(0, -1))
  if (value.startsWith('*'))
    return slash < 0
      ? { iss: any, sub: endsWith(value) }
      : { iss: iss === '*' ? any : endsWith(iss), sub: equals(sub) }
  if (value.endsWith('*'))
    return slash < 0
      ? { iss: beginsWith(value), sub: any }
      : { iss: equals(iss), sub: sub === '*' ? any : beginsWith(sub) }
  return { iss: equals(iss), sub: equals(sub) }
}
