/** `ambient config`: what of a configuration counts here. */
import { type Command, Option } from 'commander'
import { addCommand, collect, type CommandContext, outputOption } from '../command-line.ts'
import { type CliHost, EXIT_OK } from '../host.ts'
import { type OutputFormat, render } from '../output.ts'
import { formatTable } from '../table.ts'
import { type SupportRow, type SupportStatus, supportTable } from './support.ts'

const EXAMPLES = `
Examples:
  $ ambient config support
  $ ambient config support --kind AuthorizationPolicy --kind RequestAuthentication
  $ ambient config support --status warned -o json

STATUS: enforced, it does what it says; warned, it is taken and said to be without
effect; refused, it is an error; unused, it is taken as a cluster would take it and
nobody here needs it. A field that is not in the table is an error.

The table is made by asking the readers of this version.
`

const STATUSES: readonly SupportStatus[] = ['enforced', 'warned', 'refused', 'unused']

interface SupportOptions {
  readonly kind?: readonly string[]
  readonly status?: SupportStatus
  readonly output: OutputFormat
}

export function registerConfig(program: Command, context: CommandContext): void {
  const config = addCommand(program, 'config', 'what of a configuration counts here', context)
  addCommand(config, 'support', 'every field of every kind: enforced by whom, warned of, refused', context)
    .option('--kind <kind>', 'only this one (repeat)', collect)
    .addOption(new Option('--status <status>', 'only these').choices(STATUSES))
    .addOption(outputOption())
    .addHelpText('after', EXAMPLES)
    .action((options: SupportOptions) => context.finish(support(options, context.host)))
}

function support({ kind: kinds, status, output }: SupportOptions, host: CliHost): number {
  const rows = supportTable().filter(
    row =>
      (kinds === undefined || kinds.includes(row.kind)) && (status === undefined || row.status === status),
  )
  host.stdout(render(output, { rows }, () => supportText(rows)))
  return EXIT_OK
}

export function supportText(rows: readonly SupportRow[]): string {
  return formatTable([
    ['KIND', 'FIELD', 'STATUS', 'BY', 'NOTE'],
    ...rows.map(({ kind, field, status, by, note }) => [kind, field, status, by.join(', ') || '-', note]),
  ])
}
