/** `ambient cert bundle`: who is believed for a trust domain, until when; from a file or a federation endpoint. */
import { readFile } from 'node:fs/promises'
import { text as textOf } from 'node:stream/consumers'
import { messageOf, quoteText, readTrustDomain, systemClock } from '@ambient/core'
import {
  bundlePem,
  type BundleEndpointProfile,
  createFederation,
  type FederatedEndpoint,
  formatSpiffeBundle,
  type SpiffeBundle,
} from '@ambient/identity'
import { type Command, Option } from 'commander'
import { badValue, spiffeId } from '../ca/values.ts'
import { addCommand, type CommandContext } from '../command-line.ts'
import { CliError } from '../errors.ts'
import { stderrLogger } from '../hbone/stderr-logger.ts'
import { type CliHost, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK } from '../host.ts'
import { OUTPUT_FORMATS, render } from '../output.ts'
import { formatAge, formatTable } from '../table.ts'
import { type BundleFacts, bundleFacts, readBundleText } from './bundle-text.ts'

const FORMATS = [...OUTPUT_FORMATS, 'pem', 'spiffe'] as const

interface BundleOptions {
  readonly trustDomain?: string
  readonly profile: string
  readonly endpointId?: string
  readonly endpointBundle?: string
  readonly endpointCa?: string
  readonly output: (typeof FORMATS)[number]
}

const EXAMPLES = `
Examples:
  $ ambient cert bundle ca/root-cert.pem
  $ ambient cert bundle ca/root-cert.pem -o spiffe > bundle.json
  $ ambient cert bundle bundle.json -o pem > roots.pem
  $ ambient cert bundle https://partner.example/bundle --trust-domain partner.example
  $ ambient cert bundle https://127.0.0.1:8443/ --trust-domain partner.example --profile https_spiffe \\
      --endpoint-id spiffe://partner.example/bundles --endpoint-bundle partner.json -o spiffe

A bundle is PEM or a SPIFFE bundle document (JSON); - is standard input. What
is passed over is told, with the reason. Whose bundle it is stands in no
bundle: --trust-domain says so, else the SPIFFE IDs of the roots.

Exit code 1: it cannot be read, or nobody in it can be believed now.
`

export function registerCertBundle(cert: Command, context: CommandContext): void {
  addCommand(cert, 'bundle', 'who is in a trust bundle, and its other forms', context)
    .argument('<file|url>', 'PEM, a SPIFFE bundle document, - or an https:// endpoint')
    .option('--trust-domain <name>', 'whose bundle it is; an endpoint needs it')
    .option('--profile <profile>', 'how the endpoint proves itself: https_web or https_spiffe', 'https_web')
    .option('--endpoint-id <spiffe-id>', 'https_spiffe: who answers there')
    .option('--endpoint-bundle <file>', 'https_spiffe: what proves it, a bundle of its trust domain')
    .option('--endpoint-ca <file>', 'https_web: the CAs that count, PEM (default: those of Node)')
    .addOption(new Option('-o, --output <format>', 'how to print').choices(FORMATS).default('table'))
    .addHelpText('after', EXAMPLES)
    .action(async (from: string, options: BundleOptions) =>
      context.finish(await showBundle(from, options, context.host)),
    )
}

async function showBundle(from: string, options: BundleOptions, host: CliHost): Promise<number> {
  const named = nameOf(options)
  const interrupted = new AbortController()
  const unsubscribe = host.onInterrupt(() => interrupted.abort())
  let bundle: SpiffeBundle
  try {
    bundle = isUrl(from)
      ? await fetchFrom(from, options, { named, host, signal: interrupted.signal })
      : await readFrom(from, named, host)
  } catch (error) {
    if (interrupted.signal.aborted) return EXIT_INTERRUPTED
    throw error
  } finally {
    unsubscribe()
  }
  const now = systemClock.now()
  const facts = bundleFacts(bundle, named, now)
  host.stdout(print(options.output, bundle, facts, now))
  if (isConverted(options)) tellLoss(options, facts, host)
  const isUseful =
    facts.jwtAuthorities.length > 0 || facts.x509Authorities.some(({ state }) => state === 'valid')
  return isUseful ? EXIT_OK : EXIT_FAILED
}

function print(
  format: BundleOptions['output'],
  bundle: SpiffeBundle,
  facts: BundleFacts,
  now: number,
): string {
  if (format === 'pem') return bundlePem(bundle)
  if (format === 'spiffe') return `${formatSpiffeBundle(bundle)}\n`
  return render(format, facts, () => table(facts, now))
}

function isConverted({ output }: BundleOptions): boolean {
  return output === 'pem' || output === 'spiffe'
}

/** Standard output is the other form alone. */
function tellLoss({ output }: BundleOptions, { ignored, jwtAuthorities }: BundleFacts, host: CliHost): void {
  for (const reason of ignored) host.stderr(`ignored: ${reason}\n`)
  if (output === 'pem' && jwtAuthorities.length > 0)
    host.stderr(`not in PEM: ${jwtAuthorities.length} keys of JWT-SVIDs\n`)
}

