/** `ambient cert drill`: does rotation lose a request, and which certificates will run out? */
import { systemClock } from '@ambient/core'
import type { Command } from 'commander'
import { badValue, lifetime } from '../ca/values.ts'
import { addCommand, collect, type CommandContext, meshOption, outputOption } from '../command-line.ts'
import { CliError } from '../errors.ts'
import { stderrLogger } from '../hbone/stderr-logger.ts'
import { type CliHost, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK } from '../host.ts'
import { type OutputFormat, render } from '../output.ts'
import { withMesh } from '../session/target.ts'
import { formatAge, formatTable } from '../table.ts'
import {
  type Dated,
  type Forecast,
  forecast,
  readDatedFile,
  readDatedFolder,
  warnTime,
} from './drill-forecast.ts'
import { type DrillResult, type DrillStep, runDrill } from './drill-run.ts'

interface DrillCommandOptions {
  readonly file?: readonly string[]
  readonly dir?: readonly string[]
  readonly mesh?: string
  readonly warn: string
  readonly clients: string
  readonly stepTime: string
  readonly forecastOnly: boolean
  readonly verbose: boolean
  readonly output: OutputFormat
}

/** What programs read. */
interface DrillFacts {
  readonly ok: boolean
  readonly steps: readonly DrillStep[]
  readonly failed: number
  /** Of a CA that is broken from now on: when that would be told, and when it hurts. */
  readonly brokenCa?: { readonly warnFrom: string; readonly notAfter: string }
  readonly forecast: readonly Forecast[]
}

const MAX_CLIENTS = 64
const MAX_STEP_MS = 60_000

const EXAMPLES = `
Examples:
  $ ambient cert drill                            the drill: about ten seconds
  $ ambient cert drill --dir ca --dir web         and when these certificates expire
  $ ambient cert drill --forecast-only --file web/cert-chain.pem --warn 30d -o json
  $ ambient cert drill --forecast-only --mesh manifests/

The drill: a CA, an HBONE server and callers in this process, under load all
the time; leaf, intermediate and root (overlap, then cut) rotate, then the CA
breaks and comes back. Nothing outside the process is touched.

The forecast warns of a certificate with less than --warn left; or, of one that
lives shorter, with less than 40 % of its lifetime left: renewal was due at half.

Exit code 0: no request failed and nothing is warned of; 1: else.
`

export function registerCertDrill(cert: Command, context: CommandContext): void {
  addCommand(cert, 'drill', 'a rotation drill under load, and when certificates expire', context)
    .option('--file <file>', 'certificates to forecast: PEM or a SPIFFE bundle (repeat)', collect)
    .option('--dir <folder>', 'a folder of them, such as a CA (repeat)', collect)
    .addOption(meshOption())
    .option('--warn <duration>', 'how long before the end to warn', '7d')
    .option('--clients <number>', 'callers at once', '4')
    .option('--step-time <duration>', 'how long each step is under load, at least', '1s')
    .option('--forecast-only', 'no drill', false)
    .option('-v, --verbose', 'say more on standard error', false)
    .addOption(outputOption())
    .addHelpText('after', EXAMPLES)
    .action(async (options: DrillCommandOptions) => context.finish(await drill(options, context.host)))
}

async function drill(options: DrillCommandOptions, host: CliHost): Promise<number> {
  const warnMs = lifetime('--warn', options.warn)
  if (options.forecastOnly && (options.file ?? options.dir ?? options.mesh) === undefined)
    throw new CliError('AMBIENT_E_CLI_USAGE', '--forecast-only: --file, --dir or --mesh says of what')
  const limits = limitsOf(options)
  const dated = await readDated(options)
  const interrupted = new AbortController()
  const unsubscribe = host.onInterrupt(() => interrupted.abort())
  try {
    const logger = stderrLogger({ stderr: options.verbose ? host.stderr : () => {} }, options.verbose)
    const onStep = (what: string): void => host.stderr(`drill: ${what}\n`)
    const drilled = options.forecastOnly
      ? undefined
      : await runDrill({ ...limits, logger, onStep, signal: interrupted.signal })
    const facts = factsOf(drilled, dated, warnMs)
    host.stdout(render(options.output, facts, () => text(facts)))
    return facts.ok ? EXIT_OK : EXIT_FAILED
  } catch (error) {
    if (interrupted.signal.aborted) return EXIT_INTERRUPTED
    throw error
  } finally {
    unsubscribe()
  }
}

