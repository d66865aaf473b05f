/** `ambient policy what-if`: what policies would have done to traffic that was recorded. */
import { type BlockedTraffic, formatEnforcer, type PolicyDialect, type WhatIf, whatIf } from '@ambient/policy'
import { type Command, Option } from 'commander'
import { addCommand, collect, type CommandContext, outputOption } from '../command-line.ts'
import { type CliHost, EXIT_FAILED, EXIT_OK } from '../host.ts'
import { type OutputFormat, render } from '../output.ts'
import { requestText } from './diff.ts'
import { addMeshOptions, DIALECTS, evaluatorOptions, type MeshOptions } from './mesh-options.ts'
import { readPolicyDocuments } from './read-documents.ts'
import { noTraffic, readRecordedFiles } from './recorded.ts'

const EXAMPLES = `
Examples:
  $ ambient policy what-if -f candidate.yaml --recorded yesterday.jsonl
  $ ambient policy what-if -f policies/ -f candidate.yaml --recorded ztunnel.log -o json

-f are all the policies that would be in force, the candidate among them. Nothing is
enforced. Recorded traffic is what "ambient policy suggest" takes; each line counts.

Exit code 0: all of it would have passed; 1: some would not; 2: the command line, a
record or a document is wrong.
`

interface WhatIfCommandOptions extends MeshOptions {
  readonly file: readonly string[]
  readonly recorded: readonly string[]
  readonly dialect?: PolicyDialect
  readonly output: OutputFormat
}

export function registerPolicyWhatIf(policy: Command, context: CommandContext): void {
  const command = addCommand(
    policy,
    'what-if',
    'what policies would have blocked of recorded traffic',
    context,
  )
    .requiredOption('-f, --file <path>', 'a file, a folder, or - for standard input (repeat)', collect)
    .requiredOption('--recorded <file>', 'traffic as it was, - for standard input (repeat)', collect)
    .addOption(
      new Option('--dialect <dialect>', 'whose decisions (default: of each request)').choices(DIALECTS),
    )
  addMeshOptions(command)
    .addOption(outputOption())
    .addHelpText('after', EXAMPLES)
    .action(async (options: WhatIfCommandOptions) => context.finish(await run(options, context.host)))
}

async function run(options: WhatIfCommandOptions, host: CliHost): Promise<number> {
  const documents = await readPolicyDocuments(options.file, host, { emptySelector: 'warned' })
  const recorded = await readRecordedFiles(options.recorded, host)
  if (recorded.length === 0) host.stderr(`note: ${noTraffic(options.recorded)}\n`)
  const found = whatIf(documents, recorded, {
    ...evaluatorOptions(options),
    ...(options.dialect === undefined ? {} : { dialect: options.dialect }),
  })
  host.stdout(render(options.output, found, () => text(found)))
  return found.denied === 0 ? EXIT_OK : EXIT_FAILED
}

function text({ recorded, denied, blocked }: WhatIf): string {
  return `${blocked.map(blockedText).join('')}${denied} of ${recorded} recorded requests would have been denied\n`
}

function blockedText({ count, policy, rule, reason, dialect, enforcer, example }: BlockedTraffic): string {
  const by = policy === null ? 'no ALLOW policy matched' : `${policy}${rule === null ? '' : `[rule ${rule}]`}`
  const at = enforcer === undefined ? '' : `, at ${formatEnforcer(enforcer, dialect)}`
  return `${count} × ${dialect}: ${by}\n    ${reason}\n    such as ${requestText(example)}${at}\n`
}
