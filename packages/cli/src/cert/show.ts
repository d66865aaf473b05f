/** `ambient cert show`: a chain from a file or from a live TLS server, explained rule by rule. */
import { existsSync } from 'node:fs'
import { quoteText, readHostPort, readTrustDomain, systemClock } from '@ambient/core'
import { type ChainExplanation, type ExplainedRule, explainChain, type Revocations } from '@ambient/identity'
import type { Command } from 'commander'
import { badValue, lifetime } from '../ca/values.ts'
import { addCommand, collect, type CommandContext, outputOption } from '../command-line.ts'
import { CliError } from '../errors.ts'
import { type CliHost, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK } from '../host.ts'
import { type OutputFormat, render } from '../output.ts'
import { readBundleFile, readChainFile } from './chain-files.ts'
import { explainedText, verdictText } from './explained.ts'
import { answerOf, readFederated } from './judge.ts'
import { type LiveChain, readLiveChain } from './live-chain.ts'
import { readRevocations } from './revoked.ts'
import { readTime } from './time.ts'

const EXAMPLES = `
Examples:
  $ ambient cert show web.pem
  $ ambient cert show web.pem --bundle roots.pem
  $ ambient cert show 127.0.0.1:15008 --bundle roots.pem --cert web.pem --key web.key -o json

Without --bundle nothing is proven: the certificates are judged by what they say
themselves. Exit code 1 says that a rule is broken.
`

interface ShowOptions {
  readonly bundle?: string
  readonly bundleFor?: readonly string[]
  readonly trustDomain?: string
  readonly at?: string
  readonly crl?: string
  readonly cert?: string
  readonly key?: string
  readonly timeout: string
  readonly output: OutputFormat
}

interface Source {
  readonly chain: readonly Uint8Array[]
  readonly live?: Omit<LiveChain, 'chain'>
}

export function registerCertShow(cert: Command, context: CommandContext): void {
  addCommand(cert, 'show', 'a chain of a file or of a TLS server, rule by rule', context)
    .argument('<file|host:port>', 'PEM (or one certificate of DER), or who to ask')
    .option('--bundle <file>', 'the trust anchors to prove it by')
    .option('--bundle-for <domain=file>', 'the trust anchors of another trust domain (repeat)', collect)
    .option('--trust-domain <name>', 'the own trust domain (default: that of the chain)')
    .option('--at <time>', 'when, as RFC 3339 has it (default: now)')
    .option('--crl <file>', 'what was revoked: lists of certificates (PEM, or one of DER)')
    .option('--cert <file>', 'our certificate, for servers that ask for one (PEM)')
    .option('--key <file>', 'its private key (PEM)')
    .option('--timeout <duration>', 'for the handshake', '10s')
    .addOption(outputOption())
    .addHelpText('after', EXAMPLES)
    .action(async (what: string, options: ShowOptions) =>
      context.finish(await show(what, options, context.host)),
    )
}

async function show(what: string, options: ShowOptions, host: CliHost): Promise<number> {
  const now = options.at === undefined ? systemClock.now() : readTime(options.at)
  if (now === undefined)
    throw badValue('--at', `expected a time of RFC 3339, found ${quoteText(options.at ?? '')}`)
  const interrupted = new AbortController()
  const unsubscribe = host.onInterrupt(() => interrupted.abort())
  try {
    const source = await readSource(what, options, interrupted.signal)
    const explanation = explain(source.chain, options, now, await readRevocations(options.crl))
    const isProven = options.bundle !== undefined
    const rules = isProven ? explanation.rules : explanation.rules.map(unproven)
    const { certificates } = explanation
    const facts = {
      source: what,
      ...(source.live === undefined ? {} : { tls: source.live }),
      certificates,
      rules,
      ...(isProven ? { verdict: answerOf(explanation) } : {}),
    }
    host.stdout(
      render(options.output, facts, () => {
        const head =
          source.live === undefined ? '' : `${Object.values(source.live).filter(Boolean).join(', ')}\n`
        const end = isProven ? verdictText(explanation) : 'not proven: no --bundle'
        return `${head}${explainedText(certificates, rules)}${end}\n`
      }),
    )
    return rules.some(({ outcome }) => outcome === 'fail') ? EXIT_FAILED : EXIT_OK
  } catch (error) {
    if (interrupted.signal.aborted) return EXIT_INTERRUPTED
    throw error
  } finally {
    unsubscribe()
  }
}

async function readSource(what: string, options: ShowOptions, signal: AbortSignal): Promise<Source> {
  const place = readHostPort(what)
  if (existsSync(what) || !place.ok) {
    const read = readChainFile(what)
    if (read.ok) return { chain: read.chain }
    throw new CliError('AMBIENT_E_CLI_INPUT', `neither a certificate nor HOST:PORT: ${read.message}`)
  }
  const { host, port } = place.value
  const { chain, ...live } = await readLiveChain(
    { ...options, host, port, timeoutMs: lifetime('--timeout', options.timeout) },
    signal,
  )
  return { chain, live }
}

function explain(
  chain: readonly Uint8Array[],
  options: ShowOptions,
  now: number,
  revocations: Revocations | undefined,
): ChainExplanation {
  const trustDomain = ownTrustDomain(chain, options, now)
  const federated = readFederated((options.bundleFor ?? []).map(splitDomain))
  if (!federated.ok)
    throw new CliError('AMBIENT_E_CLI_CREDENTIALS', `--bundle-for: ${federated.judged.answer.message ?? ''}`)
  return explainChain({
    chain,
    trustBundle: options.bundle === undefined ? '' : bundleOf(options.bundle, trustDomain),
    ownTrustDomain: trustDomain,
    federatedBundles: federated.bundles,
    expect: { kind: 'any' },
    ...(revocations === undefined ? {} : { revocations }),
    now,
  })
}

/** Without another word, a chain is asked about by its own side. */
function ownTrustDomain(chain: readonly Uint8Array[], { trustDomain }: ShowOptions, now: number): string {
  const given = trustDomain ?? uriOf(chain, now)
  const read = readTrustDomain(given)
  if (read.ok) return read.trustDomain
  if (trustDomain === undefined) return ''
  throw badValue('--trust-domain', `${quoteText(given)}: ${read.reason}`)
}

function uriOf(chain: readonly Uint8Array[], now: number): string {
  const { certificates } = explainChain({
    chain,
    trustBundle: '',
    ownTrustDomain: '',
    expect: { kind: 'any' },
    now,
  })
  return certificates[0]?.uris[0] ?? ''
}

function bundleOf(path: string, trustDomain: string): string {
  const read = readBundleFile(path, trustDomain)
  if (read.ok) return read.pem
  throw new CliError('AMBIENT_E_CLI_CREDENTIALS', `--bundle ${read.message}`)
}

function splitDomain(text: string): readonly [string, string] {
  const equals = text.indexOf('=')
  if (equals > 0) return [text.slice(0, equals), text.slice(equals + 1)]
  throw badValue('--bundle-for', `expected DOMAIN=FILE, found ${quoteText(text)}`)
}

const NEEDS_BUNDLE: readonly string[] = ['trust-domain', 'trust-bundle', 'signature']

/** What only a bundle could say. */
function unproven(row: ExplainedRule): ExplainedRule {
  return row.outcome === 'fail' && NEEDS_BUNDLE.includes(row.rule)
    ? { ...row, outcome: 'skip', detail: 'no --bundle to prove it by' }
    : row
}
