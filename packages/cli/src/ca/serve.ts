/** `ambient ca serve`: Istio's `CreateCertificate` over TLS, for whoever has a token or a certificate. */
import { type Logger, messageOf, systemClock, type Timer } from '@ambient/core'
import {
  authenticateCallers,
  believeRequests,
  type CaServerOptions,
  type CertificateAuthorityFolder,
  createCaServer,
  createTokenFile,
  openCertificateAuthority,
  type TokenTable,
} from '@ambient/identity'
import type { Command } from 'commander'
import { addCommand, type CommandContext } from '../command-line.ts'
import { isOfThisMachine, placeText } from '../hbone/common-options.ts'
import { stderrLogger } from '../hbone/stderr-logger.ts'
import { untilInterrupted } from '../hbone/until-interrupted.ts'
import { type CliHost, EXIT_OK } from '../host.ts'
import { badValue, listenOn } from './values.ts'

interface ServeOptions {
  readonly dir: string
  readonly listen: string
  readonly tokens?: string
  readonly verbose: boolean
}

/** Lists stay fresh for a week. */
const LIST_REFRESH_MS = 86_400_000

const EXAMPLES = `
Examples:
  $ ambient ca serve --dir ca --listen 127.0.0.1:15012 --tokens tokens.txt
  $ ambient ca serve --dir ca --listen 127.0.0.1:0     anybody on this machine gets what it asks for

A line of --tokens is one of
  TOKEN SPIFFE_ID                      a workload, and nobody else
  TOKEN node NAME SPIFFE_ID…           a node, and the workloads that it may ask for
  TOKEN node NAME                      a node that may ask for any workload of the trust domain
The file is read again when it changes. A caller without a token may show the
certificate that it has, and gets the next one. Prints "listening HOST:PORT"
when ready; rotations and revocations by other commands are seen at once.
`

export function registerCaServe(ca: Command, context: CommandContext): void {
  addCommand(ca, 'serve', 'sign certificates for callers, as istiod does', context)
    .requiredOption('--dir <folder>', 'the folder of the CA')
    .requiredOption('--listen <host:port>', 'where; port 0 is any free one')
    .option('--tokens <file>', 'who may call, and for whom (default: anybody, on loopback only)')
    .option('-v, --verbose', 'say more on standard error: one line for each certificate', false)
    .addHelpText('after', EXAMPLES)
    .action(async (options: ServeOptions) => context.finish(await serve(options, context.host)))
}

async function serve(options: ServeOptions, host: CliHost): Promise<number> {
  const logger = stderrLogger(host, options.verbose)
  const listen = listenOn('--listen', options.listen)
  if (options.tokens === undefined && !isOfThisMachine(listen))
    throw badValue('--listen', `without --tokens on loopback only, not on ${placeText(listen)}`)
  const ca = await openCertificateAuthority({ dir: options.dir, logger })
  const authorize = await authorizer(options, ca, logger)
  const server = createCaServer({ ca, ...listen, authorize, logger })
  try {
    const port = await server.start()
    const lists = await keepListsFresh(ca, logger)
    host.stdout(`listening ${placeText({ ...listen, port })}\n`)
    await untilInterrupted(host, {
      drain: async () => {
        lists.cancel()
        await server.close()
      },
      cut: () => void server.close({ graceMs: 0 }),
    })
  } finally {
    await server.close({ graceMs: 0 })
    await ca.close()
  }
  return EXIT_OK
}

async function authorizer(
  { tokens }: ServeOptions,
  ca: CertificateAuthorityFolder,
  logger: Logger,
): Promise<CaServerOptions['authorize']> {
  if (tokens === undefined) {
    logger.warn({}, 'without --tokens whoever reaches this port gets the identity that its request names')
    return believeRequests(ca.trustDomain)
  }
  const read = createTokenFile(tokens)
  const table = await read()
  warnOfTokens(table, ca.trustDomain, logger)
  return authenticateCallers({ ca, tokens: read, runsOn: () => true })
}

/** What a token file says that its author can hardly have meant. */
function warnOfTokens(table: TokenTable, trustDomain: string, logger: Logger): void {
  if (table.size === 0) logger.warn({}, 'the token file has no token: nobody gets a certificate by one')
  for (const { id, node, workloads } of table.values()) {
    if (node !== undefined && workloads === undefined)
      logger.warn({ node }, 'a token lists no workloads of its node: it may ask for any of the trust domain')
    for (const foreign of [id, ...(workloads ?? [])])
      if (foreign !== undefined && foreign.trustDomain !== trustDomain)
        logger.warn(
          { id: foreign.uri, trustDomain },
          'a token is for another trust domain: it will be refused',
        )
  }
}

/** At once as well: a CA that is started anew every day would otherwise let its lists grow stale. */
async function keepListsFresh(ca: CertificateAuthorityFolder, logger: Logger): Promise<Timer> {
  let timer: Timer
  const refresh = (): Promise<void> =>
    ca
      .refreshRevocationLists()
      .catch((error: unknown) =>
        logger.error({ error: messageOf(error) }, 'the revocation lists were not written again'),
      )
  const later = (): void => {
    timer = systemClock.after(LIST_REFRESH_MS, () => {
      void refresh()
      later()
    })
  }
  await refresh()
  later()
  return { cancel: () => timer.cancel() }
}
