/** `ambient policy migrate`: policies of sidecars for waypoints and ztunnels, with the proof that they decide alike. */
import {
  type MigrationChange,
  type MigrationProof,
  proveMigration,
  rewritePolicies,
  toManifest,
  toYaml,
} from '@ambient/policy'
import { type Command, Option } from 'commander'
import { addCommand, collect, type CommandContext } from '../command-line.ts'
import { CliError } from '../errors.ts'
import { type CliHost, EXIT_FAILED, EXIT_OK } from '../host.ts'
import { requestText } from './diff.ts'
import { meshFactsOf } from './mesh-facts.ts'
import { readPolicyDocuments } from './read-documents.ts'

const EXAMPLES = `
Examples:
  $ ambient policy migrate -f manifests/ > ambient-policies.yaml
  $ ambient policy migrate -f manifests/ --after written-by-another-tool.yaml

-f are the policies of the sidecars and the mesh as it is going to be: Namespaces with
their labels, Deployments or Pods, Services, Gateways of waypoints. Each policy becomes
one per service at its waypoint, which sees the caller, and stays at the ztunnel as far
as L4 goes, with the waypoint let through. Where HTTP is judged the waypoint alone is
let in. So it is where tokens are: each RequestAuthentication becomes one per service at
its waypoint, because no ztunnel looks at tokens.

The proof compares, for each workload, port and way to it, what its sidecar decides now
with what waypoint and ztunnel will decide, over every request of callers with an
identity; around a waypoint it looks for what is allowed and was not. Tokens are refused
alike where the rules are the same, and undecided otherwise. --after proves policies and
RequestAuthentications that somebody else wrote instead.

Exit code 0: proven alike; 1: something changes, is undecided, or cannot be said;
2: the command line or a document is wrong.
`

interface MigrateCommandOptions {
  readonly file: readonly string[]
  readonly after?: readonly string[]
  readonly rootNamespace: string
  readonly trustDomain: string
  readonly output: 'yaml' | 'json'
}

export function registerPolicyMigrate(policy: Command, context: CommandContext): void {
  addCommand(policy, 'migrate', 'policies of sidecars for waypoints and ztunnels, with proof', context)
    .requiredOption('-f, --file <path>', 'a file, a folder, or - for standard input (repeat)', collect)
    .option('--after <path>', 'prove these policies instead of writing some (repeat)', collect)
    .option('--root-namespace <name>', 'whose policies are for every namespace', 'istio-system')
    .option('--trust-domain <name>', "the mesh's own", 'cluster.local')
    .addOption(new Option('-o, --output <format>', 'how to print').choices(['yaml', 'json']).default('yaml'))
    .addHelpText('after', EXAMPLES)
    .action(async (options: MigrateCommandOptions) => context.finish(await migrate(options, context.host)))
}

async function migrate(options: MigrateCommandOptions, host: CliHost): Promise<number> {
  const { rootNamespace, trustDomain } = options
  const before = await readPolicyDocuments(options.file, host, { emptySelector: 'warned' })
  const { mesh, silent } = meshFactsOf(before, { rootNamespace, trustDomain })
  if (mesh === undefined || mesh.workloads.length === 0)
    throw new CliError(
      'AMBIENT_E_CLI_USAGE',
      silent ?? 'no workloads in these files: without Deployments or Pods there is nothing to prove',
    )
  const { requestAuthentications } = before
  const written = rewritePolicies(before.authorizationPolicies, mesh, {
    rootNamespace,
    trustDomain,
    requestAuthentications,
  })
  const given =
    options.after === undefined
      ? undefined
      : await readPolicyDocuments(options.after, host, { emptySelector: 'warned' })
  const after = given ?? {
    ...before,
    authorizationPolicies: written.policies,
    requestAuthentications: written.requestAuthentications,
  }
  const documents = [...after.requestAuthentications, ...after.authorizationPolicies]
  const problems = given === undefined ? written.problems : []
  const proof = proveMigration(before, { ...before, ...after }, mesh, { rootNamespace, trustDomain })
  if (options.output === 'json')
    host.stdout(`${JSON.stringify({ policies: documents.map(toManifest), problems, proof }, undefined, 2)}\n`)
  else if (given === undefined) host.stdout(toYaml(documents))
  host.stderr([...problems.map(text => `problem: ${text}\n`), proofText(proof)].join(''))
  return proof.result === 'equal' && problems.length === 0 ? EXIT_OK : EXIT_FAILED
}

function proofText({ result, changes, undecided, compared }: MigrationProof): string {
  const ways = `${compared} ways to workloads`
  if (result === 'equal') return `proven alike: ${ways}\n`
  return [
    ...changes.map(changeText),
    ...undecided.map(text => `undecided: ${text}\n`),
    `${changes.length} changes over ${ways}${undecided.length > 0 ? ', and there may be more' : ''}\n`,
  ].join('')
}

function changeText({ workload, through, before, after, constraint, witness }: MigrationChange): string {
  const lines = [
    `${before} → ${after}: ${workload} through the ${through}`,
    ...constraint.map(text => `    ${text}`),
  ]
  return `${lines.join('\n')}\n  such as ${requestText(witness)}\n`
}
