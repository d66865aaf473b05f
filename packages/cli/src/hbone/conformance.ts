/** `ambient hbone conformance`: how well an HBONE peer keeps the rules of docs/hbone.md, as a table. */
import type { Credentials } from '@ambient/core'
import {
  type ConformanceCase,
  type ConformanceResult,
  clientCases,
  runClientConformance,
  runServerConformance,
  serverCases,
} from '@ambient/hbone/conformance'
import { createCertificateAuthority, createCertificateRequest, createCredentials } from '@ambient/identity'
import { type Command, Option } from 'commander'
import { addCommand, collect, type CommandContext, duration, outputOption } from '../command-line.ts'
import { CliError } from '../errors.ts'
import { type CliHost, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK } from '../host.ts'
import { type OutputFormat, render } from '../output.ts'
import { formatTable } from '../table.ts'
import {
  addCommonOptions,
  type CommonOptions,
  listenPlace,
  type Place,
  place,
  placeText,
} from './common-options.ts'
import { openCredentialFiles } from './credential-files.ts'
import { stderrLogger } from './stderr-logger.ts'
import { resolvePeer } from './via.ts'

const EXAMPLES = `
Examples:
  $ ambient hbone conformance --target 127.0.0.1:15008 --cert web.pem --key web.key --ca roots.pem
  $ ambient hbone conformance --target 10.0.0.7:15008 --authority 10.0.0.9:7 --cert … --key … --ca …
  $ ambient hbone conformance --target 127.0.0.1:15008 --case tls-1.3 --case echo --cert … --key … --ca …
  $ ambient hbone conformance --listen 127.0.0.1:15008 --cert db.pem --key db.key --ca roots.pem
  $ ambient hbone conformance --list

A server has to let our certificate reach a target that sends back what it is
sent. For a server on this machine that target is started here, on a free port
of 127.0.0.1, so the server must allow that address; then the cases can also
look at what arrives behind the tunnel (ends, resets, refusals). Elsewhere, and
where that is not allowed, --authority names an echo that is; those cases are
skipped then. \`ambient hbone serve\` needs --allow-target '*', or --echo, which
answers for any target.

With --listen, drive the client that is looked at: one connection after the
other, each with a tunnel to any target, and behind it a program that sends a
few bytes and reads what comes back.

A MUST that fails is FAIL and exit code 1, a SHOULD is a warning. Ids of
requirements are those of docs/hbone.md.
`

interface ConformanceOptions extends CommonOptions {
  readonly target?: Place
  readonly listen?: Place
  readonly authority?: Place
  readonly case?: readonly string[]
  readonly timeout?: number
  readonly list?: boolean
  readonly output: OutputFormat
}

export function registerConformance(hbone: Command, context: CommandContext): void {
  const command = addCommand(
    hbone,
    'conformance',
    'ask an HBONE server, or look at an HBONE client, rule by rule',
    context,
  )
    .addOption(new Option('--target <host:port>', 'the server to ask').argParser(place))
    .addOption(
      new Option('--listen <host:port>', 'where to wait for the client to look at').argParser(listenPlace),
    )
    .addOption(
      new Option(
        '--authority <host:port>',
        'a target behind the server that echoes (default: one of our own)',
      ).argParser(place),
    )
    .option('--case <id>', 'only this one (repeat)', collect)
    .addOption(
      new Option('--timeout <duration>', 'for each thing that the peer has to do')
        .argParser(duration)
        .default(undefined, '3s'),
    )
    .option('--list', 'print the cases and do nothing', false)
    .addOption(outputOption())
  addCommonOptions(command)
    .addHelpText('after', EXAMPLES)
    .action(async (options: ConformanceOptions) => context.finish(await conformance(options, context.host)))
}

async function conformance(options: ConformanceOptions, host: CliHost): Promise<number> {
  if (options.list === true) return list(options, host)
  if ((options.target === undefined) === (options.listen === undefined))
    throw new CliError(
      'AMBIENT_E_CLI_USAGE',
      'give --target (a server) or --listen (for a client), one of the two',
    )
  const { output } = options
  const cases = options.target === undefined ? clientCases : serverCases
  checkNames(options.case ?? [], cases)
  const print = printer(cases, host)
  const stopped = new AbortController()
  const unsubscribe = host.onInterrupt(() => stopped.abort())
  try {
    const results = await run(options, host, {
      signal: stopped.signal,
      onResult: result => {
        if (output === 'table') print.row(result)
      },
    })
    if (output !== 'table') host.stdout(render(output, results, () => ''))
    host.stderr(`${summary(results)}\n`)
    return results.some(isBroken) ? EXIT_FAILED : EXIT_OK
  } catch (error) {
    if (stopped.signal.aborted) return EXIT_INTERRUPTED
    throw error
  } finally {
    unsubscribe()
  }
}

