/** What peers say reaches a terminal as text. */
import { describe, expect, it } from 'vitest'
import { stderrLogger } from '../src/hbone/stderr-logger.ts'

describe('a line on standard error', () => {
  it.each([
    ['10.0.0.1:80', '10.0.0.1:80'],
    ['two words', '"two words"'],
    ['', '""'],
    ['a"b', '"a\\"b"'],
    ['grün', '"grün"'],
    // What clears a screen, and the same in one character; what turns text around.
    ['\u001b[2J:80', '"\\u001b[2J:80"'],
    ['\u009b2J\u007f', '"\\u009b2J\\u007f"'],
    ['\u202egnp.exe', '"\\u202egnp.exe"'],
  ])('shows %j as %s', (value, shown) => {
    const lines: string[] = []
    stderrLogger({ stderr: text => void lines.push(text) }, false).warn({ value, none: undefined }, 'said')
    expect(lines.map(line => line.replace(/^\S+ /, ''))).toEqual([`warn said value=${shown}\n`])
  })
  it('shows a message with what others said in it as one line', () => {
    const lines: string[] = []
    stderrLogger({ stderr: text => void lines.push(text) }, false).error({}, 'peer: "\u001b[2J"\nforged')
    expect(lines.map(line => line.replace(/^\S+ /, ''))).toEqual(['error peer: "\\u001b[2J"\\nforged\n'])
  })
})
