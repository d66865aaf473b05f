/** `ambient cert verify`: may this chain be believed, and if not, which rule does which certificate break? */
import { readFileSync } from 'node:fs'
import { messageOf, quoteText, systemClock } from '@ambient/core'
import type { Revocations } from '@ambient/identity'
import type { Command } from 'commander'
import { addCommand, collect, type CommandContext, outputOption } from '../command-line.ts'
import { CliError } from '../errors.ts'
import { type CliHost, EXIT_FAILED, EXIT_OK } from '../host.ts'
import { type OutputFormat, render } from '../output.ts'
import { formatTable } from '../table.ts'
import { explainedText, verdictText } from './explained.ts'
import { type Judged, judge, refused, type VerifyQuestion } from './judge.ts'
import { readRevocations } from './revoked.ts'

const EXAMPLES = `
Examples:
  $ ambient cert verify --chain web.pem --bundle roots.pem --trust-domain cluster.local --purpose server
  $ ambient cert verify --chain web.pem --bundle ours.pem --bundle-for partner.example=partner.json \\
      --trust-domain cluster.local --purpose client --at 2026-12-01T00:00:00Z -o json
  $ ambient cert verify --chain web.pem --bundle roots.pem --crl ca/crl.pem --trust-domain cluster.local --purpose client
  $ ambient cert verify --batch questions.json -o json

Chains are PEM, the leaf first, or one certificate of DER. Bundles are PEM or
SPIFFE bundle documents (JSON). The chain is proven by the bundle of its leaf's
own trust domain and by no other.

--batch has a JSON array of { chain, bundle, trustDomain, bundles: { domain:
file }, purpose, at }; what an entry leaves out is taken from the options. There
is an answer for each, in order.

Exit code 0: valid (all of them); 1: not, and the answer says why.
`

interface VerifyOptions {
  readonly chain?: string
  readonly bundle?: string
  readonly trustDomain?: string
  readonly bundleFor?: readonly string[]
  readonly purpose?: string
  readonly at?: string
  readonly crl?: string
  readonly batch?: string
  readonly output: OutputFormat
}

const REQUIRED = ['chain', 'bundle', 'trustDomain', 'purpose'] as const
const FLAGS: Readonly<Record<(typeof REQUIRED)[number], string>> = {
  chain: '--chain',
  bundle: '--bundle',
  trustDomain: '--trust-domain',
  purpose: '--purpose',
}

export function registerCertVerify(cert: Command, context: CommandContext): void {
  addCommand(cert, 'verify', 'may a chain be believed, and if not, why', context)
    .option('--chain <file>', 'the certificates that were presented, leaf first')
    .option('--bundle <file>', 'the trust anchors of the own trust domain')
    .option('--trust-domain <name>', 'the own trust domain, by its name or any ID in it')
    .option('--bundle-for <domain=file>', 'the trust anchors of another trust domain (repeat)', collect)
    .option('--purpose <role>', "the holder's role: client or server")
    .option('--at <time>', 'when, as RFC 3339 has it (default: now)')
    .option('--crl <file>', 'what was revoked: lists of certificates (PEM, or one of DER)')
    .option('--batch <file>', 'many questions at once, from JSON')
    .addOption(outputOption())
    .addHelpText('after', EXAMPLES)
    .action(async (options: VerifyOptions) => context.finish(await verify(options, context.host)))
}

async function verify(options: VerifyOptions, host: CliHost): Promise<number> {
  if (options.batch !== undefined)
    return verifyBatch(options.batch, options, await readRevocations(options.crl), host)
  const missing = REQUIRED.filter(name => options[name] === undefined)
  if (missing.length > 0)
    throw new CliError('AMBIENT_E_CLI_USAGE', `${missing.map(name => FLAGS[name]).join(', ')} missing`)
  const { answer, explanation } = judgeEntry({}, options, await readRevocations(options.crl))
  const table = (): string =>
    explanation === undefined
      ? `NOT valid: ${answer.message ?? ''}\n`
      : `${explainedText(explanation.certificates, explanation.rules)}${verdictText(explanation)}\n`
  host.stdout(render(options.output, answer, table))
  return answer.valid ? EXIT_OK : EXIT_FAILED
}

function verifyBatch(
  path: string,
  options: VerifyOptions,
  revocations: Revocations | undefined,
  host: CliHost,
): number {
  const judged = readBatch(path).map(entry => judgeEntry(entry, options, revocations))
  const answers = judged.map(({ answer }) => answer)
  const table = (): string =>
    formatTable([
      ['ENTRY', 'VALID', 'RULE', 'ID OR REASON'],
      ...answers.map(({ valid, id, rule, message }, index) => [
        String(index + 1),
        valid ? 'yes' : 'NO',
        rule ?? '-',
        id ?? message ?? '',
      ]),
    ])
  host.stdout(render(options.output, answers, table))
  return answers.every(({ valid }) => valid) ? EXIT_OK : EXIT_FAILED
}

function readBatch(path: string): readonly unknown[] {
  let read: unknown
  try {
    read = JSON.parse(readFileSync(path, 'utf8'))
  } catch (cause) {
    throw new CliError(
      'AMBIENT_E_CLI_INPUT',
      `--batch ${quoteText(path)} cannot be read: ${messageOf(cause)}`,
      {
        cause,
      },
    )
  }
  if (Array.isArray(read)) return read
  throw new CliError('AMBIENT_E_CLI_INPUT', `--batch ${quoteText(path)}: expected a JSON array`)
}

/** A bad entry spoils only itself. */
function judgeEntry(entry: unknown, options: VerifyOptions, revocations: Revocations | undefined): Judged {
  const question = readQuestion(entry, options)
  return typeof question === 'string'
    ? refused('entry', question)
    : judge(question, systemClock.now(), revocations)
}

/** The question, or what is wrong with it. */
function readQuestion(entry: unknown, options: VerifyOptions): VerifyQuestion | string {
  if (!isObject(entry)) return 'expected an object'
  const given: Record<string, string | undefined> = {}
  for (const name of [...REQUIRED, 'at'] as const) {
    const value = entry[name] ?? options[name]
    if (value !== undefined && typeof value !== 'string') return `${name}: expected a string`
    given[name] = value
  }
  const { chain, bundle, trustDomain, purpose, at } = given
  if (chain === undefined || bundle === undefined || trustDomain === undefined || purpose === undefined)
    return `${REQUIRED.filter(name => given[name] === undefined).join(', ')} missing`
  const bundles = readBundles(entry['bundles'], options.bundleFor ?? [])
  return typeof bundles === 'string' ? bundles : { chain, bundle, trustDomain, purpose, at, bundles }
}

function readBundles(bundles: unknown, flags: readonly string[]): VerifyQuestion['bundles'] | string {
  const found: [string, string][] = []
  for (const flag of flags) {
    const equals = flag.indexOf('=')
    if (equals < 1) return `--bundle-for ${quoteText(flag)}: expected DOMAIN=FILE`
    found.push([flag.slice(0, equals), flag.slice(equals + 1)])
  }
  if (bundles === undefined || bundles === null) return found
  if (!isObject(bundles)) return 'bundles: expected an object of files by trust domain'
  for (const [domain, file] of Object.entries(bundles)) {
    if (typeof file !== 'string') return `bundles: ${quoteText(domain)}: expected a file`
    found.push([domain, file])
  }
  return found
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
