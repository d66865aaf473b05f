/** `ambient up`: the mesh of a folder, until somebody ends it. */
import { isAmbientError } from '@ambient/core'
import { createMesh, type Mesh, type MeshOptions } from '@ambient/mesh'
import { type Command, InvalidArgumentError, Option } from 'commander'
import {
  addCommand,
  blockNumber,
  collect,
  type CommandContext,
  dnsLabel,
  outputOption,
} from './command-line.ts'
import { CliError } from './errors.ts'
import { type CliHost, EXIT_FAILED, EXIT_OK } from './host.ts'
import { readFolder } from './manifests/folder.ts'
import { type OutputFormat, renderEvent } from './output.ts'
import { eventPrinter, meshTable } from './print-events.ts'
import { assertNoMesh } from './session/target.ts'

const EXAMPLES = `
Examples:
  $ ambient up examples/01-bookinfo/manifests
  $ ambient up manifests --node a --node b --node c
  $ ambient up manifests --without policy.yaml
  $ ambient up manifests --logs all                the proxies' access logs too
  $ ambient up manifests --require-waypoint        nobody goes around a waypoint
  $ OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 ambient up manifests
  $ ambient up manifests -o json | jq -r 'select(.kind == "problems")'

While it runs, edit the manifests: good ones are taken at once, bad ones are
reported as file:line:column and the last good configuration goes on.
`

interface UpOptions {
  readonly node?: readonly string[]
  readonly without?: readonly string[]
  readonly watch: boolean
  readonly requireWaypoint: boolean
  readonly block?: number
  readonly logLevel: string
  readonly logs: 'programs' | 'all' | 'none' | false
  readonly output: OutputFormat
}

/** What programs usually need of the caller's environment. Secrets of the caller stay with the caller. */
const PASSED_ON = ['PATH', 'HOME', 'LANG', 'LC_ALL', 'TZ', 'TMPDIR', 'NODE_OPTIONS', 'NODE_EXTRA_CA_CERTS']
const END_OF_LIFE_MAJOR = 20

export function registerUp(program: Command, context: CommandContext): void {
  addCommand(program, 'up', 'run a folder of manifests as a mesh, and follow its changes', context)
    .argument('<folder>', 'folder of YAML or JSON manifests; programs start in it')
    .option(
      '--node <name>',
      'a node, each with a ztunnel of its own (repeat; default node-a, node-b)',
      collectNode,
    )
    .option('--without <file>', 'a manifest to leave out (repeat)', collect)
    .option('--no-watch', 'do not follow changes of the folder')
    .option('--require-waypoint', 'workloads behind a waypoint take connections from it alone', false)
    .option('--block <number>', 'use addresses 127.NUMBER.0.0/16 (default: a free block)', blockNumber)
    .option('--log-level <filter>', "the proxies' log filter, as their RUST_LOG", 'info')
    .addOption(
      new Option('--logs <which>', 'whose output to print: of programs, also of proxies (all), or none')
        .choices(['programs', 'all', 'none'])
        .default('programs'),
    )
    .option('--no-logs', 'the same as --logs none')
    .addOption(outputOption())
    .addHelpText('after', EXAMPLES)
    .action(async (folder: string, options: UpOptions) => {
      context.finish(await up(folder, options, context.host))
    })
}

