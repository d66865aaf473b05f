/** `ambient status`: the proxies of the running mesh, what they have acknowledged, and their certificates. */
import { join } from 'node:path'
import { systemClock } from '@ambient/core'
import { formatProblem } from '@ambient/policy'
import type { Command } from 'commander'
import { addCommand, type CommandContext, meshOption, outputOption } from './command-line.ts'
import { CliError } from './errors.ts'
import { type CliHost, EXIT_OK } from './host.ts'
import { type OutputFormat, render } from './output.ts'
import type { MeshStatus, ProxyStatus } from '@ambient/mesh'
import { shownFolder, withMesh } from './session/target.ts'
import { formatAge, formatTable } from './table.ts'

const EXAMPLES = `
Examples:
  $ ambient status                                every proxy
  $ ambient status ztunnel-node-a                 one, with its certificates
  $ ambient status waypoint                       the waypoint of that Gateway
  $ ambient status -o json | jq '.proxies[].types'

CONFIGURATION is SYNCED when the proxy has acknowledged all that was sent; else
it names each type with STALE, NACK or NOT SENT.
`

const CERTIFICATE_HEAD = ['CERTIFICATE', 'STATUS', 'SERIAL NUMBER', 'NOT AFTER', 'NOT BEFORE']

interface StatusOptions {
  readonly mesh?: string
  readonly output: OutputFormat
}

export function registerStatus(program: Command, context: CommandContext): void {
  addCommand(program, 'status', 'say what the proxies of the running mesh have acknowledged', context)
    .argument('[proxy]', 'its name, with or without its namespace, or the beginning of it')
    .addOption(meshOption())
    .addOption(outputOption())
    .addHelpText('after', EXAMPLES)
    .action(async (proxy: string | undefined, options: StatusOptions) =>
      context.finish(await status(proxy, options, context.host)),
    )
}

async function status(name: string | undefined, options: StatusOptions, host: CliHost): Promise<number> {
  const facts = await withMesh(options.mesh, mesh => mesh.status())
  if (name === undefined) {
    host.stdout(render(options.output, facts, () => proxyTable(facts.proxies)))
    tellProblems(facts, host)
    return EXIT_OK
  }
  const proxy = findProxy(facts.proxies, name)
  host.stdout(render(options.output, proxy, () => proxyDetails(proxy)))
  return EXIT_OK
}

function findProxy(proxies: readonly ProxyStatus[], name: string): ProxyStatus {
  const found = proxies.find(proxy => proxy.name === name || proxy.name.split('.')[0] === name)
  if (found !== undefined) return found
  // As istioctl: the beginning of a name is enough where it fits one only, so a waypoint answers to its Gateway's name.
  const [first, ...others] = proxies.filter(proxy => proxy.name.startsWith(`${name}-`))
  if (first !== undefined && others.length === 0) return first
  const known = proxies.map(proxy => proxy.name).join(', ')
  throw new CliError('AMBIENT_E_CLI_NOT_FOUND', `there is no proxy ${name}; there are: ${known}`)
}

function proxyTable(proxies: readonly ProxyStatus[]): string {
  const rows = proxies.map(proxy => [
    proxy.name,
    proxy.node,
    proxy.kind,
    proxy.ready ? 'Ready' : proxy.pid === undefined ? 'Down' : 'Not ready',
    configurationOf(proxy),
    String(proxy.restarts),
    ageOf(proxy.startedAt),
  ])
  return formatTable([['NAME', 'NODE', 'TYPE', 'STATE', 'CONFIGURATION', 'RESTARTS', 'AGE'], ...rows])
}

function configurationOf({ types }: ProxyStatus): string {
  const others = types.filter(({ state }) => state !== 'SYNCED')
  if (types.length > 0 && others.length === 0) return 'SYNCED'
  return others.length === 0
    ? 'NOT SENT'
    : others.map(({ type, state }) => `${shortType(type)} ${state}`).join(', ')
}

function proxyDetails(proxy: ProxyStatus): string {
  const nacked = proxy.types.some(({ nack }) => nack !== undefined)
  const types = proxy.types.map(({ type, state, version, nack }) => [
    shortType(type),
    state,
    version,
    ...(nacked ? [nack ?? ''] : []),
  ])
  const certificates = proxy.certificates.map(({ identity, state, serial, notBefore, notAfter }) => [
    identity,
    state,
    serial ?? '-',
    timeOf(notAfter),
    timeOf(notBefore),
  ])
  const parts = [
    proxyTable([proxy]),
    formatTable([['TYPE', 'STATE', 'VERSION', ...(nacked ? ['LAST NACK'] : [])], ...types]),
  ]
  if (certificates.length > 0) parts.push(formatTable([CERTIFICATE_HEAD, ...certificates]))
  return parts.join('\n')
}

function tellProblems({ folder, problems }: MeshStatus, host: CliHost): void {
  for (const problem of problems)
    host.stderr(`${formatProblem({ ...problem, file: join(shownFolder(folder), problem.file) })}\n`)
  if (problems.some(({ severity }) => severity === 'error'))
    host.stderr('the mesh goes on with the last good configuration\n')
}

/** `istio.workload.Address` of `type.googleapis.com/istio.workload.Address`; Kinds without their group. */
function shortType(type: string): string {
  return type.split(/[./]/).at(-1) ?? type
}

function timeOf(epochMs: number | undefined): string {
  return epochMs === undefined ? '-' : new Date(epochMs).toISOString().replace(/\.\d+Z$/, 'Z')
}

function ageOf(startedAt: number | undefined): string {
  return startedAt === undefined ? '-' : formatAge(systemClock.now() - startedAt)
}
