/** Which folder a command means, and the mesh that runs from it. */
import { realpath } from 'node:fs/promises'
import { relative, resolve } from 'node:path'
import { CliError } from '../errors.ts'
import { connectMesh, findMeshes, type MeshClient } from '@ambient/mesh'

export interface Target {
  /** As to show it. */
  readonly folder: string
  /** A mesh runs from it. */
  readonly running: boolean
}

/**
 * The folder that was named, whether or not a mesh runs from it; else that of the only mesh that runs.
 * @throws CliError `AMBIENT_E_CLI_NO_MESH`
 */
export async function findTarget(named: string | undefined): Promise<Target> {
  const running = await findMeshes()
  if (named !== undefined) {
    const folder = await canonical(named)
    const folders = await Promise.all(running.map(mesh => canonical(mesh.folder)))
    return { folder: named, running: folders.includes(folder) }
  }
  const [only, ...others] = running
  if (only === undefined)
    throw new CliError(
      'AMBIENT_E_CLI_NO_MESH',
      'no mesh is running; name the folder of manifests with --mesh',
    )
  if (others.length === 0) return { folder: shownFolder(only.folder), running: true }
  const list = running.map(({ folder, pid }) => `${folder} (pid ${pid})`).join(', ')
  throw new CliError('AMBIENT_E_CLI_NO_MESH', `several meshes are running; name one with --mesh: ${list}`)
}

/**
 * Runs with a connection to the running mesh and closes it.
 * @throws CliError `AMBIENT_E_CLI_NO_MESH`
 */
export async function withMesh<Result>(
  named: string | undefined,
  use: (mesh: MeshClient) => Promise<Result>,
): Promise<Result> {
  const target = await findTarget(named)
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

async function canonical(folder: string): Promise<string> {
  return realpath(folder).catch(() => resolve(folder))
}

/** A folder as a person here would write it: relative when it is below. */
export function shownFolder(folder: string): string {
  const near = relative('.', folder)
  return near !== '' && !near.startsWith('..') ? near : folder
}
