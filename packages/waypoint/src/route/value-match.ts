/** One value against one match. Regular expressions are RE2's and match the whole value, in linear time. */
import type { ValueMatch } from '@ambient/discovery'
import { RE2JS } from 're2js'

/** `undefined`: the thing is not there. */
export type ValueTest = (value: string | undefined) => boolean

/** @throws RE2JSException for what is not an expression of RE2; discovery refuses it at load. */
export function compileValue(match: ValueMatch, { ignoreCase = false } = {}): ValueTest {
  if (match.kind === 'presence') return value => value !== undefined
  const test = compileText(match.kind, match.value, ignoreCase)
  return value => value !== undefined && test(value)
}

/** @throws RE2JSException */
export function compileRegex(pattern: string): (text: string) => boolean {
  const expression = RE2JS.compile(pattern)
  return text => expression.matches(text)
}

function compileText(
  kind: 'exact' | 'prefix' | 'regex',
  wanted: string,
  ignoreCase: boolean,
): (text: string) => boolean {
  if (kind === 'regex') return compileRegex(wanted)
  const folded = ignoreCase ? wanted.toLowerCase() : wanted
  const fold = (text: string): string => (ignoreCase ? text.toLowerCase() : text)
  return kind === 'exact' ? text => fold(text) === folded : text => fold(text).startsWith(folded)
}
