/** `ambient ca rotate-root`: the next step from an old root to a new one, with both believed in between. */
import { openCertificateAuthority, type RootRotation, type RootRotationStep } from '@ambient/identity'
import type { Command } from 'commander'
import { addCommand, type CommandContext, outputOption } from '../command-line.ts'
import { stderrLogger } from '../hbone/stderr-logger.ts'
import { type CliHost, EXIT_OK } from '../host.ts'
import { type OutputFormat, render } from '../output.ts'
import { badValue } from './values.ts'

interface RotateOptions {
  readonly dir: string
  readonly step?: string
  readonly output: OutputFormat
}

const STEPS: readonly RootRotationStep[] = ['add', 'sign', 'drop']

const SAID: Readonly<Record<RootRotationStep, string>> = {
  add: 'a new root is believed beside the old one, which still signs',
  sign: 'the new root signs; the old one is still believed',
  drop: 'the old root is not believed any more',
}

const EXAMPLES = `
Three steps, one for each call:
  add    a new root is believed; the old one still signs
  sign   the new root signs; the old one is still believed
  drop   the old root is not believed any more
Between two of them every workload needs a new certificate, because roots come
with certificates: wait for half their lifetime (12h of 24h) at least.

Examples:
  $ ambient ca rotate-root --dir ca
  $ ambient ca rotate-root --dir ca --step sign      only if it is the next one
`

export function registerCaRotateRoot(ca: Command, context: CommandContext): void {
  addCommand(ca, 'rotate-root', 'the next step to a new root', context)
    .requiredOption('--dir <folder>', 'the folder of the CA')
    .option('--step <step>', 'add, sign or drop (default: the next one)')
    .addOption(outputOption())
    .addHelpText('after', EXAMPLES)
    .action(async (options: RotateOptions) => context.finish(await rotate(options, context.host)))
}

async function rotate({ dir, step, output }: RotateOptions, host: CliHost): Promise<number> {
  const wanted = STEPS.find(known => known === step)
  if (step !== undefined && wanted === undefined) throw badValue('--step', `expected ${STEPS.join(', ')}`)
  const ca = await openCertificateAuthority({ dir, logger: stderrLogger(host, false) })
  try {
    const done = await ca.rotateRoot(wanted)
    host.stdout(render(output, done, () => sentence(done)))
  } finally {
    await ca.close()
  }
  return EXIT_OK
}

function sentence({ step, next, roots }: RootRotation): string {
  const after = step === 'drop' ? '' : `; next: ${next}`
  return `${step}: ${SAID[step]} (${roots} ${roots === 1 ? 'root' : 'roots'} in root-cert.pem)${after}\n`
}
