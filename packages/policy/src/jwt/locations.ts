/**
 * Where tokens are: headers first, then parameters of the query, then cookies, each by name.
 *
 * Source: Istio's JWTRule; how each place is read is Envoy's.
 */
import type { JwtRule } from '../documents/request-authentication.ts'
import { limits } from '../limits.ts'
import type { JwtRequest } from './request.ts'

export type TokenLocation =
  | { readonly in: 'header'; readonly name: string; readonly prefix: string }
  | { readonly in: 'query'; readonly name: string }
  | { readonly in: 'cookie'; readonly name: string }

export interface FoundToken {
  readonly text: string
  readonly location: TokenLocation
}

const DEFAULTS: readonly TokenLocation[] = Object.freeze([
  { in: 'header', name: 'authorization', prefix: 'Bearer ' },
  { in: 'query', name: 'access_token' },
] as const)
const TOKEN_CHARACTER = /[A-Za-z0-9_.-]/

/** Setting any location leaves the usual ones out. In the order in which they are looked at. */
export function locationsOf(rule: JwtRule): readonly TokenLocation[] {
  const headers = (rule.fromHeaders ?? []).map(
    ({ name, prefix = '' }): TokenLocation => ({ in: 'header', name: name.toLowerCase(), prefix }),
  )
  const params = (rule.fromParams ?? []).map((name): TokenLocation => ({ in: 'query', name }))
  const cookies = (rule.fromCookies ?? []).map((name): TokenLocation => ({ in: 'cookie', name }))
  const written = [...inOrder(headers), ...inOrder(params), ...inOrder(cookies)]
  return written.length === 0 ? DEFAULTS : written
}

/** At most one more than can be taken; nobody sends that many. */
export function findTokens(request: JwtRequest, locations: readonly TokenLocation[]): readonly FoundToken[] {
  const found: FoundToken[] = []
  for (const location of locations)
    for (const text of textsAt(request, location)) {
      found.push({ text, location })
      if (found.length > limits.maxTokensPerRule) return found
    }
  return found
}

/** Pairs of a query, in order: names and values decoded, and as they were sent. */
export function queryPairs(
  path: string,
): readonly { readonly name: string; readonly value: string; readonly written: string }[] {
  const start = path.indexOf('?')
  if (start < 0) return []
  const query = path.slice(start + 1)
  return query.split('&').map(written => {
    const equals = written.indexOf('=')
    const [name, value] = equals < 0 ? [written, ''] : [written.slice(0, equals), written.slice(equals + 1)]
    return { name: percentDecoded(name), value: percentDecoded(value), written }
  })
}

/** Cookies of one field, in order: names, values without quotes, and as they were sent. */
export function cookiePairs(
  field: string,
): readonly { readonly name: string; readonly value: string; readonly written: string }[] {
  return field.split(';').flatMap(part => {
    const written = part.trim()
    const equals = written.indexOf('=')
    if (equals < 0) return written === '' ? [] : [{ name: '', value: '', written }]
    const value = written.slice(equals + 1)
    const isQuoted = value.length >= 2 && value.startsWith('"') && value.endsWith('"')
    return [{ name: written.slice(0, equals), value: isQuoted ? value.slice(1, -1) : value, written }]
  })
}

function inOrder(locations: readonly TokenLocation[]): readonly TokenLocation[] {
  const keys = new Map(locations.map(location => [keyOf(location), location]))
  return [...keys.keys()].sort().flatMap(key => keys.get(key) ?? [])
}

function keyOf(location: TokenLocation): string {
  return location.in === 'header' ? location.name + location.prefix : location.name
}

function textsAt(request: JwtRequest, location: TokenLocation): readonly string[] {
  switch (location.in) {
    case 'header':
      return headerTexts(request, location.name, location.prefix)
    case 'query': {
      const pair = queryPairs(request.path).find(({ name }) => name === location.name)
      return pair === undefined ? [] : [pair.value]
    }
    case 'cookie': {
      const pairs = request.header('cookie').flatMap(cookiePairs)
      const pair = pairs.find(({ name }) => name === location.name)
      return pair === undefined ? [] : [pair.value]
    }
  }
}

/** The prefix may stand anywhere in the value; the token is what follows it, from the first letter it can have. */
function headerTexts(request: JwtRequest, name: string, prefix: string): readonly string[] {
  const values = request.header(name)
  // There is one credential per request: a repeated field is one value, which then is no token.
  const fields = name === 'authorization' && values.length > 1 ? [values.join(',')] : values
  if (prefix === '') return fields
  return fields.flatMap(value => {
    const at = value.indexOf(prefix)
    if (at < 0) return []
    const rest = value.slice(at + prefix.length)
    const start = rest.search(TOKEN_CHARACTER)
    return [start < 0 ? value : rest.slice(start)]
  })
}

/** As sent where it is no encoding; it never fails. */
function percentDecoded(text: string): string {
  return text.includes('%')
    ? text.replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
    : text
}
