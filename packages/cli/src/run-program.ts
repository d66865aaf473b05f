/** `ambient run`: a program of this machine as a workload of the running mesh. */
import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import { messageOf } from '@ambient/core'
import { type Command, InvalidArgumentError } from 'commander'
import {
  type Account,
  account,
  addCommand,
  type CommandContext,
  dnsLabel,
  meshOption,
} from './command-line.ts'
import { CliError } from './errors.ts'
import { labelChange } from './label.ts'
import type { CliHost } from './host.ts'
import type { JoinedWorkload } from '@ambient/mesh'
import { joinAs } from './session/join-as.ts'
import { withMesh } from './session/target.ts'

const EXAMPLES = `
Examples:
  $ ambient run --as bookinfo/bookinfo-productpage -- npm start
  $ ambient run --as bookinfo/default -- curl -s http://reviews:9080/reviews/1
  $ ambient run --as shop/web --label app=web --port 8080 -- node server.mjs

The program runs here, with your environment and terminal; what it connects to
goes through the mesh as that account. Its exit code is passed on. That holds
for Node.js programs, and for those that read ALL_PROXY, as curl does (its 97
means that the mesh refused, or does not know the name); others go past it.
`

interface RunOptions {
  readonly as: Account
  readonly name?: string
  readonly port?: readonly number[]
  readonly label?: Readonly<Record<string, string>>
  readonly mesh?: string
}

/** As a shell has it. */
const EXIT_NOT_FOUND = 127
const EXIT_NOT_EXECUTABLE = 126
const EXIT_BY_SIGNAL = 128

export function registerRun(program: Command, context: CommandContext): void {
  addCommand(program, 'run', 'run a program of this machine as a workload of the running mesh', context)
    .argument('<command...>', 'the program and its arguments, after --')
    .requiredOption('--as <namespace/account>', 'the service account that it runs as', account)
    .option('--name <name>', 'of the workload (default: a new one)', dnsLabel)
    .option('--port <number>', 'a port that it serves on the address in POD_IP (repeat)', collectPort)
    .option('--label <key=value>', 'a label, so that a Service can select it (repeat)', collectLabel)
    .addOption(meshOption())
    .passThroughOptions()
    .addHelpText('after', EXAMPLES)
    .action(async (argv: readonly string[], options: RunOptions) =>
      context.finish(await runProgram(argv, options, context.host)),
    )
}

async function runProgram(argv: readonly string[], options: RunOptions, host: CliHost): Promise<number> {
  return withMesh(options.mesh, async mesh => {
    const workload = await joinAs(mesh, {
      ...options.as,
      ...(options.name === undefined ? {} : { name: options.name }),
      ...(options.port === undefined ? {} : { ports: options.port }),
      ...(options.label === undefined ? {} : { labels: options.label }),
    })
    try {
      if (!workload.enrolled)
        host.stderr(`note: namespace ${workload.namespace} is not in the mesh: plaintext\n`)
      return await run(argv, workload, host)
    } finally {
      await workload.leave()
    }
  })
}

/** Until it ends; signals that we get are its. */
function run(argv: readonly string[], workload: JoinedWorkload, host: CliHost): Promise<number> {
  const [command = '', ...args] = argv
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: 'inherit', env: environmentOf(workload, host) })
    const unsubscribe = host.onInterrupt(signal => {
      // At a terminal the child has had its Ctrl-C already.
      if (!(host.interactive && signal === 'SIGINT')) child.kill(signal)
    })
    child.on('error', error => {
      unsubscribe()
      const code = 'code' in error ? error.code : undefined
      if (code !== 'ENOENT' && code !== 'EACCES')
        return reject(
          new CliError('AMBIENT_E_CLI_SPAWN', `${command}: ${messageOf(error)}`, { cause: error }),
        )
      host.stderr(
        `error: ${command}: ${code === 'ENOENT' ? 'not found' : 'may not be run'} [AMBIENT_E_CLI_SPAWN]\n`,
      )
      resolve(code === 'ENOENT' ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE)
    })
    child.on('exit', (code, signal) => {
      unsubscribe()
      resolve(code ?? EXIT_BY_SIGNAL + (signal === null ? 0 : constants.signals[signal]))
    })
  })
}

/** The caller's own, and on top what takes the program into the mesh. */
function environmentOf(workload: JoinedWorkload, host: CliHost): Record<string, string | undefined> {
  const own = host.environment
  const options = [own['NODE_OPTIONS'], workload.environment['NODE_OPTIONS']]
  return {
    ...own,
    ...workload.environment,
    // Programs are found where the caller finds them.
    PATH: own['PATH'],
    NODE_OPTIONS: options.filter(Boolean).join(' '),
  }
}

function collectPort(value: string, previous: readonly number[] | undefined): readonly number[] {
  const port = /^[0-9]{1,5}$/.test(value) ? Number(value) : 0
  if (port < 1 || port > 65_535) throw new InvalidArgumentError('expected a port from 1 to 65535.')
  return [...(previous ?? []), port]
}

function collectLabel(
  text: string,
  previous: Readonly<Record<string, string>> | undefined,
): Readonly<Record<string, string>> {
  const { key, value } = labelChange(text)
  if (value === undefined) throw new InvalidArgumentError('expected KEY=VALUE.')
  return { ...previous, [key]: value }
}
