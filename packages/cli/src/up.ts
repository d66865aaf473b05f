/** `ambient up`: the mesh of a folder, until somebody ends it. */
import { createMesh, type Mesh, MeshError } from '@ambient/mesh'
import { describeFailure } from './failure.ts'
import { type CliHost, EXIT_FAILED, EXIT_OK } from './host.ts'
import { eventPrinter, meshTable } from './print-events.ts'

export interface UpOptions {
  readonly node?: readonly string[]
  readonly without?: readonly string[]
  readonly watch: boolean
  readonly block?: number
  readonly logLevel: string
  readonly logs: boolean
  readonly output: 'table' | 'json'
}

/** What programs usually need of the caller's environment. Secrets of the caller stay with the caller. */
const PASSED_ON = ['PATH', 'HOME', 'LANG', 'LC_ALL', 'TZ', 'TMPDIR', 'NODE_OPTIONS', 'NODE_EXTRA_CA_CERTS']
const END_OF_LIFE_MAJOR = 20

export async function up(folder: string, options: UpOptions, host: CliHost): Promise<number> {
  const environment = Object.fromEntries(PASSED_ON.map(name => [name, host.environment[name]]))
  const mesh = createMesh({
    manifests: folder,
    watch: options.watch,
    logLevel: options.logLevel,
    environment,
    onEvent: eventPrinter({ format: options.output, logs: options.logs, folder }, host),
    ...(options.node === undefined ? {} : { nodes: options.node }),
    ...(options.without === undefined ? {} : { exclude: options.without }),
    ...(options.block === undefined ? {} : { block: options.block }),
  })
  warnOfOldNode(host)
  const interrupted = new Promise<void>(resolve => {
    host.onInterrupt(resolve)
  })
  const started = mesh.start().then(
    () => undefined,
    (error: unknown) => ({ error }),
  )
  const failure = await Promise.race([started, interrupted.then(() => undefined)])
  if (failure !== undefined) {
    // The manifests' problems were printed one by one.
    if (!isManifestError(failure.error)) host.stderr(`${describeFailure(failure.error)}\n`)
    return EXIT_FAILED
  }
  if (await isPending(interrupted)) showReady(mesh, options, host)
  await interrupted
  host.stderr('stopping every process of the mesh\n')
  await mesh.close()
  await started
  host.stderr('stopped: no process and no file is left\n')
  return EXIT_OK
}

function showReady(mesh: Mesh, options: UpOptions, host: CliHost): void {
  if (options.output === 'table') host.stdout(`\n${meshTable(mesh)}\n`)
  else host.stdout(`${JSON.stringify({ kind: 'ready', pods: mesh.pods, nodes: mesh.nodes })}\n`)
  const follows = options.watch ? ' The folder is watched: edit it.' : ''
  host.stderr(`the mesh is up on ${mesh.cidr}.${follows} Ctrl-C ends it.\n`)
}

function warnOfOldNode(host: CliHost): void {
  if (Number.parseInt(host.nodeVersion, 10) <= END_OF_LIFE_MAJOR)
    host.stderr(`Node.js ${host.nodeVersion} is past its end of life; it still works here, 24 is better\n`)
}

function isManifestError(error: unknown): boolean {
  return error instanceof MeshError && error.code === 'AMBIENT_E_MESH_MANIFESTS'
}

async function isPending(promise: Promise<void>): Promise<boolean> {
  const pending = Symbol('pending')
  return (await Promise.race([promise, Promise.resolve(pending)])) === pending
}
