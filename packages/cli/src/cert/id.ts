/** `ambient cert id`: are these SPIFFE IDs, and which rule do they break? */
import { text as textOf } from 'node:stream/consumers'
import { messageOf, quoteText, readSpiffeId, type SpiffeIdCode } from '@ambient/core'
import type { Command } from 'commander'
import { addCommand, type CommandContext, outputOption } from '../command-line.ts'
import { CliError } from '../errors.ts'
import { type CliHost, EXIT_FAILED, EXIT_OK } from '../host.ts'
import { type OutputFormat, render } from '../output.ts'
import { formatTable } from '../table.ts'

const EXAMPLES = `
Examples:
  $ ambient cert id spiffe://cluster.local/ns/shop/sa/web spiffe://TD/x
  $ echo '["spiffe://td/a", "spiffe://td/a/"]' | ambient cert id - -o json

With - the IDs are a JSON array of strings on standard input: one answer for
each, in order, and exit code 0. Otherwise exit code 1 says that one is none.
`

/** What programs read. */
interface IdAnswer {
  readonly ok: boolean
  readonly code?: SpiffeIdCode | 'not-a-string'
}

interface JudgedId {
  readonly text: unknown
  readonly answer: IdAnswer
  readonly reason: string
}

export function registerCertId(cert: Command, context: CommandContext): void {
  addCommand(cert, 'id', 'are these SPIFFE IDs, and if not, why', context)
    .argument('<ids...>', 'texts, or - for a JSON array of strings on standard input')
    .addOption(outputOption())
    .addHelpText('after', EXAMPLES)
    .action(async (ids: readonly string[], { output }: { output: OutputFormat }) =>
      context.finish(await judgeIds(ids, output, context.host)),
    )
}

async function judgeIds(ids: readonly string[], output: OutputFormat, host: CliHost): Promise<number> {
  const isPiped = ids.length === 1 && ids[0] === '-'
  const judged = (isPiped ? await readTexts(host) : ids).map(judgeId)
  const answers = judged.map(({ answer }) => answer)
  host.stdout(render(output, answers, () => table(judged)))
  return isPiped || answers.every(({ ok }) => ok) ? EXIT_OK : EXIT_FAILED
}

async function readTexts(host: CliHost): Promise<readonly unknown[]> {
  let read: unknown
  try {
    read = JSON.parse(await textOf(host.input))
  } catch (cause) {
    throw new CliError('AMBIENT_E_CLI_INPUT', `standard input is no JSON: ${messageOf(cause)}`, { cause })
  }
  if (Array.isArray(read)) return read
  throw new CliError('AMBIENT_E_CLI_INPUT', 'standard input: expected a JSON array of strings')
}

function judgeId(text: unknown): JudgedId {
  if (typeof text !== 'string')
    return { text, answer: { ok: false, code: 'not-a-string' }, reason: 'not a string' }
  const read = readSpiffeId(text)
  if (!read.ok) return { text, answer: { ok: false, code: read.code }, reason: read.reason }
  return { text, answer: { ok: true }, reason: read.id.path === '' ? 'names a trust domain' : '' }
}

function table(judged: readonly JudgedId[]): string {
  return formatTable([
    ['RESULT', 'CODE', 'ID', 'REASON'],
    ...judged.map(({ text, answer: { ok, code }, reason }) => [
      ok ? 'ok' : 'FAIL',
      code ?? '-',
      typeof text === 'string' ? quoteText(text) : String(JSON.stringify(text)),
      reason,
    ]),
  ])
}
