/** Log lines on standard error: standard output belongs to data. */
import type { LogFields, Logger } from '@ambient/core'
import type { CliHost } from '../host.ts'

/** Warnings and errors always; the rest when asked for. */
export function stderrLogger({ stderr }: Pick<CliHost, 'stderr'>, verbose: boolean): Logger {
  const line = (level: string, fields: LogFields, message: string): void =>
    stderr(`${new Date().toISOString()} ${level} ${message}${fieldsText(fields)}\n`)
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
    .map(
      ([key, value]) =>
        ` ${key}=${/^[^\s"]+$/.test(String(value)) ? String(value) : JSON.stringify(String(value))}`,
    )
    .join('')
}
