/** Which folder a command means, and the mesh that runs from it. */
import { realpath } from 'node:fs/promises'
import { relative, resolve } from 'node:path'
import { CliError } from '../errors.ts'
import { connectMesh, findMeshes, type MeshClient, type RunningMesh } from '@ambient/mesh'

export interface Target {
  /** As to show it. */
  readonly folder: string
  /** A mesh runs from it. */
  readonly running: boolean
}

/** For commands that do something with the folder alone, too. */
const NAME_IT = 'name the folder of manifests with --mesh'

/**
 * The folder that was named, whether or not a mesh runs from it; else that of the only mesh that runs.
 * @param cure what helps when none runs and none was named.
 * @throws CliError `AMBIENT_E_CLI_NO_MESH`
 */
export async function findTarget(named: string | undefined, cure = NAME_IT): Promise<Target> {
  const running = await findMeshes()
  if (named !== undefined) {
    const meshes = await meshesOf(named, running)
    if (meshes.length > 1) throw severalOf(named, meshes)
    return { folder: named, running: meshes.length === 1 }
  }
  const [only, ...others] = running
  if (only === undefined) throw new CliError('AMBIENT_E_CLI_NO_MESH', `no mesh is running; ${cure}`)
  if (others.length === 0) return { folder: shownFolder(only.folder), running: true }
  if (others.every(({ folder }) => folder === only.folder)) throw severalOf(shownFolder(only.folder), running)
  const list = running.map(({ folder, pid }) => `${folder} (pid ${pid})`).join(', ')
  throw new CliError('AMBIENT_E_CLI_NO_MESH', `several meshes are running; name one with --mesh: ${list}`)
}

/**
 * A second mesh of a folder could not be told from the first.
 * @throws CliError `AMBIENT_E_CLI_MESH_RUNS`
 */
export async function assertNoMesh(folder: string): Promise<void> {
  const [mesh] = await meshesOf(folder, await findMeshes())
  if (mesh === undefined) return
  throw new CliError('AMBIENT_E_CLI_MESH_RUNS', `a mesh of this folder already runs (pid ${mesh.pid})`)
}

/**
 * Runs with a connection to the running mesh and closes it.
 * @throws CliError `AMBIENT_E_CLI_NO_MESH`
 */
export async function withMesh<Result>(
  named: string | undefined,
  use: (mesh: MeshClient) => Promise<Result>,
): Promise<Result> {
  const target = await findTarget(named, '`ambient up FOLDER` starts one')
  if (!target.running) {
    const hint = `\`ambient up ${target.folder}\` starts one`
    throw new CliError('AMBIENT_E_CLI_NO_MESH', `no mesh is running from ${target.folder}; ${hint}`)
  }
  const mesh = await connectMesh({ folder: await canonical(target.folder) })
  try {
    return await use(mesh)
  } finally {
    await mesh.close()
  }
}

async function meshesOf(named: string, running: readonly RunningMesh[]): Promise<readonly RunningMesh[]> {
  const wanted = await canonical(named)
  const folders = await Promise.all(running.map(mesh => canonical(mesh.folder)))
  return running.filter((_mesh, index) => folders[index] === wanted)
}

/** Programs that embed a mesh may run several of one folder. */
function severalOf(folder: string, meshes: readonly RunningMesh[]): CliError {
  const pids = meshes.map(({ pid }) => `pid ${pid}`).join(', ')
  const message = `several meshes of ${folder} are running, and a folder names only one: ${pids}`
  return new CliError('AMBIENT_E_CLI_NO_MESH', message)
}

async function canonical(folder: string): Promise<string> {
  return realpath(folder).catch(() => resolve(folder))
}

/** A folder as a person here would write it: relative when it is below. */
export function shownFolder(folder: string): string {
  const near = relative('.', folder)
  return near !== '' && !near.startsWith('..') ? near : folder
}
