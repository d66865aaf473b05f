/** `ambient hbone connect`: standard input and output through one tunnel. */
import { Duplex } from 'node:stream'
import { messageOf, pump, type PumpResult } from '@ambient/core'
import { duplexChannel } from '@ambient/core/node'
import { createHbonePool } from '@ambient/hbone'
import type { Command } from 'commander'
import { addCommand, type CommandContext } from '../command-line.ts'
import { CliError } from '../errors.ts'
import { type CliHost, EXIT_INTERRUPTED, EXIT_OK } from '../host.ts'
import { addCommonOptions, type Place, place, placeText } from './common-options.ts'
import { addOwnOptions, followTrust, openOwnCredentials, type OwnOptions } from './own-credentials.ts'
import { stderrLogger } from './stderr-logger.ts'
import { resolvePeer, tunnelsOf } from './via.ts'

const EXAMPLES = `
Examples:
  $ ambient hbone connect --via 10.0.0.7:15008 --target 10.0.0.7:5432 --cert tls.crt --key tls.key --ca ca.crt
  $ printf 'GET / HTTP/1.0\\r\\n\\r\\n' | ambient hbone connect --via 127.0.0.1:15008 --target web.shop:80 …

Half-closes both ways: when standard input ends, so does our direction, and the
command ends when both have ended. A cut or refused tunnel is exit code 1.
`

interface ConnectOptions extends OwnOptions {
  readonly via: Place
  readonly target: Place
}

export function registerHboneConnect(hbone: Command, context: CommandContext): void {
  const command = addCommand(hbone, 'connect', 'standard input and output through one tunnel', context)
  addOwnOptions(addCommonOptions(command))
    .requiredOption('--via <host:port>', 'the HBONE peer', place)
    .requiredOption('--target <host:port>', 'the authority of the CONNECT', place)
    .addHelpText('after', EXAMPLES)
    .action(async (options: ConnectOptions) => context.finish(await connect(options, context.host)))
}

async function connect(options: ConnectOptions, host: CliHost): Promise<number> {
  const logger = stderrLogger(host, options.verbose === true)
  const own = await openOwnCredentials(options, logger)
  const pool = createHbonePool({ logger })
  followTrust(own, pool, logger)
  const interrupted = new AbortController()
  const unsubscribe = host.onInterrupt(() => interrupted.abort())
  const { signal } = interrupted
  try {
    const to = await resolvePeer(options.via)
    const tunnel = await tunnelsOf({ pool, own, to })(options.target, { signal })
    logger.info({ peer: tunnel.peer.id.uri }, 'tunnel open')
    const ends = Duplex.from({ readable: host.input, writable: host.output })
    return outcome(await pump(duplexChannel(ends), tunnel.channel, { signal }), options)
  } catch (error) {
    if (signal.aborted) return EXIT_INTERRUPTED
    throw error
  } finally {
    unsubscribe()
    host.input.destroy()
    await pool.close({ graceMs: 0 })
    await own.close()
  }
}

function outcome({ ending }: PumpResult, { target, via }: ConnectOptions): number {
  if (ending.kind === 'ended') return EXIT_OK
  if (ending.kind === 'aborted') return EXIT_INTERRUPTED
  const { reset, side } = ending
  const peer = placeText(via)
  // A session that was lost names it already.
  const through = reset.reason.includes(peer) ? '' : ` through ${peer}`
  const reason =
    side === 'b'
      ? `the tunnel${through} was cut: ${reset.reason}`
      : `standard input or output: ${messageOf(reset.cause ?? reset.reason)}`
  throw new CliError('AMBIENT_E_CLI_CONNECT', `${placeText(target)}: ${reason}`, { cause: reset.cause })
}
