/** Taking a token out of a request, so that nobody behind us can use it: all of it, and nothing else. */
import { cookiePairs, queryPairs, type TokenLocation } from './locations.ts'
import type { JwtEdits, JwtRequest } from './request.ts'

/** What takes the tokens at these places out. A header goes as a whole; of query and cookies only what has the name. */
export function removalOf(request: JwtRequest, locations: readonly TokenLocation[]): JwtEdits {
  const names = (where: TokenLocation['in']): ReadonlySet<string> =>
    new Set(locations.filter(location => location.in === where).map(({ name }) => name))
  const headers = [...names('header')]
  const params = names('query')
  const cookies = names('cookie')
  const path = params.size === 0 ? request.path : withoutParams(request.path, params)
  return {
    removeHeaders: cookies.size === 0 ? headers : [...headers, 'cookie'],
    setHeaders: cookies.size === 0 ? [] : cookieWithout(request, cookies),
    ...(path === request.path ? {} : { path }),
  }
}

/** The other parameters stay byte for byte as they were. */
export function withoutParams(path: string, names: ReadonlySet<string>): string {
  const kept = queryPairs(path).filter(({ name }) => !names.has(name))
  const plain = path.slice(0, path.includes('?') ? path.indexOf('?') : undefined)
  return kept.length === 0 ? plain : `${plain}?${kept.map(({ written }) => written).join('&')}`
}

function cookieWithout(
  request: JwtRequest,
  names: ReadonlySet<string>,
): readonly (readonly [name: string, value: string])[] {
  const kept = request
    .header('cookie')
    .flatMap(cookiePairs)
    .filter(({ name }) => !names.has(name))
  return kept.length === 0 ? [] : [['cookie', kept.map(({ written }) => written).join('; ')]]
}
