/**
 * The `ambient` command as a function: arguments in, an exit code out.
 * @packageDocumentation
 */
export { runCli } from './run.ts'
export type { CliHost } from './host.ts'