function checkNames(ids: readonly string[], cases: readonly ConformanceCase[]): void {
  const unknown = ids.filter(id => !cases.some(one => one.id === id))
  if (unknown.length > 0)
    throw new CliError(
      'AMBIENT_E_CLI_USAGE',
      `--case ${unknown.join(', ')}: no such case; --list has them all`,
    )
}

async function run(
  options: ConformanceOptions,
  host: CliHost,
  common: { readonly signal: AbortSignal; readonly onResult: (result: ConformanceResult) => void },
): Promise<readonly ConformanceResult[]> {
  const credentials = openCredentialFiles(options, stderrLogger(host, options.verbose === true)).current()
  const shared = {
    ...common,
    credentials,
    foreign: await strangerLike(credentials),
    ...(options.case === undefined ? {} : { cases: options.case }),
    ...(options.timeout === undefined ? {} : { timeoutMs: options.timeout }),
  }
  const { target, listen, authority } = options
  if (target !== undefined)
    return runServerConformance({
      ...shared,
      target: await resolvePeer(target),
      ...(authority === undefined ? {} : { authority: placeText(authority) }),
    })
  return runClientConformance({
    ...shared,
    listen: listen ?? { host: '127.0.0.1', port: 0 },
    onListening: ({ address, port }) => {
      const line = `listening ${placeText({ host: address, port })}\n`
      if (options.output === 'table') host.stdout(line)
      else host.stderr(line)
    },
    onWaiting: (what, { number, of }) =>
      host.stderr(`connection ${number} of ${of}: ${what}; waiting for a client\n`),
  })
}

/** The same name, by a CA that nobody knows: to see that it is refused. */
async function strangerLike({ id }: Credentials): Promise<Credentials> {
  const ca = await createCertificateAuthority({ trustDomain: id.trustDomain })
  const { csrPem, privateKey } = await createCertificateRequest(id)
  const { chain } = await ca.sign({ csrPem, id })
  return createCredentials({
    certificateChain: chain.slice(0, -1).join(''),
    privateKey,
    trustBundle: ca.rootPem,
    generation: 1,
  })
}

/** Rows as they come, in columns that are known before. */
function printer(cases: readonly ConformanceCase[], host: CliHost): { row(result: ConformanceResult): void } {
  const idWidth = Math.max(...cases.map(({ id }) => id.length))
  const requirementWidth = Math.max(...cases.map(({ requirement }) => requirement.length))
  const line = (
    ...[result = '', level = '', id = '', requirement = '', text = '']: readonly string[]
  ): string =>
    `${result.padEnd(6)}  ${level.padEnd(6)}  ${id.padEnd(idWidth)}  ${requirement.padEnd(requirementWidth)}  ${text}\n`
  let hasHead = false
  return {
    row: result => {
      // Not before there is something beneath it.
      if (!hasHead) host.stdout(line('RESULT', 'LEVEL', 'CASE', 'REQUIREMENT', 'WHAT'))
      hasHead = true
      const { level, id, requirement, title, detail } = result
      host.stdout(line(word(result), level, id, requirement, detail === '' ? title : `${title}: ${detail}`))
    },
  }
}

function list({ output, listen }: ConformanceOptions, host: CliHost): number {
  const cases = listen === undefined ? [...serverCases, ...clientCases] : clientCases
  const table = (): string =>
    formatTable([
      ['CASE', 'LEVEL', 'REQUIREMENT', 'WHAT'],
      ...cases.map(({ id, level, requirement, title }) => [id, level, requirement, title]),
    ])
  host.stdout(render(output, cases, table))
  return EXIT_OK
}

function word(result: ConformanceResult): string {
  if (result.outcome !== 'fail') return result.outcome
  return isBroken(result) ? 'FAIL' : 'warn'
}

function isBroken({ outcome, level }: ConformanceResult): boolean {
  return outcome === 'fail' && level === 'MUST'
}

function summary(results: readonly ConformanceResult[]): string {
  const count = (wanted: string): number => results.filter(result => word(result) === wanted).length
  return `${results.length} cases: ${count('pass')} passed, ${count('FAIL')} failed, ${count('warn')} warnings, ${count('skip')} skipped`
}
