/** Path normalization, vector by vector: what Envoy was seen to do in each of Istio's modes. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { normalizePath, type PathNormalization } from '@ambient/policy'

const MODES = ['NONE', 'BASE', 'MERGE_SLASHES', 'DECODE_AND_MERGE_SLASHES'] as const

describe('BASE', () => {
  it.each([
    ['/', '/'],
    ['/a/b?x=../y', '/a/b?x=../y'],
    ['/a/./b', '/a/b'],
    ['/a/../b', '/b'],
    ['/a/b/..', '/a/'],
    ['/a/.', '/a/'],
    ['/..', '/'],
    ['/../../a', '/a'],
    ['/a//..', '/a/'],
    ['/a//b', '/a//b'],
    ['/%61%2D%2e%5F%7E', '/a-._~'],
    ['/a/%2e%2e/b', '/b'],
    ['/a/.%2E/b', '/b'],
    ['/a/%2E/b', '/a/b'],
    ['/%2f%2F%5c%c3%A9', '/%2f%2F%5c%c3%A9'],
    ['/a\\b\\..\\c?x=\\', '/a/c?x=\\'],
    ['/"<>^`{|}', '/%22%3C%3E%5E%60%7B%7C%7D'],
    ['/a b', '/a%20b'],
    ['/[x]', '/[x]'],
    ['/a/..;x/b', '/b'],
    ['/a/.;x/b', '/a/b'],
    ['/a/b/..;x', '/a/'],
    ['/a/%2e%2e;x/b', '/a/..;x/b'],
    ['/a/.%2e;x/b', '/a/..;x/b'],
    ['/a\\..;x/b', '/a/..;x/b'],
    ['/..;.\\b/c', '/c'],
    ['/a;x/../b', '/b'],
    ['/%zz%', '/%zz%'],
    // What is unescaped makes no new escape with a percent sign before it.
    ['/%%61%61', '/%25aa'],
    ['/%%36%31', '/%2561'],
    ['/%a%61', '/%25aa'],
    ['/%%61b', '/%25ab'],
    ['/%%%61a', '/%%25aa'],
    ['/%%67%61', '/%ga'],
    ['/a?{"x":1}', '/a?{"x":1}'],
    ['/a?b?c', '/a?b?c'],
    ['/?', '/?'],
    ['/...', '/...'],
    ['/.well-known/x', '/.well-known/x'],
    ['*', '*'],
  ])('%s → %s', (target, path) => expect(normalizePath(target, 'BASE')).toEqual({ ok: true, path }))
})

describe('other modes', () => {
  it.each([
    ['NONE', '/a/../b//c%2e\\', '/a/../b//c%2e\\'],
    ['MERGE_SLASHES', '//a///b/', '/a/b/'],
    ['MERGE_SLASHES', '/a//../b', '/a/b'],
    // Envoy keeps the first slash and the last.
    ['MERGE_SLASHES', '////', '//'],
    ['MERGE_SLASHES', '//a/..', '//'],
    ['MERGE_SLASHES', '//..', '/'],
    ['DECODE_AND_MERGE_SLASHES', '/%2f', '//'],
    ['MERGE_SLASHES', '/a?x=//', '/a?x=//'],
    ['MERGE_SLASHES', '/a%2f%2fb', '/a%2f%2fb'],
    ['DECODE_AND_MERGE_SLASHES', '/a%2F/b%5c%5Cc?x=%2f', '/a/b/c?x=%2f'],
    ['DECODE_AND_MERGE_SLASHES', '/a%2f..%2Fb', '/b'],
    ['DECODE_AND_MERGE_SLASHES', '/a/..%5cb', '/b'],
    ['DECODE_AND_MERGE_SLASHES', '/a%252fb', '/a%252fb'],
  ] as const)('%s: %s → %s', (mode, target, path) =>
    expect(normalizePath(target, mode)).toEqual({ ok: true, path }),
  )
})

describe('refused', () => {
  it.each(['/a#b', '/a?b#c', '/\u0000', '/a\tb', '/a\u007f', '/é', '/\u212a', 'a', '', 'http://x/a', '/%00'])(
    '%j',
    target => expect(normalizePath(target, 'BASE').ok).toBe(false),
  )
  it('in every mode, but for an escaped NUL where nothing is read', () => {
    for (const mode of MODES) expect(normalizePath('/a#b', mode).ok).toBe(false)
    expect(normalizePath('/%00', 'NONE').ok).toBe(true)
    expect(normalizePath('/a?%00', 'BASE').ok).toBe(true)
  })
})

describe('whatever comes', () => {
  const piece = fc.constantFrom(
    '/',
    '.',
    '..',
    '%2e',
    '%2E',
    '\\',
    '%2f',
    '%5C',
    'a',
    '%61',
    ';',
    '%',
    '%36',
    '1',
    '{',
    '//',
    '?',
  )
  const target = fc.array(piece, { maxLength: 12 }).map(pieces => `/${pieces.join('')}`)
  const mode = fc.constantFrom<PathNormalization>(...MODES)

  it('leaves no dot segment, no backslash and in the merging modes no double slash', () => {
    fc.assert(
      fc.property(target, mode, (text, how) => {
        const result = normalizePath(text, how)
        if (!result.ok || how === 'NONE') return
        const path = result.path.split('?')[0] ?? ''
        expect(path.split('/').filter(part => part === '.' || part === '..')).toEqual([])
        expect(path).not.toContain('\\')
        expect(path.startsWith('/')).toBe(true)
        if (how !== 'BASE' && path !== '//') expect(path).not.toContain('//')
      }),
      { numRuns: 2000 },
    )
  })

  it('is the same after a second time, but for dots with a parameter that were hidden the first time', () => {
    fc.assert(
      fc.property(target, mode, (text, how) => {
        const once = normalizePath(text, how)
        if (!once.ok || /\/\.{1,2};/.test(once.path)) return
        expect(normalizePath(once.path, how)).toEqual(once)
      }),
      { numRuns: 5000 },
    )
  })

  it('takes a time that grows with the text, not with its square', () => {
    const started = performance.now()
    for (const part of ['a', '.', '/', 'a/', '../', '%2e', '\\', '%', ';'])
      for (const how of MODES) normalizePath(`/${part.repeat(60_000)} `, how)
    expect(performance.now() - started).toBeLessThan(5000)
  })
})
