/** A command run as a pod: with its environment, hence its address and its identity. What `kubectl exec` does. */
import type { Readable, Writable } from 'node:stream'
import { text } from 'node:stream/consumers'
import type { Reaper } from './reaper.ts'
import { signalGroup, spawnGroup } from './spawn-group.ts'

export interface ExecOptions {
  /** Container whose environment is taken; default: the first. */
  readonly container?: string
  /** Written to standard input, which is then closed. Without it and without `interactive` the input is empty. */
  readonly stdin?: string | Uint8Array
  /** Leave standard input open for the caller. */
  readonly interactive?: boolean
  /** On top of the container's. */
  readonly env?: Readonly<Record<string, string>>
  /** Default: the manifests' folder. */
  readonly cwd?: string
  /** Kills the command. */
  readonly signal?: AbortSignal
}

export interface ExecResult {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

/** A running command. Read its output yourself, or ask for the result, not both. */
export interface Execution {
  readonly pid: number
  readonly stdin: Writable | undefined
  readonly stdout: Readable
  readonly stderr: Readable
  readonly exited: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>
  /** Collects output until the end. */
  result(): Promise<ExecResult>
  kill(signal?: NodeJS.Signals): void
}

export interface ExecSpec {
  readonly argv: readonly string[]
  readonly cwd: string
  readonly env: Readonly<Record<string, string>>
  readonly reaper: Reaper
}

/** @throws MeshError `AMBIENT_E_MESH_SPAWN` */
export async function execute(spec: ExecSpec, options: ExecOptions): Promise<Execution> {
  options.signal?.throwIfAborted()
  const wantsInput = options.stdin !== undefined || options.interactive === true
  const child = await spawnGroup({
    argv: spec.argv,
    cwd: options.cwd ?? spec.cwd,
    env: { ...spec.env, ...options.env },
    stdin: wantsInput ? 'pipe' : 'ignore',
  })
  const { pid, stdout, stderr, stdin } = child
  if (pid === undefined || stdout === null || stderr === null) throw new TypeError('the child has no pipes')
  spec.reaper.add(pid)
  const kill = (signal: NodeJS.Signals = 'SIGTERM'): void => void signalGroup(pid, signal)
  const onAbort = (): void => kill('SIGKILL')
  options.signal?.addEventListener('abort', onAbort)
  const exited = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>(resolve => {
    child.once('exit', (code, signal) => {
      spec.reaper.remove(pid)
      options.signal?.removeEventListener('abort', onAbort)
      resolve({ code, signal })
    })
  })
  stdin?.on('error', () => {})
  if (options.stdin !== undefined) stdin?.end(options.stdin)
  return {
    pid,
    stdin: stdin ?? undefined,
    stdout,
    stderr,
    exited,
    kill,
    async result() {
      const [out, err, end] = await Promise.all([text(stdout), text(stderr), exited])
      return { ...end, stdout: out, stderr: err }
    },
  }
}
