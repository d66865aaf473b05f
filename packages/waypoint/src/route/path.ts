/** Paths: what routes match of them, and what rewrites make of them. Nothing here sees a query but `joinQuery`. */
import { RE2JS } from 're2js'

export type PathChange = (path: string) => string

/** The path without its query. */
export function pathOf(pathAndQuery: string): string {
  const mark = pathAndQuery.indexOf('?')
  return mark < 0 ? pathAndQuery : pathAndQuery.slice(0, mark)
}

/** The query with its `?`, or nothing. */
export function queryOf(pathAndQuery: string): string {
  const mark = pathAndQuery.indexOf('?')
  return mark < 0 ? '' : pathAndQuery.slice(mark)
}

/** The first value of a parameter, as it was sent: neither names nor values are decoded, as in Envoy. */
export function queryValue(pathAndQuery: string, name: string): string | undefined {
  const query = queryOf(pathAndQuery)
  if (query === '') return undefined
  for (const pair of query.slice(1).split('&')) {
    const equals = pair.indexOf('=')
    if ((equals < 0 ? pair : pair.slice(0, equals)) === name) return equals < 0 ? '' : pair.slice(equals + 1)
  }
  return undefined
}

/** Whether a path lies under a prefix of whole elements: `/abc` holds `/abc/d`, not `/abcd`. */
export function underPrefix(prefix: string): (path: string) => boolean {
  const base = withoutTrailingSlash(prefix)
  return path => path.startsWith(base) && (path.length === base.length || path[base.length] === '/')
}

/** VirtualService: as many characters as the match was long give way, whatever follows them. */
export function replaceLeading(length: number, replacement: string): PathChange {
  return path => replacement + path.slice(length)
}

/** Gateway API: elements give way to elements, so that neither `//` nor an empty path comes out. */
export function replaceElements(prefix: string, replacement: string): PathChange {
  const { length } = withoutTrailingSlash(prefix)
  const base = withoutTrailingSlash(replacement)
  return path => base + path.slice(length) || '/'
}

export function replaceWhole(replacement: string): PathChange {
  const path = replacement === '' ? '/' : replacement
  return () => path
}

/**
 * Every match of the expression gives way to a text in which `\1` to `\9` are its groups and `\0` is all of it.
 * @throws RE2JSException
 */
export function replaceRegex(pattern: string, replacement: string): PathChange {
  const expression = RE2JS.compile(pattern)
  const parts = replacement.split(/(\\[0-9\\])/)
  return path => {
    const matcher = expression.matcher(path)
    let result = ''
    let done = 0
    while (matcher.find()) {
      result += path.slice(done, matcher.start())
      for (const part of parts) result += isGroup(part) ? groupOf(matcher, part) : part.replace('\\\\', '\\')
      done = matcher.end()
    }
    return result + path.slice(done)
  }
}

function withoutTrailingSlash(path: string): string {
  return path.endsWith('/') ? path.slice(0, -1) : path
}

function isGroup(part: string): boolean {
  return part.length === 2 && part[0] === '\\' && part[1] !== '\\'
}

function groupOf(matcher: ReturnType<RE2JS['matcher']>, part: string): string {
  const group = Number(part[1])
  return group > matcher.groupCount() ? '' : (matcher.group(group) ?? '')
}
