/**
 * The path that policy judges, routes match and upstreams see: one text for all three.
 *
 * Source: RFC 3986 §6.2.2 as Envoy does it, observed; Istio's `pathNormalization`.
 */

/** `BASE` is Istio's default. Each mode does what the one before it does, and more. */
export type PathNormalization = 'NONE' | 'BASE' | 'MERGE_SLASHES' | 'DECODE_AND_MERGE_SLASHES'

export type NormalizedPath =
  | { readonly ok: true; readonly path: string }
  /** To be answered with 400, `path_normalization_failed`. */
  | { readonly ok: false; readonly reason: string }

/** Nothing to decode, to encode, to resolve or to merge: most paths. */
const PLAIN =
  /^\/(?:[A-Za-z0-9_~!$&'()*+,:@=-][A-Za-z0-9._~!$&'()*+,;:@=-]*(?:\/[A-Za-z0-9_~!$&'()*+,:@=-][A-Za-z0-9._~!$&'()*+,;:@=-]*)*\/?)?$/
const UNRESERVED = /[A-Za-z0-9\-._~]/
/** What Envoy escapes in a path. Brackets stay as they are. */
const ESCAPED: ReadonlySet<string> = new Set([' ', '"', '<', '>', '^', '`', '{', '|', '}'])

export interface NormalizePathOptions {
  /**
   * What becomes of `.;x` and `..;x` that are left after everything else: `keep` them, as Envoy does (the default), or
   * `refuse` the path, because some servers drop the parameter and read the dots.
   */
  readonly dotParameters?: 'keep' | 'refuse'
}

const DOT_PARAMETER = /\/\.{1,2};/

/**
 * @param target path and query of a request, as sent: origin form, or `*`.
 */
export function normalizePath(
  target: string,
  mode: PathNormalization,
  { dotParameters = 'keep' }: NormalizePathOptions = {},
): NormalizedPath {
  const refused = refusal(target)
  if (refused !== undefined) return { ok: false, reason: refused }
  if (mode === 'NONE' || target === '*') return { ok: true, path: target }
  const mark = target.indexOf('?')
  const path = mark < 0 ? target : target.slice(0, mark)
  const query = mark < 0 ? '' : target.slice(mark)
  if (PLAIN.test(path)) return { ok: true, path: target }
  const opened = mode === 'DECODE_AND_MERGE_SLASHES' ? path.replace(/%(?:2f|5c)/gi, slashOf) : path
  if (/%00/.test(opened)) return { ok: false, reason: 'the path holds an escaped NUL' }
  const resolved = resolve(withoutDotParameters(opened))
  const done = mode === 'BASE' ? resolved : mergeSlashes(resolved)
  if (dotParameters === 'refuse' && DOT_PARAMETER.test(done))
    return { ok: false, reason: 'the path hides dots behind a parameter ("..;")' }
  return { ok: true, path: done + query }
}

/** What no mode forwards. */
function refusal(target: string): string | undefined {
  if (target !== '*' && !target.startsWith('/')) return 'the path does not begin with "/"'
  for (let index = 0; index < target.length; index++) {
    const code = target.charCodeAt(index)
    if (code === 0x23) return 'the path holds a fragment ("#")'
    if (code < 0x20 || code === 0x7f) return 'the path holds a control character'
    if (code > 0x7f) return 'the path holds a character outside ASCII'
  }
  return undefined
}

function slashOf(escaped: string): string {
  return /f$/i.test(escaped) ? '/' : '\\'
}

/** A parameter after literal dots does not hide them (`/..;x/`): some servers drop it. Backslashes are no ends here. */
function withoutDotParameters(path: string): string {
  if (!path.includes('.;')) return path
  const bare = (segment: string): string =>
    segment.startsWith('.;') ? '.' : segment.startsWith('..;') ? '..' : segment
  return path.split('/').map(bare).join('/')
}

/** Resolves dot segments and writes each other segment in its canonical form. */
function resolve(path: string): string {
  const segments = path.slice(1).split(/[/\\]/)
  const kept: string[] = []
  for (const [index, segment] of segments.entries()) {
    const canonical = canonicalSegment(segment)
    if (canonical !== '.' && canonical !== '..') {
      kept.push(canonical)
      continue
    }
    if (canonical === '..') kept.pop()
    // A dot segment at the end leaves the slash before it.
    if (index === segments.length - 1) kept.push('')
  }
  return `/${kept.join('/')}`
}

/** Nothing but slashes becomes two of them, as at Envoy: its first and its last one stay. */
function mergeSlashes(path: string): string {
  return /^\/{2,}$/.test(path) ? '//' : path.replace(/\/{2,}/g, '/')
}

/** Stands for a percent sign that begins no escape. What is refused never comes this far. */
const LONE_PERCENT = '\u0000'

/**
 * Unreserved characters unescaped, forbidden ones escaped; other escapes keep their case. A lone percent sign stays, unless
 * what is unescaped behind it would make it an escape: `%%61%61` is `%25aa`, not `%aa`.
 */
function canonicalSegment(segment: string): string {
  const text = segment.replace(/%[0-9A-Fa-f]{2}|[ "<>^`{|}%]/g, found => {
    if (found === '%') return LONE_PERCENT
    if (ESCAPED.has(found)) return `%${found.charCodeAt(0).toString(16).toUpperCase()}`
    const character = String.fromCharCode(Number.parseInt(found.slice(1), 16))
    return UNRESERVED.test(character) ? character : found
  })
  if (!text.includes(LONE_PERCENT)) return text
  return text.replace(/\0(?=[0-9A-Fa-f]{2})/g, '%25').replaceAll(LONE_PERCENT, '%')
}
