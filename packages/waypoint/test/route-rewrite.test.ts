/** Paths and authorities after a rewrite. */
import { describe, expect, it } from 'vitest'
import { replaceElements, replaceRegex } from '../src/route/path.ts'
import { compile, decide, get, httpRoute, virtualService } from './route-fixtures.ts'

function rewritten(documents: string, path: string): unknown {
  const decision = decide(compile({ documents }), get(path))
  return decision.kind === 'forward' ? decision.request.path : decision.kind
}

describe('ReplacePrefixMatch', () => {
  it.each([
    ['/foo/bar', '/foo', '/xyz', '/xyz/bar'],
    ['/foo/bar', '/foo', '/xyz/', '/xyz/bar'],
    ['/foo/bar', '/foo/', '/xyz', '/xyz/bar'],
    ['/foo/bar', '/foo/', '/xyz/', '/xyz/bar'],
    ['/foo', '/foo', '/xyz', '/xyz'],
    ['/foo/', '/foo', '/xyz', '/xyz/'],
    ['/foo/bar', '/foo', '', '/bar'],
    ['/foo/', '/foo', '', '/'],
    ['/foo', '/foo', '', '/'],
    ['/foo/bar', '/foo', '/', '/bar'],
    ['/foo/', '/foo', '/', '/'],
    ['/foo', '/foo', '/', '/'],
    ['/foo', '/', '/xyz', '/xyz/foo'],
  ])('%s matched by %s and replaced by %j is %s', (path, prefix, replacement, expected) => {
    expect(replaceElements(prefix, replacement)(path)).toBe(expected)
  })

  it('is what an HTTPRoute does, with the query and the original path kept', () => {
    const documents = httpRoute(`
- matches: [{ path: { value: /foo } }]
  filters: [{ type: URLRewrite, urlRewrite: { hostname: other, path: { type: ReplacePrefixMatch, replacePrefixMatch: / } } }]
  backendRefs: [{ name: reviews, port: 80 }]`)
    const decision = decide(compile({ documents }), get('/foo/bar?q=1'))
    if (decision.kind !== 'forward') throw new Error(decision.kind)
    expect(decision.request).toMatchObject({ path: '/bar?q=1', authority: 'other' })
    expect(decision.request.headers.get('x-envoy-original-path')).toBe('/foo/bar?q=1')
  })
})

describe('a rewrite of a VirtualService', () => {
  const rule = (match: string, rewrite: string): string =>
    virtualService(`
- match: [${match}]
  rewrite: ${rewrite}
  route: [{ destination: { host: reviews } }]`)

  it.each([
    ['{ uri: { prefix: /foo } }', '{ uri: /bar }', '/foobaz?q', '/barbaz?q'],
    ['{ uri: { prefix: /foo } }', '{ uri: / }', '/foo/x', '//x'],
    ['{ uri: { prefix: /foo/ } }', '{ uri: / }', '/foo/x', '/x'],
    ['{ uri: { exact: /foo } }', '{ uri: /bar }', '/foo', '/bar'],
    ['{ method: { exact: GET } }', '{ uri: /v1/ }', '/x', '/v1/x'],
    [
      '{ uri: { prefix: / } }',
      '{ uriRegexRewrite: { match: "/(\\\\w+)/(\\\\w+)", rewrite: "/\\\\2/\\\\1" } }',
      '/a/b/c/d?/e/f',
      '/b/a/d/c?/e/f',
    ],
  ])('%s to %s makes of %s: %s', (match, rewrite, path, expected) => {
    expect(rewritten(rule(match, rewrite), path)).toBe(expected)
  })
})

describe('replaceRegex', () => {
  it('knows the whole match, groups that took no part, and backslashes', () => {
    expect(replaceRegex('b(x)?', '<\\0\\1\\\\>')('abc')).toBe('a<b\\>c')
  })

  it('takes linear time', () => {
    expect(replaceRegex('(a*)*$', '')(`${'a'.repeat(5_000)}b`)).toHaveLength(5_001)
  })
})
