/** JSON with mistakes: the same place and words, whichever engine reads it. */
import { parseJson, PolicyError } from '@ambient/policy'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'

function told(
  text: string,
  ...rest: readonly [start?: { line: number; column: number }]
): string | undefined {
  try {
    parseJson(text, 'r.json', ...rest)
    return undefined
  } catch (error) {
    if (error instanceof PolicyError) return error.message
    throw error
  }
}

describe('where and what', () => {
  it.each([
    ['', '1:1', 'a value, found the end'],
    ['\n\n', '1:1', 'a value, found the end'],
    ['{', '1:2', 'a name in double quotes or "}", found the end'],
    ['{\n  "a": 1\n', '2:9', '"," or "}", found the end'],
    ['{"a"\r\n 1}', '2:2', '":", found "1"'],
    ['{"a": 1,}', '1:9', 'a name in double quotes, found "}"'],
    ['{a: 1}', '1:2', 'a name in double quotes or "}", found "a"'],
    ["{'a': 1}", '1:2', 'a name in double quotes or "}", found "\'"'],
    ['{"a": }', '1:7', 'a value, found "}"'],
    ['{"a": True}', '1:7', 'a value, found "True"'],
    ['{"a": 01}', '1:8', '"," or "}", found "1"'],
    ['{"a": 1 "b": 2}', '1:9', '"," or "}", found "\\""'],
    ['[1, 2', '1:6', '"," or "]", found the end'],
    ['[1, 2}', '1:6', '"," or "]", found "}"'],
    ['[1,]', '1:4', 'a value, found "]"'],
    ['[,]', '1:2', 'a value or "]", found ","'],
    ['[\u00a0]', '1:2', 'a value or "]", found "\u00a0"'],
    ['[1] // all', '1:5', 'nothing more, found "/"'],
    ['"a', '1:3', 'the end of the string, found the end'],
    ['["a\n"]', '1:4', 'the end of the string, found the end of the line'],
    ['["a\tb"]', '1:4', 'the end of the string, found "\\t"'],
    ['["\\x"]', '1:3', 'an escape of JSON, found "\\\\"'],
    ['["\\u12', '1:7', 'the end of the string, found the end'],
    ['[\u{1f600}]', '1:2', 'a value or "]", found "\u{1f600}"'],
    ['\uFEFF[x]', '1:2', 'a value or "]", found "x"'],
  ])('%j: %s %s', (text, place, what) => {
    expect(told(text)).toBe(`r.json:${place}: not JSON: expected ${what}`)
  })

  it('counts from where the text begins in its file', () => {
    expect(told('x', { line: 7, column: 3 })).toMatch(/^r\.json:7:3: /)
    expect(told('[\nx', { line: 7, column: 3 })).toMatch(/^r\.json:8:1: /)
  })

  it('does not mind depth or length', () => {
    expect(told('['.repeat(1_000_000))).toContain(
      ':1:1000001: not JSON: expected a value or "]", found the end',
    )
    expect(told(`"${'\\n'.repeat(1_000_000)}`)).toContain('expected the end of the string, found the end')
  })
})

describe('of any JSON', () => {
  it('gives what JSON.parse gives', () => {
    fc.assert(
      fc.property(fc.json(), text => {
        expect(parseJson(text, 'r')).toEqual(JSON.parse(text))
      }),
    )
    expect(parseJson('\uFEFF{"a": [1]}\n', 'r')).toEqual({ a: [1] })
  })

  it('cut off anywhere, tells of the end or of the scrap before it', () => {
    fc.assert(
      fc.property(fc.json(), fc.nat(), (text, at) => {
        const cut = text.slice(0, at % text.length)
        expect(told(cut) ?? 'found the end').toMatch(/found (the end|"[a-z0-9.+-]+")$/)
      }),
    )
  })

  it('with one character too many, tells of a place that is not before it', () => {
    fc.assert(
      fc.property(fc.json(), fc.nat(), fc.constantFrom('?', '{', ']', ',', ':', "'"), (text, at, extra) => {
        const offset = at % (text.length + 1)
        const wrong = `${text.slice(0, offset)}${extra}${text.slice(offset)}`
        const column = Number(
          /^r\.json:1:(\d+): not JSON/.exec(told(wrong) ?? 'r.json:1:9999: not JSON')?.[1],
        )
        // Of a word or number that is broken the beginning is told, of an escape its backslash.
        const [scrap = ''] = /(?:[\w.+-]*|\\u?\w*)$/.exec(text.slice(0, offset)) ?? []
        expect(column).toBeGreaterThan(offset - scrap.length)
      }),
    )
  })
})
