/** Reads the command line and hands over to a command. */
import { isAmbientError } from '@ambient/core'
import { Command, CommanderError } from 'commander'
import { addCommand, type CommandContext, outputOption, quiet } from './command-line.ts'
import { describeFailure } from './failure.ts'
import { type CliHost, EXIT_FAILED, EXIT_OK, EXIT_USAGE } from './host.ts'
import { registerCa } from './ca/command.ts'
import { registerCert } from './cert/command.ts'
import { registerConfig } from './config/command.ts'
import { registerConnect } from './connect.ts'
import { registerGet } from './get.ts'
import { registerHbone } from './hbone/command.ts'
import { registerLabel } from './label.ts'
import type { OutputFormat } from './output.ts'
import { registerPolicy } from './policy/command.ts'
import { registerRun } from './run-program.ts'
import { registerStatus } from './status.ts'
import { registerUp } from './up.ts'
import { ownVersion, printVersion } from './version.ts'
import { registerWaypoint } from './waypoint/command.ts'

const EXAMPLES = `
Examples:
  $ ambient up manifests/            run what the manifests say, meshed, until Ctrl-C
  $ ambient status                   what the proxies of the running mesh have acknowledged
  $ ambient run --as shop/web -- npm start
  $ ambient label ns shop istio.io/dataplane-mode=ambient
  $ ambient waypoint apply -n shop --enroll-namespace --wait
`

/** Errors that say that the command line, not the work, was wrong. */
const USAGE_ERRORS = [
  'AMBIENT_E_CLI_USAGE',
  'AMBIENT_E_CLI_DOCUMENTS',
  'AMBIENT_E_POLICY_REQUEST',
  'AMBIENT_E_MESH_OPTIONS',
]

/**
 * Runs one command. Never rejects.
 * @returns the exit code: 0, 1 when the command failed, 2 when the command line was not understood; of `run` the
 * program's.
 */
export async function runCli(args: readonly string[], host: CliHost): Promise<number> {
  let code = EXIT_OK
  const program = createProgram({
    host,
    finish: result => {
      code = result
    },
  })
  try {
    await program.parseAsync([...args], { from: 'user' })
    return code
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT_OK : EXIT_USAGE
    host.stderr(`${describeFailure(error)}\n`)
    return isAmbientError(error) && USAGE_ERRORS.includes(error.code) ? EXIT_USAGE : EXIT_FAILED
  }
}

function createProgram(context: CommandContext): Command {
  const { host } = context
  const program = quiet(new Command('ambient'), host)
    .description("Istio's ambient mesh without a cluster: workloads from manifests, meshed on this machine.")
    .version(ownVersion(), '-V, --version', 'print the version')
    .enablePositionalOptions()
    .addHelpText('after', EXAMPLES)
  registerUp(program, context)
  registerStatus(program, context)
  registerGet(program, context)
  registerRun(program, context)
  registerConnect(program, context)
  registerLabel(program, context)
  registerWaypoint(program, context)
  registerHbone(program, context)
  registerCa(program, context)
  registerCert(program, context)
  registerConfig(program, context)
  registerPolicy(program, context)
  addCommand(program, 'version', 'print versions', context)
    .addOption(outputOption())
    .addHelpText('after', '\nExamples:\n  $ ambient version\n  $ ambient version -o json\n')
    .action(({ output }: { output: OutputFormat }) => printVersion(output, host))
  return program
}
