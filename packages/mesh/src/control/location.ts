/**
 * Where the control sockets of this user's meshes are: a folder of mode 0700 that belongs to the user, one socket of mode
 * 0600 for each mesh, named after the process.
 */
import { chmod, lstat, mkdir, readdir, rm, rmdir } from 'node:fs/promises'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { MeshError } from '../errors.ts'

const SUFFIX = '.sock'

export function controlFolder(): string {
  return join(tmpdir(), `ambient-${userInfo().uid}`)
}

/** Makes the folder where it is missing. One that somebody else made, or may read, is refused. */
export async function ensureControlFolder(): Promise<string> {
  const folder = controlFolder()
  await mkdir(folder, { mode: 0o700 }).catch(error => {
    if (codeOf(error) !== 'EEXIST') throw error
  })
  const problem = await folderProblem(folder)
  if (problem !== undefined) throw new MeshError('AMBIENT_E_MESH_CONTROL', problem)
  await chmod(folder, 0o700)
  return folder
}

/** Removes a socket, and the folder with the last one. */
export async function removeControlSocket(socketPath: string): Promise<void> {
  await rm(socketPath, { force: true })
  // Refused while another mesh has a socket there, which is as it should be.
  await rmdir(controlFolder()).catch(() => {})
}

/** Of every mesh that left one, also of those that died without removing it. */
export async function controlSockets(): Promise<readonly string[]> {
  const folder = controlFolder()
  if ((await folderProblem(folder)) !== undefined) return []
  const names = await readdir(folder).catch(() => [])
  return names.filter(name => name.endsWith(SUFFIX)).map(name => join(folder, name))
}

/** Several meshes of one process differ by their block. */
export function controlSocket(folder: string, pid: number, block: number): string {
  return join(folder, `${pid}-${block}${SUFFIX}`)
}

async function folderProblem(folder: string): Promise<string | undefined> {
  try {
    const stat = await lstat(folder)
    if (!stat.isDirectory()) return `${folder} is no folder`
    // Where the system has no users, there is nobody to be kept out.
    if (process.getuid !== undefined && stat.uid !== process.getuid())
      return `${folder} belongs to another user`
    return undefined
  } catch (error) {
    return codeOf(error) === 'ENOENT' ? `${folder} is missing` : `${folder} cannot be read`
  }
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined
}
