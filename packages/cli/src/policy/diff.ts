/** `ambient policy diff`: which connections and requests are judged otherwise, with one of each. */
import {
  diffPolicies,
  type Enforcer,
  type PolicyChange,
  type PolicyDialect,
  type PolicyDiff,
  type PolicyRequest,
} from '@ambient/policy'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { addCommand, type CommandContext, outputOption } from '../command-line.ts'
import { CliError } from '../errors.ts'
import { type CliHost, EXIT_FAILED, EXIT_OK } from '../host.ts'
import { type OutputFormat, render } from '../output.ts'
import { addMeshOptions, DIALECTS, evaluatorOptions, type MeshOptions } from './mesh-options.ts'
import { readPolicyDocuments } from './read-documents.ts'

const EXAMPLES = `
Examples:
  $ ambient policy diff policies/ new-policies/
  $ ambient policy diff before.yaml after.yaml --dialect envoy-http --at waypoint -o json
  $ git show main:policy.yaml | ambient policy diff - policy.yaml

BEFORE and AFTER are files, folders, or - for standard input. Each change is a set of
requests in words, who decides before and after, and one request of the set, which
"ambient policy explain --request" takes. Nothing is sampled: "no change" is proven
for every connection and request, in each dialect and at each place that selectors and
targetRefs tell apart.

Which tokens a RequestAuthentication accepts beyond its issuers (audiences, keys, where
they are), and what another provider of a CUSTOM policy answers, is not compared: a
difference there is undecided, never "no change".

Exit code 0: no change; 1: changes, or undecided because the search is too large or
something that is not compared differs; 2: the command line or a document is wrong.
`

const KINDS = ['workload', 'waypoint', 'gateway'] as const satisfies readonly Enforcer['kind'][]

interface DiffCommandOptions extends MeshOptions {
  readonly dialect?: readonly PolicyDialect[]
  readonly at?: readonly Enforcer['kind'][]
  readonly maxSteps?: number
  readonly output: OutputFormat
}

export function registerPolicyDiff(policy: Command, context: CommandContext): void {
  const command = addCommand(
    policy,
    'diff <before> <after>',
    'which requests other policies judge otherwise',
    context,
  )
    .addOption(
      new Option('--dialect <dialect>', 'whose decisions (repeat; default: all)')
        .choices(DIALECTS)
        .argParser(oneOf(DIALECTS)),
    )
    .addOption(
      new Option('--at <kind>', 'at which proxies (repeat; default: all)')
        .choices(KINDS)
        .argParser(oneOf(KINDS)),
    )
    .option('--max-steps <n>', 'of the search per dialect and proxy; past them: undecided', steps)
  addMeshOptions(command)
    .addOption(outputOption())
    .addHelpText('after', EXAMPLES)
    .action(async (before: string, after: string, options: DiffCommandOptions) =>
      context.finish(await diff(before, after, options, context.host)),
    )
}

async function diff(
  before: string,
  after: string,
  options: DiffCommandOptions,
  host: CliHost,
): Promise<number> {
  if (before === '-' && after === '-')
    throw new CliError('AMBIENT_E_CLI_USAGE', 'standard input is one thing: expected only one -')
  const [left, right] = [
    await readPolicyDocuments([before], host, { emptySelector: 'warned' }),
    await readPolicyDocuments([after], host, { emptySelector: 'warned' }),
  ]
  const found = diffPolicies(left, right, {
    ...evaluatorOptions(options),
    ...(options.dialect === undefined ? {} : { dialects: options.dialect }),
    ...(options.at === undefined ? {} : { enforcers: options.at }),
    ...(options.maxSteps === undefined ? {} : { maxSteps: options.maxSteps }),
  })
  host.stdout(render(options.output, found, () => diffText(found)))
  return found.result === 'same' ? EXIT_OK : EXIT_FAILED
}

/** Changes by who decides, then what could not be decided. */
export function diffText({ result, changes, undecided }: PolicyDiff): string {
  if (result === 'same') return 'no change: proven for every connection and request\n'
  const counts = `${changes.length} ${changes.length === 1 ? 'change' : 'changes'}`
  return [
    ...changes.map(changeText),
    ...undecided.map(
      ({ dialect, enforcer, reason }) => `undecided: ${dialect} at a ${enforcer}: ${reason}\n`,
    ),
    `${counts}${undecided.length > 0 ? ', and there may be more' : ''}\n`,
  ].join('\n')
}

function changeText(change: PolicyChange): string {
  const { dialect, before, after, constraint, witness, enforcer } = change
  const lines = [
    `${before.verdict} → ${after.verdict}: ${dialect} at ${enforcer.kind === 'workload' ? 'workloads' : `a ${enforcer.kind}`}`,
    ...constraint.map(text => `    ${text}`),
    `  before: ${deciderText(before)}`,
    `  after:  ${deciderText(after)}`,
    `  such as ${requestText(witness)}`,
  ]
  return `${lines.join('\n')}\n`
}

function deciderText({ verdict, policy, rule, reason }: PolicyChange['before']): string {
  const by = policy === null ? '' : ` by ${policy}${rule === null ? '' : `[rule ${rule}]`}`
  return `${verdict}${by}: ${reason}`
}

/** One line; the JSON has all of it. */
export function requestText({ source, destination, http }: PolicyRequest): string {
  const from = source.principal ?? 'plaintext'
  const { namespace, workload = '*', service, labels = {}, port } = destination
  const labelled = Object.entries(labels).map(([key, value]) => `${key}=${value}`)
  const to = `${service ?? `${namespace}/${workload}`}:${port}${labelled.length === 0 ? '' : ` (${labelled.join(',')})`}`
  const request = http === undefined ? '' : ` ${http.method} ${http.authority}${http.path}`
  return `${from} → ${to}${request}`
}

function oneOf<T extends string>(choices: readonly T[]) {
  return (value: string, previous: readonly T[] | undefined): readonly T[] => {
    const found = choices.find(choice => choice === value)
    if (found === undefined) throw new InvalidArgumentError(`Allowed choices are ${choices.join(', ')}.`)
    return [...(previous ?? []), found]
  }
}

function steps(value: string): number {
  if (/^[1-9][0-9]{0,9}$/.test(value)) return Number(value)
  throw new InvalidArgumentError('expected a whole number from 1.')
}
