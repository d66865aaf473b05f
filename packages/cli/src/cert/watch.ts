/** `ambient cert watch`: an identity as it rotates, one line for each generation. */
import { readFile } from 'node:fs/promises'
import { type Credentials, type Logger, messageOf, systemClock, type Timer } from '@ambient/core'
import {
  createFileSource,
  createIdentityManager,
  createIstioCaClient,
  createWorkloadApiSource,
  type X509Source,
} from '@ambient/identity'
import type { Command } from 'commander'
import { badValue, lifetime, spiffeId } from '../ca/values.ts'
import { addCommand, type CommandContext, outputOption } from '../command-line.ts'
import { CliError } from '../errors.ts'
import { stderrLogger } from '../hbone/stderr-logger.ts'
import { type CliHost, EXIT_INTERRUPTED, EXIT_OK } from '../host.ts'
import { type OutputFormat, renderEvent } from '../output.ts'
import { describeGeneration, generationLine, remember, type Remembered } from './watch-generation.ts'

interface WatchOptions {
  readonly cert?: string
  readonly key?: string
  readonly ca?: string
  readonly workloadApi?: string | true
  readonly caAddress?: string
  readonly caRoot?: string
  readonly tokenFile?: string
  readonly id?: string
  readonly clusterId: string
  readonly ttl?: string
  readonly once: boolean
  readonly verbose: boolean
  readonly output: OutputFormat
}

/** Where the identity comes from. */
interface Watched {
  readonly source: X509Source
  /** Milliseconds since the epoch, where we renew. */
  nextRenewal(): number | undefined
  close(): Promise<unknown>
}

const DAY_MS = 86_400_000

const EXAMPLES = `
Examples:
  $ ambient cert watch --cert web/cert-chain.pem --key web/key.pem --ca web/root-cert.pem
  $ ambient cert watch --workload-api unix:///run/spire/sockets/agent.sock -o json
  $ ambient cert watch --ca-address https://127.0.0.1:15012 --ca-root ca/root-cert.pem \\
      --token-file token --id spiffe://cluster.local/ns/shop/sa/web --once

A line for each generation, until Ctrl-C: when, who, serial number, validity,
when the next one is asked for, and what changed. Warnings are on standard
error. -o json prints one object per line.

With --once it ends at the first one; exit code 1 says that none could be had.
`

export function registerCertWatch(cert: Command, context: CommandContext): void {
  addCommand(cert, 'watch', 'an identity as it rotates, a line for each generation', context)
    .option('--cert <file>', 'files that somebody else renews: the certificate, then its intermediates (PEM)')
    .option('--key <file>', 'its private key (PEM)')
    .option('--ca <file>', 'the trust bundle (PEM)')
    .option(
      '--workload-api [address]',
      'a SPIFFE Workload API: unix:///PATH or tcp://IP:PORT (default: SPIFFE_ENDPOINT_SOCKET)',
    )
    .option('--ca-address <url>', "a CA that speaks Istio's protocol: https://HOST:PORT")
    .option('--ca-root <file>', 'the roots that its own certificate leads to (PEM)')
    .option('--token-file <file>', 'the bearer token for it, read for each request')
    .option('--id <spiffe-id>', 'the identity to ask it for')
    .option('--cluster-id <name>', 'what to tell it of our cluster', 'Kubernetes')
    .option('--ttl <duration>', 'the lifetime to ask it for (default: 24h)')
    .option('--once', 'end at the first generation', false)
    .option('-v, --verbose', 'say more on standard error', false)
    .addOption(outputOption())
    .addHelpText('after', EXAMPLES)
    .action(async (options: WatchOptions) => context.finish(await watch(options, context.host)))
}

async function watch(options: WatchOptions, host: CliHost): Promise<number> {
  const logger = stderrLogger(host, options.verbose)
  const watched = openWatched(options, host, logger)
  const ended = new AbortController()
  const interrupted = new Promise<void>(resolve => {
    ended.signal.addEventListener('abort', () => resolve(), { once: true })
  })
  const unsubscribe = host.onInterrupt(() => ended.abort())
  const print = printer(options, host, watched)
  const alive = stayAlive()
  try {
    if (options.once) {
      print(await watched.source.get({ signal: ended.signal }))
      return EXIT_OK
    }
    watched.source.watch(print)
    // A source that is not asked may not begin. Why there is none yet is in its log; it goes on trying.
    watched.source.get({ signal: ended.signal }).then(print, () => {})
    await interrupted
    return EXIT_OK
  } catch (error) {
    if (ended.signal.aborted) return EXIT_INTERRUPTED
    throw error
  } finally {
    unsubscribe()
    alive.cancel()
    await watched.close()
  }
}

