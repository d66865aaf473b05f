/** Log lines on standard error: standard output belongs to data. */
import { escapeUnseen, type LogFields, type Logger, quoteText } from '@ambient/core'
import type { CliHost } from '../host.ts'

/** Warnings and errors always; the rest when asked for. */
export function stderrLogger({ stderr }: Pick<CliHost, 'stderr'>, verbose: boolean): Logger {
  const line = (level: string, fields: LogFields, message: string): void =>
    stderr(`${new Date().toISOString()} ${level} ${escapeUnseen(message)}${fieldsText(fields)}\n`)
  const quiet = (): void => {}
  return {
    debug: verbose ? (fields, message) => line('debug', fields, message) : quiet,
    info: verbose ? (fields, message) => line('info', fields, message) : quiet,
    warn: (fields, message) => line('warn', fields, message),
    error: (fields, message) => line('error', fields, message),
  }
}

function fieldsText(fields: LogFields): string {
  return Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ` ${key}=${valueText(String(value))}`)
    .join('')
}

/** What peers say is among it, and a terminal obeys control characters. */
function valueText(value: string): string {
  return /^[!#-~]+$/.test(value) ? value : quoteText(value)
}
