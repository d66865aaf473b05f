/** `ambient hbone serve`: accepts HBONE and dials what the tunnels ask for. */
import { setMaxListeners } from 'node:events'
import type { Socket } from 'node:net'
import { type Channel, type Logger, messageOf, pump, readHostPort } from '@ambient/core'
import { dial, type Listener, listen, socketChannel } from '@ambient/core/node'
import { createHboneServer, type TunnelRequest } from '@ambient/hbone'
import { createPlaintextServer, type PlaintextRequest } from '@ambient/hbone/conformance'
import { type Command, InvalidArgumentError } from 'commander'
import { addCommand, type CommandContext } from '../command-line.ts'
import { CliError } from '../errors.ts'
import { type CliHost, EXIT_OK } from '../host.ts'
import { addCommonOptions, isOfThisMachine, listenPlace, type Place, placeText } from './common-options.ts'
import { echo } from './echo.ts'
import {
  addOwnOptions,
  followTrust,
  openOwnCredentials,
  type OwnCredentials,
  type OwnOptions,
} from './own-credentials.ts'
import { stderrLogger } from './stderr-logger.ts'
import { type AllowTarget, collectTarget } from './targets.ts'
import { untilInterrupted } from './until-interrupted.ts'

const EXAMPLES = `
Examples:
  $ ambient hbone serve --listen 127.0.0.1:15008 --allow-target 127.0.0.1:5432 \\
      --cert tls.crt --key tls.key --ca ca.crt
  $ ambient hbone serve --listen 0.0.0.0:15008 --allow-target 10.0.0.0/8:8080 --allow-target db.local:5432 …
  $ ambient hbone serve --listen 127.0.0.1:15008 --allow-target '*' --crl ca/crl.pem --cert … --key … --ca …
  $ ambient hbone serve --listen 127.0.0.1:0 --plaintext --echo      for tools such as h2spec

A target that is not allowed is answered 401 and not dialled; one that does
not answer, 503. The file of --crl is followed: who is on a new list is cut.
Prints "listening HOST:PORT" when ready; SIGTERM drains.
`

interface ServeOptions extends OwnOptions {
  readonly listen: Place
  readonly allowTarget?: readonly AllowTarget[]
  readonly echo: boolean
  readonly plaintext: boolean
  readonly maxFrame?: number
}

interface Surroundings {
  readonly logger: Logger
  /** Cuts every tunnel. */
  readonly signal: AbortSignal
}

/** What both kinds of server have in common. */
interface Serving {
  accept(socket: Socket): void
  close(options?: { readonly graceMs?: number }): Promise<void>
}

export function registerServe(hbone: Command, context: CommandContext): void {
  const command = addCommand(hbone, 'serve', 'accept tunnels, and connect them to their targets', context)
  addOwnOptions(addCommonOptions(command))
    .requiredOption('--listen <host:port>', 'where to accept HBONE; port 0 is any free one', listenPlace)
    .option('--allow-target <target>', "HOST:PORT, CIDR:PORT or '*' (repeat; default: none)", collectTarget)
    .option('--echo', 'answer each tunnel with its own bytes, and dial nothing', false)
    .option('--plaintext', 'HTTP/2 without TLS and without identities, on a loopback address', false)
    .option('--max-frame <bytes>', 'largest frame that is accepted (default: 1048576)', frameBytes)
    .addHelpText('after', EXAMPLES)
    .action(async (options: ServeOptions) => context.finish(await serve(options, context.host)))
}

async function serve(options: ServeOptions, host: CliHost): Promise<number> {
  host.carriesConnections?.()
  const logger = stderrLogger(host, options.verbose === true)
  const own = options.plaintext ? undefined : await openOwnCredentials(options, logger)
  try {
    await serveAs(own, options, host, logger)
  } finally {
    await own?.close()
  }
  return EXIT_OK
}

async function serveAs(
  own: OwnCredentials | undefined,
  options: ServeOptions,
  host: CliHost,
  logger: Logger,
): Promise<void> {
  const cut = new AbortController()
  // One listener for each open tunnel.
  setMaxListeners(0, cut.signal)
  const server = createServer(own, options, { logger, signal: cut.signal })
  let listener: Listener
  try {
    listener = await listen({ ...options.listen, onConnection: socket => server.accept(socket) })
  } catch (error) {
    await server.close({ graceMs: 0 })
    throw error
  }
  host.stdout(`listening ${placeText({ host: listener.address, port: listener.port })}\n`)
  for (const warning of warningsOf(options)) logger.warn({}, warning)
  await untilInterrupted(host, {
    drain: () => Promise.all([listener.close(), server.close()]),
    cut: () => cut.abort(new CliError('AMBIENT_E_CLI_CONNECT', 'interrupted')),
  })
}

