/** Values that the kinds of traffic management share: durations, shares, numbers, regular expressions, names. */
import type { YamlReader } from '@ambient/policy'
import { RE2JS, RE2JSException } from 're2js'
import { limits } from '../limits.ts'

const UNITS_MS: ReadonlyMap<string, number> = new Map([
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1_000],
  ['ms', 1],
])
/** Go's notation, of which protobuf's (`1.5s`) is a part. */
const GO_DURATION = /^(\d{1,9}(\.\d{1,9})?(h|ms|m|s))+$/
/** GEP-2257. */
const GATEWAY_DURATION = /^(\d{1,5}(h|ms|m|s)){1,4}$/
const PARTS = /(\d+(?:\.\d+)?)(h|ms|m|s)/g
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
// RFC 9110: visible text, spaces and tabs; a line break would be another header.
const FIELD_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/

/** What is quoted in a message: never more than a line of it. */
export function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing'
  return text.length > 80 ? `${text.slice(0, 80)}…` : text
}

export interface DurationRule {
  /** Whole milliseconds, at least this many. */
  readonly minMs: number
  /** The narrower notation of the Gateway API. */
  readonly gatewayApi?: boolean
}

/** `1.5s`, `100ms`, `1m30s` in milliseconds. */
export function readDurationMs(reader: YamlReader | undefined, rule: DurationRule): number | undefined {
  const text = reader?.string()
  if (reader === undefined || text === undefined) return undefined
  const form = rule.gatewayApi === true ? GATEWAY_DURATION : GO_DURATION
  if (!form.test(text)) {
    const example = rule.gatewayApi === true ? '500ms, 10s or 1m30s' : '0.5s, 100ms or 1m30s'
    reader.problem(`expected a duration such as ${example}, found ${shown(text)}`)
    return undefined
  }
  let ms = 0
  for (const [, amount, unit] of text.matchAll(PARTS)) ms += Number(amount) * (UNITS_MS.get(unit ?? '') ?? 0)
  const whole = Math.round(ms)
  if (Math.abs(ms - whole) > 1e-6) reader.problem(`expected whole milliseconds, found ${shown(text)}`)
  else if (whole < rule.minMs) reader.problem(`expected at least ${rule.minMs}ms, found ${shown(text)}`)
  else if (whole > limits.maxDurationMs) reader.problem(`expected at most 24h, found ${shown(text)}`)
  else return whole
  return undefined
}

/** A number, whole or not. */
export function readNumber(
  reader: YamlReader,
  { min, max }: { readonly min: number; readonly max: number },
): number | undefined {
  const value = reader.toJson()
  if (typeof value === 'number' && value >= min && value <= max) return value
  reader.problem(`expected a number from ${min} to ${max}, found ${shown(value)}`)
  return undefined
}

/** Istio's `Percent`: `{ value: 0.1 }` is one in a thousand. */
export function readPercent(reader: YamlReader): number | undefined {
  const value = reader.object(['value'])?.get('value')
  return value === undefined ? 0 : readNumber(value, { min: 0, max: 100 })
}

/** Records at the pattern why RE2 refuses it. */
export function readRegex(reader: YamlReader | undefined): string | undefined {
  const pattern = reader?.text()
  if (reader === undefined || pattern === undefined) return undefined
  const problem = regexProblem(pattern)
  if (problem !== undefined) reader.problem(problem)
  return problem === undefined ? pattern : undefined
}

function regexProblem(pattern: string): string | undefined {
  if (pattern.length > limits.maxRegexChars)
    return `a regular expression of ${pattern.length} characters, more than ${limits.maxRegexChars}`
  try {
    RE2JS.compile(pattern)
    return undefined
  } catch (error) {
    if (!(error instanceof RE2JSException)) throw error
    return `${shown(pattern)} is not a regular expression of RE2: ${error.message.split('\n', 1)[0]}`
  }
}

/** The name of a header, in lower case. */
export function readHeaderName(reader: YamlReader): string | undefined {
  const name = reader.text()
  return name === undefined ? undefined : headerName(name, reader)
}

/** Checks a name that was read already; pseudo-headers pass, what may be done with them is the caller's. */
export function headerName(name: string, reader: YamlReader): string | undefined {
  const token = name.startsWith(':') ? name.slice(1) : name
  if (TOKEN.test(token)) return name.toLowerCase()
  reader.problem(`expected the name of a header, found ${shown(name)}`)
  return undefined
}

/** A value that can stand in a header without becoming another one. */
export function readHeaderValue(reader: YamlReader): string | undefined {
  const value = reader.string()
  if (value === undefined || FIELD_VALUE.test(value)) return value
  reader.problem(`expected text that can stand in a header, found ${shown(value)}`)
  return undefined
}

export const PORT_RANGE = { min: 1, max: 65_535 } as const
