/** Reads the command line and hands over to a command. */
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander'
import { type CliHost, EXIT_FAILED, EXIT_OK, EXIT_USAGE } from './host.ts'
import { describeFailure } from './failure.ts'
import { up, type UpOptions } from './up.ts'
import { printVersion } from './version.ts'

const EXAMPLES = `
Examples:
  $ ambient up manifests/            run what the manifests say, meshed, until Ctrl-C
  $ ambient up manifests/ -o json    the same, one JSON line per event
  $ ambient version
`

const UP_EXAMPLES = `
Examples:
  $ ambient up examples/01-bookinfo/manifests
  $ ambient up manifests --node a --node b --node c
  $ ambient up manifests --without policy.yaml
  $ ambient up manifests -o json | jq -r 'select(.kind == "problems")'

While it runs, edit the manifests: good ones are taken at once, bad ones are
reported as file:line:column and the last good configuration goes on.
`

/**
 * Runs one command. Never rejects.
 * @returns the exit code: 0, 1 when the command failed, 2 when the command line was not understood.
 */
export async function runCli(args: readonly string[], host: CliHost): Promise<number> {
  let code = EXIT_OK
  const program = createProgram(host, result => {
    code = result
  })
  try {
    await program.parseAsync([...args], { from: 'user' })
    return code
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT_OK : EXIT_USAGE
    host.stderr(`${describeFailure(error)}\n`)
    return EXIT_FAILED
  }
}

function createProgram(host: CliHost, finish: (code: number) => void): Command {
  const program = new Command('ambient')
    .description("Istio's ambient mesh without a cluster: workloads from manifests, meshed on this machine.")
    .addHelpText('after', EXAMPLES)
  quiet(program, host)
  const output = (): Option =>
    new Option('-o, --output <format>', 'how to print').choices(['table', 'json']).default('table')
  quiet(program.command('up'), host)
    .description('run a folder of manifests as a mesh, and follow its changes')
    .argument('<folder>', 'folder of YAML or JSON manifests; programs start in it')
    .option(
      '--node <name>',
      'a node, each with a ztunnel of its own (repeat; default node-a, node-b)',
      collect,
    )
    .option('--without <file>', 'a manifest to leave out (repeat)', collect)
    .option('--no-watch', 'do not follow changes of the folder')
    .option('--block <number>', 'use addresses 127.NUMBER.0.0/16 (default: a free block)', wholeNumber)
    .option('--log-level <filter>', "the ztunnels' log filter, as their RUST_LOG", 'info')
    .option('--no-logs', "do not print the programs' output")
    .addOption(output())
    .addHelpText('after', UP_EXAMPLES)
    .action(async (folder: string, options: UpOptions) => finish(await up(folder, options, host)))
  quiet(program.command('version'), host)
    .description('print versions')
    .addOption(output())
    .action(({ output: format }: { output: 'table' | 'json' }) => printVersion(format, host))
  return program
}

/** Errors are one line; nothing exits the process by itself. */
function quiet(command: Command, host: CliHost): Command {
  return command
    .exitOverride()
    .allowExcessArguments(false)
    .showSuggestionAfterError(true)
    .configureOutput({
      writeOut: text => host.stdout(text),
      writeErr: text => host.stderr(text),
      outputError: (text, write) => write(`${text.trim().replace(/\s*\n\s*/g, ' ')}\n`),
    })
}

function collect(value: string, previous: readonly string[] | undefined): readonly string[] {
  return [...(previous ?? []), value]
}

function wholeNumber(value: string): number {
  if (!/^[0-9]{1,3}$/.test(value)) throw new InvalidArgumentError('expected a whole number from 1 to 254.')
  return Number(value)
}