/** What was asked for and does nothing. */
function warningsOf(options: ServeOptions): readonly string[] {
  const { allowTarget, echo, plaintext, cert, key, ca, peer, trustDomain, workloadApi, crl } = options
  const domain = { 'trust-domain': trustDomain, 'workload-api': workloadApi, crl }
  const proofs = Object.entries({ cert, key, ca, peer, ...domain })
  const unused = proofs.filter(([, value]) => value !== undefined).map(([name]) => `--${name}`)
  return [
    ...(echo || allowTarget !== undefined
      ? []
      : ['every tunnel is refused: no --allow-target and no --echo was given']),
    ...(echo && allowTarget !== undefined ? ['--allow-target does nothing: --echo dials no target'] : []),
    ...(plaintext && unused.length > 0
      ? [`without effect: ${unused.join(', ')}: --plaintext proves nobody`]
      : []),
  ]
}

/** Without credentials, one without TLS. */
function createServer(own: OwnCredentials | undefined, options: ServeOptions, around: Surroundings): Serving {
  const { logger } = around
  const limits = options.maxFrame === undefined ? {} : { maxFrameBytes: options.maxFrame }
  if (own === undefined) {
    if (!isOfThisMachine(options.listen))
      throw new CliError(
        'AMBIENT_E_CLI_USAGE',
        `--plaintext proves nobody, so it listens on loopback only, not on ${placeText(options.listen)}`,
      )
    return createPlaintextServer({
      limits,
      logger,
      onTunnel: request => answer(options, around, request, 'anonymous'),
    })
  }
  let isRechecking = false
  const server = createHboneServer({
    limits,
    logger,
    credentials: () => own.current(),
    onTunnel: request => answer(options, around, request, request.peer.id.uri),
    onFailure: ({ source, error }) =>
      logger.warn(
        {
          peer: placeText({ host: source.address, port: source.port }),
          code: error.code,
          error: error.message,
        },
        isRechecking ? 'a session was ended' : 'a connection carried no tunnel',
      ),
    onRefused: ({ peer, authority, status, reason }) =>
      logger.warn({ peer: peer.id.uri, authority, status, reason }, 'tunnel refused'),
  })
  followTrust(
    own,
    {
      recheck() {
        isRechecking = true
        const ended = server.recheck()
        isRechecking = false
        return ended
      },
    },
    logger,
  )
  return server
}

/** Policy first: nothing is dialled for a target that is not allowed. */
async function answer(
  options: ServeOptions,
  { logger, signal }: Surroundings,
  request: PlaintextRequest | TunnelRequest,
  peer: string,
): Promise<void> {
  const { authority } = request
  if (options.echo) {
    logger.info({ peer, authority }, 'tunnel echoed')
    return echo(request.accept(), signal)
  }
  const refuse = (status: number, reason: string): void => {
    logger.warn({ peer, authority, status, reason }, 'tunnel refused')
    request.refuse(status)
  }
  const target = readHostPort(authority)
  if (!target.ok) return refuse(400, target.reason)
  const { value } = target
  if (options.allowTarget?.some(allows => allows(value)) !== true)
    return refuse(401, `--allow-target ${authority} was not given`)
  let app: Channel
  try {
    app = socketChannel(await dial({ host: value.host, port: value.port, signal: request.signal }))
  } catch (error) {
    return refuse(503, messageOf(error))
  }
  // Nobody waits for the end: thousands of tunnels would wait with it.
  void pump(request.accept(), app, { signal }).then(({ ending, aToB, bToA }) =>
    logger.info({ peer, authority, received: aToB, sent: bToA, ending: ending.kind }, 'tunnel ended'),
  )
}

function frameBytes(value: string): number {
  const bytes = /^[0-9]{1,8}$/.test(value) ? Number(value) : 0
  if (bytes < 16_384 || bytes > 16_777_215)
    throw new InvalidArgumentError('expected a whole number from 16384 to 16777215.')
  return bytes
}
