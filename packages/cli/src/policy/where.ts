/** `ambient policy where`: each policy, the proxies that enforce it, what is lost there, and whom they see. */
import { quoteText } from '@ambient/core'
import {
  type EnforcementRow,
  impliedMesh,
  type PolicyObject,
  type WhereDocuments,
  whereEnforced,
} from '@ambient/policy'
import type { Command } from 'commander'
import { addCommand, collect, type CommandContext, outputOption } from '../command-line.ts'
import { CliError } from '../errors.ts'
import { type CliHost, EXIT_FAILED, EXIT_OK } from '../host.ts'
import { type OutputFormat, render } from '../output.ts'
import { formatTable } from '../table.ts'
import { meshFactsOf } from './mesh-facts.ts'
import { type PolicyFiles, readPolicyDocuments } from './read-documents.ts'

const EXAMPLES = `
Examples:
  $ ambient policy where -f manifests/
  $ ambient policy where -f manifests/ --policy shop/web -o json

SEES is whom the proxy takes for the caller: behind a waypoint, a workload's ztunnel
sees the waypoint, unless somebody goes around it. RULES says which rules are not
enforced as they are written.

With Deployments, Services, Gateways and Namespaces among the files it is about these;
without them about what the policies themselves name, and * stands for any.

Exit code 0: every policy is enforced somewhere; 1: one is not; 2: the command line
or a document is wrong.
`

interface WhereCommandOptions {
  readonly file: readonly string[]
  readonly rootNamespace: string
  readonly trustDomain: string
  readonly trustDomainAlias?: readonly string[]
  readonly policy?: readonly string[]
  readonly output: OutputFormat
}

export function registerPolicyWhere(policy: Command, context: CommandContext): void {
  addCommand(policy, 'where', 'which proxy enforces which policy, and whom it sees', context)
    .requiredOption('-f, --file <path>', 'a file, a folder, or - for standard input (repeat)', collect)
    .option('--policy <namespace/name>', 'only this one (repeat)', collect)
    .option('--root-namespace <name>', 'whose policies are for every namespace', 'istio-system')
    .option('--trust-domain <name>', "the mesh's own", 'cluster.local')
    .option('--trust-domain-alias <name>', 'another that means the same mesh (repeat)', collect)
    .addOption(outputOption())
    .addHelpText('after', EXAMPLES)
    .action(async (options: WhereCommandOptions) => context.finish(await where(options, context.host)))
}

async function where(options: WhereCommandOptions, host: CliHost): Promise<number> {
  const documents = await readPolicyDocuments(options.file, host, { emptySelector: 'warned' })
  const { rootNamespace, trustDomain } = options
  const { mesh, config, silent = '' } = meshFactsOf(documents, { rootNamespace, trustDomain })
  if (mesh === undefined)
    host.stderr(`note: ${silent.replace(/:.*/, '')}: proxies are those that the policies name, * is any\n`)
  const aliases = [...(config?.trustDomainAliases ?? []), ...(options.trustDomainAlias ?? [])]
  const asked = options.policy === undefined ? documents : namedOnes(documents, options.policy)
  const rows = whereEnforced(asked, mesh ?? impliedMesh(documents, { rootNamespace }), {
    rootNamespace,
    trustDomain,
    trustDomainAliases: aliases,
  })
  host.stdout(render(options.output, { rows }, () => table(rows)))
  const enforced = new Set(rows.filter(row => row.enforced).map(nameOf))
  return rows.every(row => enforced.has(nameOf(row))) ? EXIT_OK : EXIT_FAILED
}

/** @throws CliError for a name that no document has: silence would be taken for "it is enforced" */
function namedOnes(documents: PolicyFiles, names: readonly string[]): WhereDocuments {
  const { authorizationPolicies, peerAuthentications, requestAuthentications } = documents
  const all = new Set(
    [...authorizationPolicies, ...peerAuthentications, ...requestAuthentications].map(keyOf),
  )
  const unknown = names.find(name => !all.has(name))
  if (unknown !== undefined) {
    const known = [...all].slice(0, MAX_NAMES_TOLD)
    const message = `--policy ${quoteText(unknown)}: no policy has this name, expected ${listed(known)}${all.size > known.length ? ', …' : ''}`
    throw new CliError('AMBIENT_E_CLI_USAGE', message)
  }
  const isAsked = (policy: PolicyObject): boolean => names.includes(keyOf(policy))
  return {
    authorizationPolicies: authorizationPolicies.filter(isAsked),
    peerAuthentications: peerAuthentications.filter(isAsked),
    requestAuthentications: requestAuthentications.filter(isAsked),
  }
}

const MAX_NAMES_TOLD = 5

function listed(names: readonly string[]): string {
  return names.length === 0 ? 'none: there are no policies in these files' : `one of ${names.join(', ')}`
}

function keyOf({ metadata }: PolicyObject): string {
  return `${metadata.namespace}/${metadata.name}`
}

function nameOf({ kind, policy }: EnforcementRow): string {
  return `${kind} ${policy}`
}

const SHORT = {
  AuthorizationPolicy: 'authz',
  PeerAuthentication: 'peer',
  RequestAuthentication: 'jwt',
} as const

function table(rows: readonly EnforcementRow[]): string {
  if (rows.length === 0) return 'no policies\n'
  return formatTable([
    ['KIND', 'POLICY', 'ACTION', 'PROXY', 'FOR', 'DIALECT', 'ENFORCED', 'RULES', 'SEES', 'WHY'],
    ...rows.map(row => [
      SHORT[row.kind],
      row.policy,
      `${row.action ?? '-'}${row.dryRun ? ' (dry run)' : ''}`,
      row.point === undefined ? '-' : proxyOf(row.point),
      row.point?.traffic ?? '-',
      row.dialect ?? '-',
      row.enforced ? 'yes' : 'NO',
      rulesOf(row),
      row.sees === undefined ? '-' : row.sees.caller === 'client' ? 'client' : row.sees.identities.join(', '),
      row.reason,
    ]),
  ])
}

/** A ztunnel is its node's: it is named by the workload, which stands in the next column. */
function proxyOf({ proxy, name }: NonNullable<EnforcementRow['point']>): string {
  return proxy === 'waypoint' || proxy === 'gateway' ? `${proxy} ${name}` : proxy
}

function rulesOf({ rules, kind }: EnforcementRow): string {
  if (kind !== 'AuthorizationPolicy') return '-'
  const changed = rules.filter(({ effect }) => effect !== 'as-written')
  if (rules.length === 0) return 'none'
  if (changed.length === 0) return 'as written'
  return changed
    .map(({ rule, effect }) => `${rule} ${effect === 'nothing' ? 'matches nothing' : effect}`)
    .join(', ')
}
