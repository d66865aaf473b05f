/**
 * Log lines in ztunnel's two formats: `TIME⇥LEVEL⇥SCOPE⇥MESSAGE⇥k=v …`, or one JSON object per line. The filter is
 * RUST_LOG's: a level, or `scope=level` clauses, the last match wins.
 */
import { type Clock, systemClock } from '../clock.ts'
import type { LogFields, Logger } from '../log.ts'
import { escapeUnseen, quoteText } from '../quote.ts'

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error'

/** Text that is printed without quotes in the plain format: addresses, numbers. */
export class Bare {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
  toJSON(): string {
    return this.text
  }
}

export interface LogSink {
  /** A logger whose lines carry this scope. */
  scope(name: string): Logger
  enabled(scope: string, level: LogLevel): boolean
  readonly filter: string
  /** Replaces the filter; `false` when the text is no filter, which then stays as it was. */
  setFilter(text: string): boolean
  /** A line of another format, in its place among the others; without its newline. */
  line(text: string): void
  /** Hands every held line to the writer. */
  flush(): void
}

export interface LogSinkOptions {
  readonly format: 'plain' | 'json'
  readonly filter: string
  /** Takes whole lines, newline included. */
  readonly write: (text: string) => void
  readonly clock?: Clock
}

const RANK: Readonly<Record<string, number>> = { trace: 0, debug: 1, info: 2, warn: 3, error: 4, off: 5 }
const CLAUSE = /^(?:([A-Za-z0-9_:]+)=)?(off|error|warn|info|debug|trace)$/
/** Lines are gathered for one turn of the event loop, and no longer than this. */
const MAX_HELD_BYTES = 65_536

export function createLogSink(options: LogSinkOptions): LogSink {
  const clock = options.clock ?? systemClock
  let clauses = readFilter(options.filter) ?? [{ scope: '', rank: RANK['info'] ?? 2 }]
  let filter = options.filter
  let held = ''

  const flush = (): void => {
    const text = held
    held = ''
    if (text !== '') options.write(text)
  }
  const hold = (text: string): void => {
    if (held === '') setImmediate(flush)
    held += text
    if (held.length > MAX_HELD_BYTES) flush()
  }
  const enabled = (scope: string, level: LogLevel): boolean => {
    let threshold = RANK['error'] ?? 4
    for (const clause of clauses)
      if (clause.scope === '' || scope === clause.scope || scope.startsWith(`${clause.scope}::`))
        threshold = clause.rank
    return (RANK[level] ?? 0) >= threshold
  }
  const log = (scope: string, level: LogLevel, fields: LogFields, message: string): void => {
    if (enabled(scope, level)) hold(formatLine(options.format, clock.now(), scope, level, fields, message))
  }
  return {
    scope: name => ({
      debug: (fields, message) => log(name, 'debug', fields, message),
      info: (fields, message) => log(name, 'info', fields, message),
      warn: (fields, message) => log(name, 'warn', fields, message),
      error: (fields, message) => log(name, 'error', fields, message),
    }),
    enabled,
    get filter() {
      return filter
    },
    setFilter(text) {
      const read = readFilter(text)
      if (read === undefined) return false
      clauses = read
      filter = text
      return true
    },
    line: text => hold(`${text}\n`),
    flush,
  }
}

/** One line, newline included; exported for the golden tests. */
export function formatLine(
  format: 'plain' | 'json',
  nowMs: number,
  scope: string,
  level: LogLevel,
  fields: LogFields,
  message: string,
): string {
  // Milliseconds are what the clock has; ztunnel prints six digits.
  const time = `${new Date(nowMs).toISOString().slice(0, -1)}000Z`
  if (format === 'json')
    return `${escapeUnseen(JSON.stringify({ level, time, scope, message, ...fields }))}\n`
  const pairs: string[] = []
  for (const [key, value] of Object.entries(fields))
    if (value !== undefined) pairs.push(`${key}=${formatValue(value)}`)
  const tail = pairs.length === 0 ? '' : `\t${pairs.join(' ')}`
  return `${time}\t${level}\t${scope}\t${escapeUnseen(message)}${tail}\n`
}

function formatValue(value: unknown): string {
  if (value instanceof Bare) return escapeUnseen(value.text)
  // A value can forge no line, and a terminal obeys none.
  if (typeof value === 'string') return quoteText(value)
  if (typeof value === 'number' || typeof value === 'boolean' || typeof value === 'bigint')
    return String(value)
  return escapeUnseen(JSON.stringify(value) ?? 'undefined')
}

function readFilter(text: string): { scope: string; rank: number }[] | undefined {
  const clauses: { scope: string; rank: number }[] = []
  for (const part of text.split(',').map(clause => clause.trim())) {
    if (part === '') continue
    const match = CLAUSE.exec(part)
    if (match === null) return undefined
    clauses.push({ scope: (match[1] ?? '').replace(/^ztunnel::/, ''), rank: RANK[match[2] ?? 'info'] ?? 2 })
  }
  // A bare level is the ground that scoped clauses stand on, wherever it is written.
  return clauses.sort((a, b) => Number(a.scope !== '') - Number(b.scope !== ''))
}