const NOTES: Readonly<Record<BundleFacts['x509Authorities'][number]['state'], string>> = {
  valid: '-',
  expired: 'EXPIRED',
  'not-yet-valid': 'NOT VALID YET',
  'not-a-ca': 'NOT A CA',
}

function table(facts: BundleFacts, now: number): string {
  const { trustDomain, sequenceNumber, refreshHintSeconds, x509Authorities, jwtAuthorities, ignored } = facts
  const head = [
    trustDomain ?? 'trust domain not said',
    `${x509Authorities.length} X.509, ${jwtAuthorities.length} JWT`,
    ...(sequenceNumber === undefined ? [] : [`sequence ${sequenceNumber}`]),
    ...(refreshHintSeconds === undefined ? [] : [`refresh every ${refreshHintSeconds} s`]),
  ]
  const rows = [
    ...x509Authorities.map(({ subject, uris, notAfter, key, fingerprint, state }) => [
      'x509',
      uris[0] ?? (subject || '(empty)'),
      key,
      notAfter,
      until(notAfter, now),
      NOTES[state],
      fingerprint.slice(0, 16),
    ]),
    ...jwtAuthorities.map(({ kid, key }) => ['jwt', kid, key, '-', '-', '-', '-']),
  ]
  return [
    `${head.join(', ')}\n`,
    rows.length === 0
      ? ''
      : formatTable([['TYPE', 'NAME', 'KEY', 'EXPIRES', 'IN', 'NOTE', 'SHA-256'], ...rows]),
    ...ignored.map(reason => `ignored: ${reason}\n`),
  ].join('')
}

function until(notAfter: string, now: number): string {
  const leftMs = Date.parse(notAfter) - now
  return leftMs < 0 ? '-' : formatAge(leftMs)
}

function isUrl(text: string): boolean {
  return /^[a-z]+:\/\//i.test(text)
}

function nameOf({ trustDomain }: BundleOptions): string | undefined {
  if (trustDomain === undefined) return undefined
  const read = readTrustDomain(trustDomain)
  if (read.ok) return read.trustDomain
  throw badValue('--trust-domain', `${quoteText(trustDomain)}: ${read.reason}`)
}

async function readFrom(from: string, named: string | undefined, host: CliHost): Promise<SpiffeBundle> {
  try {
    const text = from === '-' ? await textOf(host.input) : await readFile(from, 'utf8')
    return readBundleText(text, named)
  } catch (cause) {
    const message = `${quoteText(from)} is no bundle: ${messageOf(cause)}`
    throw new CliError('AMBIENT_E_CLI_INPUT', message, { cause })
  }
}

interface Asking {
  readonly named: string | undefined
  readonly host: CliHost
  readonly signal: AbortSignal
}

async function fetchFrom(url: string, options: BundleOptions, asking: Asking): Promise<SpiffeBundle> {
  const { named, host, signal } = asking
  if (named === undefined)
    throw new CliError('AMBIENT_E_CLI_USAGE', '--trust-domain missing: a bundle does not say whose it is')
  const known = await endpointBundle(options)
  const endpoint: FederatedEndpoint = { trustDomain: named, url, profile: await profileOf(options) }
  const federation = createFederation({
    endpoints: [endpoint],
    knownBundle: domain => (known?.trustDomain === domain ? known : undefined),
    logger: stderrLogger(host, false),
  })
  const cut = (): void => void federation.close()
  signal.addEventListener('abort', cut, { once: true })
  try {
    return await federation.refresh(named)
  } finally {
    signal.removeEventListener('abort', cut)
    await federation.close()
  }
}

async function profileOf(options: BundleOptions): Promise<BundleEndpointProfile> {
  const { profile, endpointId, endpointCa } = options
  if (profile === 'https_web') {
    if (endpointCa === undefined) return { kind: 'https_web' }
    return { kind: 'https_web', trustedCas: await readOption('--endpoint-ca', endpointCa) }
  }
  if (profile !== 'https_spiffe')
    throw badValue('--profile', `expected https_web or https_spiffe, found ${quoteText(profile)}`)
  if (endpointId === undefined)
    throw new CliError('AMBIENT_E_CLI_USAGE', '--endpoint-id missing: https_spiffe is proven by an identity')
  return { kind: 'https_spiffe', endpointId: spiffeId('--endpoint-id', endpointId) }
}

/** Of the trust domain of the endpoint, which need not be the one that is asked for. */
async function endpointBundle(options: BundleOptions): Promise<SpiffeBundle | undefined> {
  const { profile, endpointId, endpointBundle: file } = options
  if (profile !== 'https_spiffe' || endpointId === undefined) return undefined
  if (file === undefined)
    throw new CliError('AMBIENT_E_CLI_USAGE', '--endpoint-bundle missing: nothing else proves the endpoint')
  const { trustDomain } = spiffeId('--endpoint-id', endpointId)
  try {
    return readBundleText(await readOption('--endpoint-bundle', file), trustDomain)
  } catch (error) {
    throw badValue('--endpoint-bundle', messageOf(error).replace(/^--endpoint-bundle: /, ''))
  }
}

async function readOption(option: string, file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    throw badValue(option, messageOf(error))
  }
}
