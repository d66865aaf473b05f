/** `ambient hbone forward`: local listeners, each carried to its target through one HBONE peer. */
import { setMaxListeners } from 'node:events'
import type { Socket } from 'node:net'
import { canonicalIp, isAmbientError, type LogFields, type Logger, messageOf, pump } from '@ambient/core'
import { type Listener, listen, resetSocket, socketChannel } from '@ambient/core/node'
import { createHbonePool, type OpenTunnel, type Tunnel } from '@ambient/hbone'
import { type Command, InvalidArgumentError } from 'commander'
import { addCommand, type CommandContext } from '../command-line.ts'
import { CliError } from '../errors.ts'
import { hintFor } from '../failure.ts'
import { type CliHost, EXIT_OK } from '../host.ts'
import { addCommonOptions, listenPlace, type Place, place, placeText } from './common-options.ts'
import {
  addOwnOptions,
  followTrust,
  openOwnCredentials,
  type OwnCredentials,
  type OwnOptions,
} from './own-credentials.ts'
import { stderrLogger } from './stderr-logger.ts'
import { untilInterrupted } from './until-interrupted.ts'
import { resolvePeer, tunnelsOf } from './via.ts'

const EXAMPLES = `
Examples:
  $ ambient hbone forward --via 10.0.0.7:15008 --forward 127.0.0.1:5432=db.shop:5432 \\
      --cert tls.crt --key tls.key --ca ca.crt --peer spiffe://cluster.local/ns/shop/sa/db
  $ ambient hbone forward --via 127.0.0.1:15008 --forward 127.0.0.1:0=10.0.0.1:80 --forward … …

One pool of sessions for all listeners. Prints "listening HOST:PORT" for each,
in their order; SIGTERM drains. A connection whose tunnel cannot be opened is
reset, with its reason on standard error.
`

/** Three files that are looked at for each tunnel are a tenth of its cost; a renewal may wait this long. */
const FILES_REST_MS = 100

interface Forwarding {
  readonly listen: Place
  readonly target: Place
}

interface ForwardOptions extends OwnOptions {
  readonly via: Place
  readonly forward: readonly Forwarding[]
}

/** What the connections of one listener have in common. */
interface Way {
  readonly open: OpenTunnel
  readonly target: Place
  readonly logger: Logger
  readonly isVerbose: boolean
  readonly signal: AbortSignal
}

export function registerForward(hbone: Command, context: CommandContext): void {
  const command = addCommand(hbone, 'forward', 'carry local ports through an HBONE peer', context)
  addOwnOptions(addCommonOptions(command))
    .requiredOption('--via <host:port>', 'the HBONE peer', place)
    .requiredOption('--forward <listen=target>', 'HOST:PORT=HOST:PORT (repeat)', collectForwarding)
    .addHelpText('after', EXAMPLES)
    .action(async (options: ForwardOptions) => context.finish(await forward(options, context.host)))
}

async function forward(options: ForwardOptions, host: CliHost): Promise<number> {
  host.carriesConnections?.()
  const logger = stderrLogger(host, options.verbose === true)
  const own = await openOwnCredentials(options, logger, FILES_REST_MS)
  try {
    await forwardAs(own, options, host, logger)
  } finally {
    await own.close()
  }
  return EXIT_OK
}

async function forwardAs(
  own: OwnCredentials,
  options: ForwardOptions,
  host: CliHost,
  logger: Logger,
): Promise<void> {
  const to = await resolvePeer(options.via)
  const cut = new AbortController()
  // One listener for each open connection.
  setMaxListeners(0, cut.signal)
  const pool = createHbonePool({ logger })
  followTrust(own, pool, logger)
  const open = tunnelsOf({ pool, own, to })
  const listeners: Listener[] = []
  try {
    for (const { listen: at, target } of options.forward) {
      const isVerbose = options.verbose === true
      const way: Way = { open, target, logger, isVerbose, signal: cut.signal }
      listeners.push(await listen({ ...at, onConnection: socket => void carry(socket, way) }))
    }
  } catch (error) {
    await Promise.all(listeners.map(listener => listener.close()))
    throw error
  }
  for (const { address, port } of listeners) host.stdout(`listening ${placeText({ host: address, port })}\n`)
  await untilInterrupted(host, {
    drain: () => Promise.all([...listeners.map(listener => listener.close()), pool.close()]),
    cut: () => cut.abort(new CliError('AMBIENT_E_CLI_CONNECT', 'interrupted')),
  })
}

/** Owns the socket. Never rejects, and does not wait for the end: thousands of tunnels would wait with it. */
async function carry(socket: Socket, { open, target, logger, isVerbose, signal }: Way): Promise<void> {
  socket.on('error', () => {})
  let tunnel: Tunnel
  try {
    tunnel = await open(target, { signal })
  } catch (error) {
    const code = isAmbientError(error) ? error.code : undefined
    const fields = { ...endsOf(socket, target), code, error: messageOf(error), hint: hintFor(error) }
    logger.warn(fields, 'connection reset')
    return resetSocket(socket)
  }
  const { uri } = tunnel.peer.id
  // A closed socket has no addresses, and asking for them costs system calls.
  const ends = isVerbose ? endsOf(socket, target) : {}
  void pump(socketChannel(socket), tunnel.channel, { signal }).then(({ ending, aToB, bToA }) =>
    logger.info({ ...ends, peer: uri, sent: aToB, received: bToA, ending: ending.kind }, 'connection ended'),
  )
}

/** Which of the listeners, whose connection, where to; a client that has left has no address. */
function endsOf(socket: Socket, target: Place): LogFields {
  const { localAddress, localPort, remoteAddress, remotePort } = socket
  return {
    listener: endText(localAddress, localPort),
    client: endText(remoteAddress, remotePort),
    target: placeText(target),
  }
}

function endText(address: string | undefined, port: number | undefined): string | undefined {
  if (address === undefined || port === undefined) return undefined
  return placeText({ host: canonicalIp(address) ?? address, port })
}

function collectForwarding(
  value: string,
  previous: readonly Forwarding[] | undefined,
): readonly Forwarding[] {
  const [at, to, ...rest] = value.split('=')
  if (at === undefined || to === undefined || rest.length > 0)
    throw new InvalidArgumentError('expected LISTEN=TARGET, such as 127.0.0.1:5432=db.shop:5432.')
  return [...(previous ?? []), { listen: half('LISTEN', at, listenPlace), target: half('TARGET', to, place) }]
}

/** One side of a forwarding: what is wrong with it names the side. */
function half(name: string, text: string, read: (text: string) => Place): Place {
  try {
    return read(text)
  } catch (error) {
    throw new InvalidArgumentError(`${name} ${JSON.stringify(text)}: ${messageOf(error)}`)
  }
}
