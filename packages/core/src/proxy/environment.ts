/** Reads single environment values. Each reader throws with ztunnel's words: `invalid env var NAME=VALUE (reason)`. */
import { canonicalIp } from '../address.ts'
import { CoreError } from '../errors.ts'

export type Environment = Readonly<Record<string, string | undefined>>

/** Milliseconds per unit of the human duration syntax. */
const UNIT_MS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  ms: 1,
  s: 1_000,
  sec: 1_000,
  secs: 1_000,
  second: 1_000,
  seconds: 1_000,
  m: 60_000,
  min: 60_000,
  mins: 60_000,
  minute: 60_000,
  minutes: 60_000,
  h: 3_600_000,
  hr: 3_600_000,
  hrs: 3_600_000,
  hour: 3_600_000,
  hours: 3_600_000,
  d: 86_400_000,
  day: 86_400_000,
  days: 86_400_000,
}

/** @throws CoreError `AMBIENT_E_CONFIG`, always. */
export function invalid(name: string, value: string, reason: string): never {
  throw new CoreError('AMBIENT_E_CONFIG', `invalid env var ${name}=${value} (${reason})`, {
    layer: 'config',
  })
}

/** Absent and empty are the same, as for a downward API value that is not there. */
export function text(env: Environment, name: string): string | undefined {
  const value = env[name]
  return value === undefined || value === '' ? undefined : value
}

export function boolean(env: Environment, name: string, fallback: boolean): boolean {
  const value = text(env, name)
  if (value === undefined) return fallback
  if (value === 'true') return true
  if (value === 'false') return false
  return invalid(name, value, 'expected true or false')
}

export function integer(
  env: Environment,
  name: string,
  fallback: number,
  range: { readonly min: number; readonly max: number },
): number {
  const value = text(env, name)
  if (value === undefined) return fallback
  const number = /^[0-9]{1,15}$/.test(value) ? Number(value) : Number.NaN
  if (!(number >= range.min && number <= range.max))
    return invalid(name, value, `expected a whole number from ${range.min} to ${range.max}`)
  return number
}

export function oneOf<T extends string>(
  env: Environment,
  name: string,
  fallback: T,
  choices: readonly T[],
): T {
  const value = text(env, name)
  if (value === undefined) return fallback
  return (
    choices.find(choice => choice === value) ?? invalid(name, value, `expected one of ${choices.join(', ')}`)
  )
}

/** `180s`, `5m`, `1h 30m`. */
export function durationMs(env: Environment, name: string, fallback: number): number {
  const value = text(env, name)
  if (value === undefined) return fallback
  return readDurationMs(value) ?? invalid(name, value, 'expected a duration such as 180s, 5m, 1h or 1h 30m')
}

/** Whole milliseconds, `undefined` when the text is no duration. */
export function readDurationMs(value: string): number | undefined {
  const trimmed = value.trim()
  if (trimmed === '0') return 0
  if (!/^([0-9]+ *[a-z]+ *)+$/.test(trimmed)) return undefined
  let total = 0
  for (const [, amount = '', unit = ''] of trimmed.matchAll(/([0-9]+) *([a-z]+)/g)) {
    const factor = UNIT_MS[unit]
    if (factor === undefined) return undefined
    total += Number(amount) * factor
  }
  return Number.isFinite(total) ? Math.round(total) : undefined
}

export function ipAddress(env: Environment, name: string, fallback: string): string {
  const value = text(env, name)
  if (value === undefined) return fallback
  return canonicalIp(value) ?? invalid(name, value, 'expected an IP address')
}

/** All variables `PREFIX_<NAME>` as `<name>` → value. */
export function prefixed(env: Environment, prefix: string): Readonly<Record<string, string>> {
  const found: Record<string, string> = {}
  for (const [name, value] of Object.entries(env))
    if (name.startsWith(prefix) && name.length > prefix.length && value !== undefined)
      found[name.slice(prefix.length)] = value
  return found
}
