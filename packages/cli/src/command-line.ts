/** What the commands share of a command line: quiet errors, options that several have, arguments that are checked. */
import { type Command, InvalidArgumentError, Option } from 'commander'
import type { CliHost } from './host.ts'
import { OUTPUT_FORMATS } from './output.ts'

/** Where a command is registered, and where it leaves its exit code. */
export interface CommandContext {
  readonly host: CliHost
  finish(code: number): void
}

/** A command whose errors are one line and that never ends the process by itself. */
export function addCommand(
  parent: Command,
  nameAndArguments: string,
  description: string,
  { host }: CommandContext,
): Command {
  return quiet(parent.command(nameAndArguments).description(description), host)
}

/** The program itself gets the same treatment. */
export function quiet(command: Command, host: CliHost): Command {
  return command
    .exitOverride()
    .allowExcessArguments(false)
    .showSuggestionAfterError(true)
    .configureOutput({
      writeOut: text => host.stdout(text),
      writeErr: text => host.stderr(text),
      outputError: (text, write) => write(`${plainly(text)}\n`),
    })
}

/** One line, without what only says that a value was read. */
function plainly(text: string): string {
  return text
    .trim()
    .replace(/\s*\n\s*/g, ' ')
    .replace(/^error: command-argument value '(.*)' is invalid for argument '(.*?)'\. /, 'error: $2: ')
}

/** `-o table|json|yaml`. */
export function outputOption(): Option {
  return new Option('-o, --output <format>', 'how to print').choices(OUTPUT_FORMATS).default('table')
}

/** `--mesh DIR`: which mesh. */
export function meshOption(): Option {
  return new Option('--mesh <folder>', "the mesh's folder of manifests (default: of the only mesh that runs)")
}

/** For options that may be repeated. */
export function collect(value: string, previous: readonly string[] | undefined): readonly string[] {
  return [...(previous ?? []), value]
}

export function blockNumber(value: string): number {
  const block = /^[0-9]{1,3}$/.test(value) ? Number(value) : 0
  if (block < 1 || block > 254) throw new InvalidArgumentError('expected a whole number from 1 to 254.')
  return block
}

/** A DNS label, as names of nodes, namespaces and accounts are. */
export function dnsLabel(value: string): string {
  if (/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(value)) return value
  throw new InvalidArgumentError('expected a DNS label: a-z, 0-9 and -, at most 63 characters.')
}

export interface Account {
  readonly namespace: string
  readonly serviceAccount: string
}

/** `namespace/service-account`. */
export function account(value: string): Account {
  const [namespace = '', serviceAccount = '', ...rest] = value.split('/')
  const isName = (text: string): boolean => /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/.test(text)
  if (rest.length > 0 || !isName(namespace) || !isName(serviceAccount))
    throw new InvalidArgumentError('expected NAMESPACE/SERVICE-ACCOUNT.')
  return { namespace, serviceAccount }
}

const DURATION_UNITS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
}

/** A duration as Go writes them, and days: `90s`, `1m30s`, `7d`; in milliseconds. */
export function duration(value: string): number {
  const parts = [...value.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)]
  if (parts.length === 0 || parts.map(([part]) => part).join('') !== value)
    throw new InvalidArgumentError('expected a duration such as 90s, 1m30s or 7d.')
  return parts.reduce((sum, [, amount, unit]) => sum + Number(amount) * (DURATION_UNITS[unit ?? ''] ?? 0), 0)
}
