/**
 * JSON as strictly as RFC 8259 has it, and with what a signature must not leave open: a name comes once per object, text
 * is whole UTF-16, numbers are finite, nesting is bounded. Two readers of one text see the same thing.
 */

export type JsonObject = { readonly [name: string]: unknown }

interface Cursor {
  readonly text: string
  readonly maxDepth: number
  at: number
}

class StrictJsonProblem extends Error {}

const SPACE = /[ \t\n\r]*/y
const STRING = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4}))*"/y
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y
const LITERAL = /true|false|null/y
const LITERALS: ReadonlyMap<string, boolean | null> = new Map([
  ['true', true],
  ['false', false],
  ['null', null],
])

/** An object whose records have no prototype; `undefined` for anything else. Never throws. */
export function parseStrictObject(text: string, maxDepth: number): JsonObject | undefined {
  try {
    const cursor: Cursor = { text, maxDepth, at: 0 }
    const value = readValue(cursor, 1)
    take(cursor, SPACE)
    return cursor.at === text.length && isJsonObject(value) ? value : undefined
  } catch (error) {
    if (error instanceof StrictJsonProblem) return undefined
    throw error
  }
}

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function readValue(cursor: Cursor, depth: number): unknown {
  take(cursor, SPACE)
  const next = cursor.text[cursor.at]
  if (next === '{') return readObject(cursor, depth)
  if (next === '[') return readArray(cursor, depth)
  if (next === '"') return readString(cursor)
  const literal = take(cursor, LITERAL)
  if (literal !== undefined) return LITERALS.get(literal)
  const number = Number(take(cursor, NUMBER) ?? Number.NaN)
  if (!Number.isFinite(number)) throw new StrictJsonProblem('a value')
  return number
}

function readObject(cursor: Cursor, depth: number): JsonObject {
  enter(cursor, depth)
  const record: Record<string, unknown> = Object.create(null)
  if (skipTo(cursor, '}')) return Object.freeze(record)
  do {
    take(cursor, SPACE)
    const name = readString(cursor)
    if (name in record) throw new StrictJsonProblem('a name twice')
    if (!skipTo(cursor, ':')) throw new StrictJsonProblem('a colon')
    record[name] = readValue(cursor, depth + 1)
  } while (skipTo(cursor, ','))
  if (!skipTo(cursor, '}')) throw new StrictJsonProblem('the end of an object')
  return Object.freeze(record)
}

function readArray(cursor: Cursor, depth: number): readonly unknown[] {
  enter(cursor, depth)
  const items: unknown[] = []
  if (skipTo(cursor, ']')) return Object.freeze(items)
  do items.push(readValue(cursor, depth + 1))
  while (skipTo(cursor, ','))
  if (!skipTo(cursor, ']')) throw new StrictJsonProblem('the end of a list')
  return Object.freeze(items)
}

function enter(cursor: Cursor, depth: number): void {
  if (depth > cursor.maxDepth) throw new StrictJsonProblem('too deep')
  cursor.at++
}

function readString(cursor: Cursor): string {
  const written = take(cursor, STRING)
  const value: unknown = written === undefined ? undefined : JSON.parse(written)
  if (typeof value !== 'string' || /\p{Surrogate}/u.test(value)) throw new StrictJsonProblem('a string')
  return value
}

/** Whether the character comes next, after spaces; it is passed over then. */
function skipTo(cursor: Cursor, character: string): boolean {
  take(cursor, SPACE)
  if (cursor.text[cursor.at] !== character) return false
  cursor.at++
  return true
}

function take(cursor: Cursor, pattern: RegExp): string | undefined {
  pattern.lastIndex = cursor.at
  const found = pattern.exec(cursor.text)?.[0]
  if (found !== undefined) cursor.at += found.length
  return found
}
