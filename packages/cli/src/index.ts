/**
 * The `ambient` command as a function: arguments in, an exit code out.
 * @packageDocumentation
 */
export { runCli } from './run.ts'
export { eventPrinter, type PrintOptions } from './print-events.ts'
export type { CliHost } from './host.ts'
