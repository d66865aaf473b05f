/**
 * Programs in process groups of their own: a Ctrl-C in the terminal reaches only us, and a signal from us reaches
 * whatever the program has started in turn.
 */
import { type ChildProcess, spawn, type StdioOptions } from 'node:child_process'
import { messageOf } from '@ambient/core'
import { MeshError } from '../errors.ts'

export interface GroupOptions {
  /** Program and arguments. */
  readonly argv: readonly string[]
  readonly cwd: string
  readonly env: Readonly<Record<string, string>>
  readonly stdin: 'pipe' | 'ignore'
  /** Opens Node's channel to the child, for messages and sockets. */
  readonly ipc?: boolean
}

/** @throws MeshError `AMBIENT_E_MESH_SPAWN` when the program cannot be started (not found, not executable). */
export async function spawnGroup(options: GroupOptions): Promise<ChildProcess> {
  const [program = '', ...args] = options.argv
  const stdio: StdioOptions = [
    options.stdin,
    'pipe',
    'pipe',
    ...(options.ipc === true ? ['ipc' as const] : []),
  ]
  const child = spawn(program, args, { cwd: options.cwd, env: { ...options.env }, stdio, detached: true })
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve)
    child.once('error', cause =>
      reject(
        new MeshError('AMBIENT_E_MESH_SPAWN', `cannot start ${program}: ${messageOf(cause)}`, { cause }),
      ),
    )
  })
  // Later errors are of signals that could not be delivered: the process is gone.
  child.on('error', () => {})
  return child
}

/** Signals a whole group; one that has ended is not an error. */
export function signalGroup(pid: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(-pid, signal)
    return true
  } catch {
    return false
  }
}
