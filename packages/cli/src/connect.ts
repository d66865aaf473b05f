/** `ambient connect`: standard input and output through the mesh, as an identity. */
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { messageOf, readHostPort } from '@ambient/core'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { type Account, account, addCommand, type CommandContext, meshOption } from './command-line.ts'
import { CliError } from './errors.ts'
import { type CliHost, EXIT_INTERRUPTED, EXIT_OK } from './host.ts'
import { joinAs } from './session/join-as.ts'
import { withMesh } from './session/target.ts'

const EXAMPLES = `
Examples:
  $ ambient connect --as bookinfo/bookinfo-loadgen db.bookinfo:3306
  $ printf 'GET / HTTP/1.0\\r\\n\\r\\n' | ambient connect --as shop/web server.shop:80

When standard input ends, so does our direction; the command ends with the
other one. Cut connections and refused ones are an error and exit code 1.
`

interface Target {
  readonly host: string
  readonly port: number
}

interface ConnectOptions {
  readonly as: Account
  readonly mesh?: string
}

const DEFAULT_ACCOUNT: Account = { namespace: 'default', serviceAccount: 'default' }

export function registerConnect(program: Command, context: CommandContext): void {
  addCommand(program, 'connect', 'connect standard input and output to a service of the mesh', context)
    .argument('<host:port>', 'a Service (NAME, NAME.NAMESPACE, …) or an address', target)
    .addOption(
      new Option('--as <namespace/account>', 'the service account to connect as')
        .argParser(account)
        .default(DEFAULT_ACCOUNT, 'default/default'),
    )
    .addOption(meshOption())
    .addHelpText('after', EXAMPLES)
    .action(async (to: Target, options: ConnectOptions) =>
      context.finish(await connect(to, options, context.host)),
    )
}

async function connect(
  { host: name, port }: Target,
  options: ConnectOptions,
  host: CliHost,
): Promise<number> {
  return withMesh(options.mesh, async mesh => {
    const workload = await joinAs(mesh, options.as)
    try {
      if (!workload.enrolled)
        host.stderr(`note: namespace ${workload.namespace} is not in the mesh: plaintext\n`)
      const socket = await workload.connect(name, port).catch(explain)
      return await exchange(socket, host, `${name}:${port}`)
    } finally {
      host.input.destroy()
      await workload.leave()
    }
  })
}

/** The reason stays with those who run the mesh: a caller that is refused learns no more than that. */
function explain(cause: unknown): never {
  const message = messageOf(cause)
  if (!message.endsWith(': not allowed')) throw cause
  throw new CliError(
    'AMBIENT_E_CLI_CONNECT',
    `${message}; the output of \`ambient up\` says by which policy`,
    {
      cause,
      layer: 'policy',
    },
  )
}

/** Both directions, until the peer ends its own or somebody interrupts; the two are told apart by the exit code. */
async function exchange(socket: Socket, host: CliHost, peer: string): Promise<number> {
  const stopped = new AbortController()
  const unsubscribe = host.onInterrupt(() => stopped.abort())
  host.input.pipe(socket)
  socket.pipe(host.output, { end: false })
  try {
    await once(socket, 'end', { signal: stopped.signal })
    return EXIT_OK
  } catch (cause) {
    if (stopped.signal.aborted) return EXIT_INTERRUPTED
    const isReset = cause instanceof Error && 'code' in cause && cause.code === 'ECONNRESET'
    const reason = isReset ? 'the connection was reset' : messageOf(cause)
    throw new CliError('AMBIENT_E_CLI_CONNECT', `${peer}: ${reason}`, { cause, layer: 'tcp' })
  } finally {
    unsubscribe()
    host.input.unpipe(socket)
    socket.destroy()
  }
}

function target(value: string): Target {
  const read = readHostPort(value)
  if (read.ok) return read.value
  throw new InvalidArgumentError(`expected HOST:PORT: ${read.reason}.`)
}
