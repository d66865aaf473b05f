/**
 * Path templates: `{*}` is one segment, `{**}` any number of them, and the last operator. Matched in one walk.
 *
 * Source: Istio's AuthorizationPolicy API, Envoy's URI template matcher.
 */
import type { TextTest } from './text-match.ts'

/** What an operator takes: RFC 3986 pchar, and percent signs whatever follows them. */
const SEGMENT = /[A-Za-z0-9\-._~%!$&'()*+,;:@=]*/y
const SEGMENTS = /[A-Za-z0-9\-._~%!$&'()*+,;:@=/]*/y

export function isPathTemplate(value: string): boolean {
  return value.includes('{*}') || value.includes('{**}')
}

/** Of a template that the reader of policies accepts. */
export function pathTemplateTest(template: string): TextTest {
  const [fixed = '', tail] = template.split('{**}', 2)
  const literals = fixed.split('{*}')
  return path => {
    const at = afterSegments(literals, path)
    if (at < 0) return false
    if (tail === undefined) return at === path.length
    const end = path.length - tail.length
    return end >= at && path.endsWith(tail) && runLength(SEGMENTS, path, at) >= end - at
  }
}

/** Where the literals, with one segment between each two, end in the path; -1 when they do not match. */
function afterSegments(literals: readonly string[], path: string): number {
  let at = 0
  for (let index = 0; index < literals.length; index++) {
    if (index > 0) {
      const length = runLength(SEGMENT, path, at)
      if (length === 0) return -1
      at += length
    }
    const literal = literals[index] ?? ''
    if (!path.startsWith(literal, at)) return -1
    at += literal.length
  }
  return at
}

function runLength(run: RegExp, text: string, from: number): number {
  run.lastIndex = from
  run.test(text)
  return run.lastIndex - from
}