/** Sources hold no process alive; this command is there to wait for them. */
function stayAlive(): Timer {
  let timer: Timer
  const wait = (): void => {
    timer = systemClock.after(DAY_MS, wait, { keepAlive: true })
  }
  wait()
  return { cancel: () => timer.cancel() }
}

function printer(
  { output }: WatchOptions,
  host: CliHost,
  watched: Watched,
): (credentials: Credentials) => void {
  let before: Remembered | undefined
  let printed = Number.NEGATIVE_INFINITY
  return credentials => {
    if (credentials.generation <= printed) return
    printed = credentials.generation
    const now = remember(credentials)
    const line = describeGeneration(credentials, {
      now,
      before,
      timeMs: systemClock.now(),
      nextRenewalMs: watched.nextRenewal(),
    })
    before = now
    host.stdout(output === 'table' ? generationLine(line) : renderEvent(output, line))
  }
}

const GROUPS: readonly (readonly (keyof WatchOptions & string)[])[] = [
  ['cert', 'key', 'ca'],
  ['workloadApi'],
  ['caAddress', 'caRoot', 'tokenFile', 'id'],
]

function openWatched(options: WatchOptions, host: CliHost, logger: Logger): Watched {
  const begun = GROUPS.filter(names => names.some(name => options[name] !== undefined))
  if (begun.length !== 1)
    throw usage('one of --cert with --key and --ca, --workload-api, or --ca-address says what to watch')
  if (options.workloadApi !== undefined) return watchWorkloadApi(options.workloadApi, host, logger)
  return options.cert === undefined && options.key === undefined && options.ca === undefined
    ? watchCa(options, logger)
    : watchFiles(options, logger)
}

function watchFiles({ cert, key, ca }: WatchOptions, logger: Logger): Watched {
  if (cert === undefined || key === undefined || ca === undefined) throw missing({ cert, key, ca })
  const source = createFileSource({ certificate: cert, privateKey: key, trustBundle: ca, logger })
  return { source, nextRenewal: () => undefined, close: () => source.close() }
}

function watchWorkloadApi(given: string | true, host: CliHost, logger: Logger): Watched {
  const address = given === true ? host.environment['SPIFFE_ENDPOINT_SOCKET'] : given
  if (address === undefined || address === '')
    throw usage('--workload-api: no address, and SPIFFE_ENDPOINT_SOCKET is not set')
  const source = orBadValue('--workload-api', () => createWorkloadApiSource({ address, logger }))
  return { source, nextRenewal: () => undefined, close: () => source.close() }
}

function watchCa(options: WatchOptions, logger: Logger): Watched {
  const { caAddress, caRoot, tokenFile, id: uri } = options
  if (caAddress === undefined || caRoot === undefined || uri === undefined)
    throw missing({ 'ca-address': caAddress, 'ca-root': caRoot, id: uri })
  const id = spiffeId('--id', uri)
  const signer = orBadValue('--ca-address', () =>
    createIstioCaClient({
      address: caAddress,
      rootPem: () => readFile(caRoot, 'utf8'),
      ...(tokenFile === undefined ? {} : { token: () => readFile(tokenFile, 'utf8') }),
      clusterId: options.clusterId,
      impersonate: false,
      logger,
    }),
  )
  const ttl = options.ttl === undefined ? {} : { ttlMs: lifetime('--ttl', options.ttl) }
  const manager = createIdentityManager({ signer, logger, ...ttl })
  return {
    source: manager.x509Source(id),
    nextRenewal: () => manager.list().find(({ identity }) => identity === id.uri)?.nextRotation,
    close: async () => {
      await manager.close()
      await signer.close()
    },
  }
}

function orBadValue<T>(option: string, make: () => T): T {
  try {
    return make()
  } catch (error) {
    throw badValue(option, messageOf(error))
  }
}

function missing(options: Readonly<Record<string, string | undefined>>): CliError {
  const names = Object.keys(options).filter(name => options[name] === undefined)
  return usage(`${names.map(name => `--${name}`).join(', ')} missing`)
}

function usage(message: string): CliError {
  return new CliError('AMBIENT_E_CLI_USAGE', message)
}