function factsOf(drilled: DrillResult | undefined, dated: readonly Dated[], warnMs: number): DrillFacts {
  const steps = drilled?.steps ?? []
  const failed = steps.reduce((sum, step) => sum + step.failed, 0)
  const rows = forecast(dated, warnMs, systemClock.now())
  const first = drilled === undefined ? undefined : soonest(drilled.held)
  return {
    ok: failed === 0 && rows.every(({ state }) => state === 'ok'),
    steps,
    failed,
    ...(first === undefined
      ? {}
      : {
          brokenCa: {
            warnFrom: new Date(warnTime(first, warnMs)).toISOString(),
            notAfter: new Date(first.notAfter).toISOString(),
          },
        }),
    forecast: rows,
  }
}

function soonest(held: readonly Dated[]): Dated | undefined {
  return [...held].sort((a, b) => a.notAfter - b.notAfter)[0]
}

function text({ steps, failed, brokenCa, forecast: rows }: DrillFacts): string {
  const parts: string[] = []
  if (steps.length > 0) parts.push(stepTable(steps), `${failed} failed requests\n`)
  if (brokenCa !== undefined)
    parts.push(
      `a CA that breaks now: certificates of a day last until ${brokenCa.notAfter}, and are warned of from ${brokenCa.warnFrom}\n`,
    )
  if (rows.length > 0) parts.push(`${parts.length > 0 ? '\n' : ''}${forecastTable(rows)}`)
  const warned = rows.filter(({ state }) => state !== 'ok').length
  if (rows.length > 0) parts.push(attention(warned))
  return parts.join('')
}

function attention(warned: number): string {
  if (warned === 0) return 'no certificate needs attention\n'
  return warned === 1 ? '1 certificate needs attention\n' : `${warned} certificates need attention\n`
}

function stepTable(steps: readonly DrillStep[]): string {
  return formatTable([
    ['STEP', 'REQUESTS', 'FAILED', 'SLOWEST', 'HANDSHAKES', 'ROOTS', 'WHAT'],
    ...steps.map(({ step, requests, failed, slowestMs, connections, roots, what, problem }) => [
      step,
      String(requests),
      String(failed),
      `${Math.round(slowestMs)}ms`,
      String(connections),
      String(roots),
      problem === undefined ? what : `${what}: ${problem}`,
    ]),
  ])
}

const STATES: Readonly<Record<Forecast['state'], string>> = {
  ok: 'ok',
  warning: 'WARNING',
  expired: 'EXPIRED',
}

function forecastTable(rows: readonly Forecast[]): string {
  const now = systemClock.now()
  return formatTable([
    ['STATE', 'EXPIRES', 'IN', 'WARNED FROM', 'KIND', 'WHO', 'WHERE'],
    ...rows.map(({ state, notAfter, warnFrom, isCa, who, where }) => {
      const leftMs = Date.parse(notAfter) - now
      return [
        STATES[state],
        notAfter,
        leftMs < 0 ? '-' : formatAge(leftMs),
        warnFrom,
        isCa ? 'CA' : 'leaf',
        who,
        where,
      ]
    }),
  ])
}

async function readDated({ file = [], dir = [], mesh }: DrillCommandOptions): Promise<readonly Dated[]> {
  const found: Dated[] = []
  for (const path of file) found.push(...(await readDatedFile(path)))
  for (const folder of dir) found.push(...(await readDatedFolder(folder)))
  if (mesh === undefined) return found
  const { proxies } = await withMesh(mesh, client => client.status())
  for (const { name, certificates } of proxies)
    for (const { identity, notBefore, notAfter } of certificates)
      if (notBefore !== undefined && notAfter !== undefined)
        found.push({ where: name, who: identity, isCa: false, notBefore, notAfter })
  return found
}

function limitsOf(options: DrillCommandOptions): { readonly clients: number; readonly stepMs: number } {
  const clients = /^[0-9]{1,3}$/.test(options.clients) ? Number(options.clients) : 0
  if (clients < 1 || clients > MAX_CLIENTS)
    throw badValue('--clients', `expected a whole number from 1 to ${MAX_CLIENTS}`)
  const stepMs = lifetime('--step-time', options.stepTime)
  if (stepMs > MAX_STEP_MS) throw badValue('--step-time', `at most ${MAX_STEP_MS / 1_000}s`)
  return { clients, stepMs }
}