async function up(folder: string, options: UpOptions, host: CliHost): Promise<number> {
  await assertManifests(folder, options.without ?? [])
  await assertNoMesh(folder)
  const environment = Object.fromEntries(PASSED_ON.map(name => [name, host.environment[name]]))
  const logs = options.logs === 'none' ? false : options.logs
  const mesh = createMesh({
    manifests: folder,
    watch: options.watch,
    requireWaypoint: options.requireWaypoint,
    telemetry: telemetryOf(host.environment),
    logLevel: options.logLevel,
    environment,
    onEvent: eventPrinter({ format: options.output, logs, folder }, host),
    ...(options.node === undefined ? {} : { nodes: options.node }),
    ...(options.without === undefined ? {} : { exclude: options.without }),
    ...(options.block === undefined ? {} : { block: options.block }),
  })
  warnOfOldNode(host)
  const interrupted = new Promise<void>(resolve => {
    host.onInterrupt(() => resolve())
  })
  const started = mesh.start().then(
    () => undefined,
    (error: unknown) => ({ error }),
  )
  const failure = await Promise.race([started, interrupted.then(() => undefined)])
  if (failure !== undefined) {
    // The manifests' problems were printed one by one.
    if (isManifestError(failure.error)) return EXIT_FAILED
    throw failure.error
  }
  if (await isPending(interrupted)) showReady(mesh, options, host)
  await interrupted
  host.stderr('stopping every process of the mesh\n')
  await mesh.close()
  await started
  host.stderr('stopped: no process and no file is left\n')
  return EXIT_OK
}

/**
 * Before anything starts: there is something to run, and what is to be left out is there.
 * @throws DiscoveryError `AMBIENT_E_MANIFESTS`; CliError `AMBIENT_E_CLI_USAGE`, `AMBIENT_E_CLI_NOT_FOUND`
 */
async function assertManifests(folder: string, without: readonly string[]): Promise<void> {
  const names = [...(await readFolder(folder)).files.keys()]
  if (names.length === 0) {
    const message = `there are no manifests (*.yaml, *.yml, *.json) in ${folder}`
    throw new CliError('AMBIENT_E_CLI_NOT_FOUND', message, { layer: 'config' })
  }
  const missing = without.find(name => !names.includes(name))
  if (missing === undefined) return
  const message = `--without ${missing}: there is no such manifest; there are: ${names.join(', ')}`
  throw new CliError('AMBIENT_E_CLI_USAGE', message, { layer: 'config' })
}

/** Where the waypoints send spans, as OpenTelemetry's variables have it. */
function telemetryOf(environment: CliHost['environment']): NonNullable<MeshOptions['telemetry']> {
  const endpoint = environment['OTEL_EXPORTER_OTLP_ENDPOINT']
  const ratio = environment['OTEL_TRACES_SAMPLER_ARG']
  return {
    ...(endpoint === undefined || endpoint === '' ? {} : { otlpEndpoint: endpoint }),
    ...(ratio === undefined || ratio === '' ? {} : { sampling: Number(ratio) }),
  }
}

function showReady(mesh: Mesh, options: UpOptions, host: CliHost): void {
  const { output } = options
  const { cidr, folder, pods, nodes, waypoints } = mesh
  const ready = { kind: 'ready', folder, cidr, block: Number(cidr.split('.')[1]), pods, nodes, waypoints }
  if (output === 'table') host.stdout(`\n${meshTable(mesh)}\n`)
  else host.stdout(renderEvent(output, ready))
  const follows = options.watch ? ' The folder is watched: edit it.' : ''
  host.stderr(`the mesh is up on ${mesh.cidr}.${follows} Ctrl-C ends it.\n`)
}

function warnOfOldNode(host: CliHost): void {
  if (Number.parseInt(host.nodeVersion, 10) <= END_OF_LIFE_MAJOR)
    host.stderr(`Node.js ${host.nodeVersion} is past its end of life; it still works here, 24 is better\n`)
}

function isManifestError(error: unknown): boolean {
  return isAmbientError(error) && error.code === 'AMBIENT_E_MESH_MANIFESTS'
}

function collectNode(value: string, previous: readonly string[] | undefined): readonly string[] {
  if (previous?.includes(value) === true) throw new InvalidArgumentError('nodes must have different names.')
  return collect(dnsLabel(value), previous)
}

async function isPending(promise: Promise<void>): Promise<boolean> {
  const pending = Symbol('pending')
  return (await Promise.race([promise, Promise.resolve(pending)])) === pending
}
