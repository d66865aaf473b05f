/** What the programs of all proxies do alike: read argv, run until a signal or a supervisor ends it, drain, exit with a code. */
import { readFileSync } from 'node:fs'
import { isAmbientError, messageOf } from '../errors.ts'
import { type Bind, followSupervisor } from '../node/index.ts'
import type { Environment } from './environment.ts'

/** A proxy as its program sees it. */
export interface RunnableProxy {
  start(): Promise<void>
  readonly ready: Promise<void>
  readonly closed: Promise<void>
  close(options?: { readonly graceMs?: number }): Promise<void>
}

export interface ProxyProgram {
  /** Of the command. */
  readonly name: string
  readonly help: string
  readonly version: () => string
  /** Throws where the environment is wrong. `bind` is there when a supervisor lends the listening sockets. */
  readonly create: (options: {
    readonly environment: Environment
    /** `undefined` for a file that is not there. */
    readonly read: (path: string) => string | undefined
    readonly write: (text: string) => void
    readonly bind?: Bind
  }) => RunnableProxy
}

/** Releases of this line get no security fixes any more. */
const LAST_UNSUPPORTED_MAJOR = 20

/** Runs the program of this process, and ends the process with its exit code. For entry files. */
export function runProxyProgram(program: ProxyProgram, host: NodeJS.Process): void {
  void main(program, host, host.argv[2]).then(
    code => host.exit(code),
    error => {
      host.stderr.write(
        `${program.name}: ${error instanceof Error ? (error.stack ?? error.message) : error}\n`,
      )
      host.exit(1)
    },
  )
}

async function main(
  program: ProxyProgram,
  host: NodeJS.Process,
  command: string | undefined,
): Promise<number> {
  switch (command) {
    case undefined:
    case 'proxy':
      return proxy(program, host)
    case 'version':
      host.stdout.write(`${program.name} ${program.version()} (node ${host.versions.node})\n`)
      return 0
    case 'help':
    case '--help':
    case '-h':
      host.stdout.write(program.help)
      return 0
    default:
      host.stderr.write(program.help)
      return 1
  }
}

async function proxy(program: ProxyProgram, host: NodeJS.Process): Promise<number> {
  const failed = (error: unknown): 1 => {
    host.stderr.write(`${program.name}: ${messageOf(error)}\n`)
    return 1
  }
  // Whoever reads the log may leave first.
  host.stdout.on('error', () => {})
  const supervisor = host.env['LISTEN_HANDLES'] === 'ipc' ? followSupervisor(host) : undefined
  let code = 0
  try {
    const running = program.create({
      environment: host.env,
      read: readIfPresent,
      write: text => void host.stdout.write(text),
      ...(supervisor === undefined ? {} : { bind: supervisor.bind }),
    })
    warnOfOldNode(program, host)
    supervisor?.onDrain(options => void running.close(options))
    closeOnSignals(running, host)
    running.ready.then(
      () => supervisor?.ready(),
      error => {
        if (!isAmbientError(error) || error.code !== 'AMBIENT_E_CLOSED') code = failed(error)
      },
    )
    await running.start()
    await running.closed
    return code
  } catch (error) {
    return failed(error)
  }
}

/** A second Ctrl-C does not wait. */
function closeOnSignals(running: RunnableProxy, host: NodeJS.Process): void {
  let interrupted = false
  host.on('SIGTERM', () => void running.close())
  host.on('SIGINT', () => {
    if (interrupted) host.exit(0)
    interrupted = true
    void running.close()
  })
}

function warnOfOldNode({ name }: ProxyProgram, host: NodeJS.Process): void {
  const { node } = host.versions
  if (Number(node.split('.')[0]) > LAST_UNSUPPORTED_MAJOR) return
  host.stderr.write(
    `${name}: Node ${node} is past its end of life and gets no security fixes; use 22, 24 or newer\n`,
  )
}

function readIfPresent(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}
