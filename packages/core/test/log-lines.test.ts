/** Log lines show what peers say as text: none of it is obeyed by a terminal or taken for a line. */
import { escapeUnseen, quoteText } from '@ambient/core'
import { Bare, formatLine } from '@ambient/core/proxy'
import { describe, expect, it } from 'vitest'

// What clears a screen, DEL, the same in one C1 character, what turns text around, Unicode's own line ends, a tag beyond the basic plane.
const hostile = '\u001b[2J \u007f \u009b2J \u202egnp.exe \u2028 \u2029 \u0085 \u{e0041} \r\n\t'
const shown = '\\u001b[2J \\u007f \\u009b2J \\u202egnp.exe \\u2028 \\u2029 \\u0085 \\udb40\\udc41 \\r\\n\\t'
const unseen = /[\p{Cc}\p{Cf}\u2028\u2029]/u

describe('quoted text', () => {
  it.each([
    ['', '""'],
    ['10.0.0.1:80', '"10.0.0.1:80"'],
    ['a"b\\c', '"a\\"b\\\\c"'],
    ['grün 网 🙂', '"grün 网 🙂"'],
    ['\ud800', '"\\ud800"'],
    [hostile, `"${shown}"`],
  ])('of %j is %s', (text, quoted) => {
    expect(quoteText(text)).toBe(quoted)
    expect(JSON.parse(quoted)).toBe(text)
  })

  it('needs no quotes where there is nothing to escape', () => {
    for (const text of ['', 'said "hello"', 'C:\\new', 'grün']) expect(escapeUnseen(text)).toBe(text)
    expect(escapeUnseen(hostile)).toBe(shown)
  })
})

describe('a log line', () => {
  const fields = { value: hostile, list: [hostile], bare: new Bare(hostile), none: undefined, count: 1 }

  it('in the plain format has no control character but its own', () => {
    const line = formatLine('plain', 0, 'access', 'warn', fields, hostile)
    expect(line).toBe(
      `1970-01-01T00:00:00.000000Z\twarn\taccess\t${shown}\tvalue="${shown}" list=["${shown}"] bare=${shown} count=1\n`,
    )
  })

  it('in JSON has none at all, and means the same', () => {
    const line = formatLine('json', 0, 'access', 'warn', fields, hostile)
    expect(line.slice(0, -1)).not.toMatch(unseen)
    expect(JSON.parse(line)).toMatchObject({
      message: hostile,
      value: hostile,
      list: [hostile],
      bare: hostile,
    })
  })
})
