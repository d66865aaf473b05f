/** `ambient policy lint`: mistakes that are documents without errors, each with its place and what to do. */
import {
  formatProblem,
  isLintId,
  type LintFinding,
  lintPolicies,
  lintRules,
  type LintSeverity,
} from '@ambient/policy'
import { quoteText } from '@ambient/core'
import { type Command, Option } from 'commander'
import { addCommand, collect, type CommandContext } from '../command-line.ts'
import { CliError } from '../errors.ts'
import { type CliHost, EXIT_FAILED, EXIT_OK } from '../host.ts'
import { type OutputFormat, OUTPUT_FORMATS, render } from '../output.ts'
import { ownVersion } from '../version.ts'
import { fixFiles } from './fix.ts'
import { meshFactsOf } from './mesh-facts.ts'
import { type PolicyFiles, readPolicyDocuments } from './read-documents.ts'
import { sarifOf } from './sarif.ts'

const EXAMPLES = `
Examples:
  $ ambient policy lint -f manifests/
  $ ambient policy lint -f policies.yaml -f mesh/ --severity error
  $ kubectl get authorizationpolicies,deployments,services,gateways -A -o yaml | ambient policy lint -f -
  $ ambient policy lint -f manifests/ -o sarif > lint.sarif

Deployments, Services, Gateways and Namespaces among the files tell what the mesh
has; rules that need to know are silent without them, and that is said. Each rule
has a page: docs/lint/ID.md.

--fix rewrites what has one meaning only: "spiffe://" before a principal, and
methods in lower case. The ConfigMap istio of the root namespace gives providers,
trust domain aliases and path normalization.

Exit code 0: nothing found; 1: findings; 2: the command line or a document is wrong.
`

const SEVERITIES = ['error', 'warning', 'info'] as const
const PATH_MODES = ['NONE', 'BASE', 'MERGE_SLASHES', 'DECODE_AND_MERGE_SLASHES'] as const

/** What the mesh would refuse at load is a finding here, with the others. */
const READ = { emptySelector: 'warned' } as const

interface LintCommandOptions {
  readonly file: readonly string[]
  readonly rootNamespace: string
  readonly trustDomain: string
  readonly trustDomainAlias?: readonly string[]
  readonly pathNormalization?: (typeof PATH_MODES)[number]
  readonly provider?: readonly string[]
  readonly requireWaypoint: boolean
  readonly severity: LintSeverity
  readonly disable?: readonly string[]
  readonly fix?: boolean
  readonly output: OutputFormat | 'sarif'
}

export function registerPolicyLint(policy: Command, context: CommandContext): void {
  addCommand(policy, 'lint', 'mistakes that are documents without errors', context)
    .requiredOption('-f, --file <path>', 'a file, a folder, or - for standard input (repeat)', collect)
    .option('--root-namespace <name>', 'whose policies are for every namespace', 'istio-system')
    .option('--trust-domain <name>', "the mesh's own", 'cluster.local')
    .option('--trust-domain-alias <name>', 'another that means the same mesh (repeat)', collect)
    .addOption(new Option('--path-normalization <mode>', 'of the mesh configuration').choices(PATH_MODES))
    .option('--require-waypoint', 'the control plane lets waypoints reach their workloads', false)
    .option('--provider <name>', 'an extension provider of the mesh configuration (repeat)', collect)
    .addOption(new Option('--severity <level>', 'the least that counts').choices(SEVERITIES).default('info'))
    .option('--disable <id>', 'a rule to leave out (repeat)', collect)
    .option('--fix', 'rewrite what has one meaning only')
    .addOption(
      new Option('-o, --output <format>', 'how to print')
        .choices([...OUTPUT_FORMATS, 'sarif'])
        .default('table'),
    )
    .addHelpText('after', EXAMPLES)
    .action(async (options: LintCommandOptions) => context.finish(await lint(options, context.host)))
}

async function lint(options: LintCommandOptions, host: CliHost): Promise<number> {
  const disabled = new Set(options.disable)
  for (const id of disabled)
    if (!isLintId(id))
      throw new CliError('AMBIENT_E_CLI_USAGE', `--disable ${quoteText(id)}: no rule has this id`)
  const documents = await readPolicyDocuments(options.file, host, READ)
  const first = findingsOf(documents, options)
  const fixed = options.fix === true ? await fixFiles(documents.files, first.findings) : 0
  if (fixed > 0) host.stderr(`${fixed} ${fixed === 1 ? 'finding' : 'findings'} fixed\n`)
  const { findings, silent, unfinished } =
    fixed === 0 ? first : findingsOf(await readPolicyDocuments(options.file, host, READ), options)
  for (const note of [...(silent === undefined ? [] : [silent]), ...unfinished])
    host.stderr(`note: ${note}\n`)
  const least = SEVERITIES.indexOf(options.severity)
  const shown = findings.filter(
    ({ id, severity }) => !disabled.has(id) && SEVERITIES.indexOf(severity) <= least,
  )
  host.stdout(
    options.output === 'sarif'
      ? `${JSON.stringify(sarifOf(shown, ownVersion()), undefined, 2)}\n`
      : render(
          options.output,
          {
            findings: shown,
            ...(silent !== undefined && { silent }),
            ...(unfinished.length > 0 && { unfinished }),
          },
          () => lines(shown),
        ),
  )
  return shown.length === 0 ? EXIT_OK : EXIT_FAILED
}

function findingsOf(
  documents: PolicyFiles,
  options: LintCommandOptions,
): {
  readonly findings: readonly LintFinding[]
  readonly silent: string | undefined
  /** What a limit left open. */
  readonly unfinished: readonly string[]
} {
  const { rootNamespace, trustDomain } = options
  const { mesh, config, silent } = meshFactsOf(documents, { rootNamespace, trustDomain })
  const { provider: providers = [] } = options
  const pathNormalization = options.pathNormalization ?? config?.pathNormalization
  const unfinished: string[] = []
  const findings = lintPolicies(documents, mesh, {
    onUnfinished: what => unfinished.push(what),
    rootNamespace,
    trustDomain,
    trustDomainAliases: [...(config?.trustDomainAliases ?? []), ...(options.trustDomainAlias ?? [])],
    requireWaypoint: options.requireWaypoint,
    files: documents.files,
    ...(pathNormalization !== undefined && { pathNormalization }),
    ...((config !== undefined || providers.length > 0) && {
      extensionProviders: [...(config?.extensionProviders.map(({ name }) => name) ?? []), ...providers],
    }),
  })
  return { findings, silent, unfinished }
}

/** `file:line:column: severity: message [id]`, and what to do below it. */
function lines(findings: readonly LintFinding[]): string {
  if (findings.length === 0) return 'no findings\n'
  const counts = SEVERITIES.flatMap(severity => {
    const count = findings.filter(finding => finding.severity === severity).length
    return count === 0 ? [] : [`${count} ${severity}${count === 1 || severity === 'info' ? '' : 's'}`]
  })
  return `${findings.map(line).join('')}${counts.join(', ')}\n`
}

function line({ position, policy, message, severity, id }: LintFinding): string {
  const { file, line: at, column } = position ?? { file: policy, line: 1, column: 1 }
  const level = severity === 'error' ? 'error' : 'warning'
  const text = formatProblem({ file, line: at, column, message: `${message} [${id}]`, severity: level })
  const said = severity === 'info' ? text.replace(': warning: ', ': info: ') : text
  return `${said}\n    ${lintRules[id].fix}\n`
}
