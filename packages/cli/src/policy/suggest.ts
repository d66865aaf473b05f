/** `ambient policy suggest`: policies that let in what was recorded and nothing else, with the proof. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { messageOf, quoteText } from '@ambient/core'
import { type Suggestion, suggestedTests, suggestPolicies, toManifest, toYaml } from '@ambient/policy'
import { type Command, Option } from 'commander'
import { addCommand, collect, type CommandContext } from '../command-line.ts'
import { CliError } from '../errors.ts'
import { type CliHost, EXIT_FAILED, EXIT_OK } from '../host.ts'
import { requestText } from './diff.ts'
import { addMeshOptions, evaluatorOptions, type MeshOptions } from './mesh-options.ts'
import { noTraffic, readRecordedFiles } from './recorded.ts'

const EXAMPLES = `
Examples:
  $ ambient policy suggest --recorded calls.jsonl > policies.yaml
  $ ambient policy suggest --recorded ztunnel.log --write policies/suggested
  $ ambient policy suggest --recorded calls.jsonl --path-templates --any-host

Recorded traffic is lines of JSON as "ambient policy explain --request" takes them, or an
access log, text or JSON: a ztunnel's (connections that arrived and were let in), or a
waypoint's of this project (HTTP requests that were answered). HTTP for a service gives a
policy of the service at its waypoint, everything else one of the workload, by its label
app or, without labels, of its namespace.

--write makes policies.yaml and suggested.policy-test.yaml, which "ambient policy test"
runs: recorded requests are allowed, the same with one field changed are denied.

Exit code 0: every recorded request is allowed, and at least 95 % of those that differ in
one field are not; 1: otherwise; 2: the command line or a record is wrong, or empty.
`

/** Templates let in what nobody recorded; more than so much is no least privilege. */
const MAX_ALLOWED_MUTANTS = 0.05

interface SuggestCommandOptions extends MeshOptions {
  readonly recorded: readonly string[]
  readonly pathTemplates?: boolean
  readonly anyHost?: boolean
  readonly write?: string
  readonly output: 'yaml' | 'json'
}

export function registerPolicySuggest(policy: Command, context: CommandContext): void {
  const command = addCommand(policy, 'suggest', 'policies of least privilege from recorded traffic', context)
    .requiredOption('--recorded <file>', 'traffic as it was, - for standard input (repeat)', collect)
    .option('--path-templates', 'identifiers in paths become {*}')
    .option('--any-host', 'hosts are left out')
    .option('--write <folder>', 'write policies and tests there instead of printing')
  addMeshOptions(command)
    .addOption(new Option('-o, --output <format>', 'how to print').choices(['yaml', 'json']).default('yaml'))
    .addHelpText('after', EXAMPLES)
    .action(async (options: SuggestCommandOptions) => context.finish(await suggest(options, context.host)))
}

async function suggest(options: SuggestCommandOptions, host: CliHost): Promise<number> {
  const recorded = await readRecordedFiles(options.recorded, host)
  if (recorded.length === 0) throw new CliError('AMBIENT_E_CLI_USAGE', noTraffic(options.recorded))
  const suggestion = suggestPolicies(recorded, {
    ...evaluatorOptions(options),
    pathTemplates: options.pathTemplates === true,
    anyHost: options.anyHost === true,
  })
  const { policies, proof } = suggestion
  if (options.write !== undefined) await writeAll(options.write, suggestion)
  else if (options.output === 'json')
    host.stdout(`${JSON.stringify({ policies: policies.map(toManifest), proof }, undefined, 2)}\n`)
  else host.stdout(toYaml(policies))
  host.stderr(proofText(suggestion))
  const share = proof.mutants === 0 ? 0 : proof.allowedMutants.length / proof.mutants
  return proof.notAllowed.length === 0 && share <= MAX_ALLOWED_MUTANTS ? EXIT_OK : EXIT_FAILED
}

async function writeAll(folder: string, suggestion: Suggestion): Promise<void> {
  try {
    await mkdir(folder, { recursive: true })
    await writeFile(join(folder, 'policies.yaml'), toYaml(suggestion.policies))
    const tests = suggestedTests(suggestion, { policies: ['policies.yaml'] })
    await writeFile(join(folder, 'suggested.policy-test.yaml'), tests)
  } catch (cause) {
    const message = `--write ${quoteText(folder)}: ${messageOf(cause)}`
    throw new CliError('AMBIENT_E_CLI_USAGE', message, { cause })
  }
}

function proofText({ policies, proof }: Suggestion): string {
  const { recorded, notAllowed, mutants, allowedMutants } = proof
  const denied = mutants - allowedMutants.length
  return [
    `${policies.length} ${policies.length === 1 ? 'policy' : 'policies'}; ${recorded - notAllowed.length} of ${recorded} recorded requests are allowed; ${denied} of ${mutants} that differ in one field are denied\n`,
    ...notAllowed.map(request => `  not allowed: ${requestText(request)}\n`),
    ...allowedMutants.map(
      ({ field, request }) => `  allowed with another ${field}: ${requestText(request)}\n`,
    ),
  ].join('')
}
