/** JSON from people and programs: what is wrong with it is told by its place, in the same words on every engine. */
import { PolicyError } from '../errors.ts'
import { quote } from '../yaml/problem.ts'

/** Where in a file a text begins; both count from 1. */
export interface TextStart {
  readonly line: number
  readonly column: number
}

/**
 * A byte order mark before it is passed over.
 * @param file for messages
 * @throws PolicyError `AMBIENT_E_POLICY_REQUEST`: `file:line:column: not JSON: expected …, found …`
 */
export function parseJson(text: string, file: string, start: TextStart = { line: 1, column: 1 }): unknown {
  const body = text.startsWith('\uFEFF') ? text.slice(1) : text
  try {
    return JSON.parse(body)
  } catch (cause) {
    const { offset, expected } = mistakeIn(body)
    const before = body.slice(0, offset).split('\n')
    const column = (before.at(-1)?.length ?? 0) + (before.length === 1 ? start.column : 1)
    const where = `${file}:${start.line + before.length - 1}:${column}`
    const message = `${where}: not JSON: expected ${expected}, found ${foundAt(body, offset)}`
    throw new PolicyError('AMBIENT_E_POLICY_REQUEST', message, { cause })
  }
}

interface Mistake {
  readonly offset: number
  readonly expected: string
}

/** What may come next. */
type Place = 'value' | 'first value' | 'name' | 'first name' | 'colon' | 'rest'

const EXPECTED: Readonly<Record<Exclude<Place, 'rest'>, string>> = {
  value: 'a value',
  'first value': 'a value or "]"',
  name: 'a name in double quotes',
  'first name': 'a name in double quotes or "}"',
  colon: '":"',
}

const SPACE = /[ \t\n\r]*/y
const SCALAR = /true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y
const ESCAPE = /\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4})/y
/** Nothing follows. */
const CUT_ESCAPE = /^\\(?:u[0-9A-Fa-f]{0,3})?$/

/** The first thing that RFC 8259 does not have, in a text that is not JSON. Without recursion: it may be nested deep. */
function mistakeIn(text: string): Mistake {
  const open: string[] = []
  let place: Place = 'value'
  for (let end = 0; ; ) {
    const at = afterMatch(SPACE, text, end)
    // What is missing at the end is missing behind the last thing that is there.
    if (at === text.length) return { offset: end, expected: expectedIn(place, open) }
    const after = stepOver(text.charAt(at), place, open)
    if (after !== undefined) {
      place = after
      end = at + 1
      continue
    }
    const isName: boolean = place === 'name' || place === 'first name'
    const isValue = place === 'value' || place === 'first value'
    const isText = text.charAt(at) === '"' && (isName || isValue)
    end = isText ? endOfString(text, at + 1) : isValue ? afterMatch(SCALAR, text, at) : at
    if (end === at) return { offset: at, expected: expectedIn(place, open) }
    if (isText && text.charAt(end) !== '"')
      return {
        offset: end,
        expected: text.charAt(end) === '\\' ? 'an escape of JSON' : 'the end of the string',
      }
    if (isText) end++
    place = isName ? 'colon' : 'rest'
  }
}

/** What may come after a character of the structure; `undefined` where it may not stand. Keeps what is open. */
function stepOver(character: string, place: Place, open: string[]): Place | undefined {
  const inside = open.at(-1)
  switch (character) {
    case '{':
    case '[':
      if (place !== 'value' && place !== 'first value') return undefined
      open.push(character)
      return character === '{' ? 'first name' : 'first value'
    case '}':
    case ']':
      if (inside !== (character === '}' ? '{' : '[')) return undefined
      if (place !== 'rest' && place !== (character === '}' ? 'first name' : 'first value')) return undefined
      open.pop()
      return 'rest'
    case ',':
      if (place !== 'rest' || inside === undefined) return undefined
      return inside === '{' ? 'name' : 'value'
    case ':':
      return place === 'colon' ? 'value' : undefined
    default:
      return undefined
  }
}

function expectedIn(place: Place, open: readonly string[]): string {
  if (place !== 'rest') return EXPECTED[place]
  const inside = open.at(-1)
  return inside === undefined ? 'nothing more' : `"," or "${inside === '{' ? '}' : ']'}"`
}

/** The closing quote, or what may not stand before it. */
function endOfString(text: string, from: number): number {
  let at = from
  while (at < text.length && text.charAt(at) !== '"' && text.charAt(at) >= ' ') {
    const next = text.charAt(at) === '\\' ? afterMatch(ESCAPE, text, at) : at + 1
    if (next === at) return CUT_ESCAPE.test(text.slice(at, at + 8)) ? text.length : at
    at = next
  }
  return at
}

function afterMatch(pattern: RegExp, text: string, at: number): number {
  pattern.lastIndex = at
  return pattern.test(text) ? pattern.lastIndex : at
}

/** The word, or the character. */
function foundAt(text: string, offset: number): string {
  if (afterMatch(SPACE, text, offset) === text.length) return 'the end'
  const [found = ''] = /^(?:[\w.+-]{1,32}|.)/su.exec(text.slice(offset, offset + 64)) ?? []
  return /[\n\r]/.test(found) ? 'the end of the line' : quote(found)
}
