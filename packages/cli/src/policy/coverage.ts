/** `ambient policy coverage`: what of the policies no test exercises, and nothing else. */
import { runPolicyTests } from '@ambient/policy'
import { type Command, Option } from 'commander'
import { addCommand, collect, type CommandContext } from '../command-line.ts'
import { type CliHost, EXIT_FAILED, EXIT_OK } from '../host.ts'
import { OUTPUT_FORMATS, type OutputFormat, render } from '../output.ts'
import { coverageOf, coverageText, meetsThreshold, percentage } from './coverage-output.ts'
import { readTests } from './find-tests.ts'

const EXAMPLES = `
Examples:
  $ ambient policy coverage
  $ ambient policy coverage -f policies/ tests/ --coverage-threshold 90
  $ ambient policy coverage -o lcov > lcov.info

A rule counts when a test is matched by it, a clause when a test fails at it, an
alternative when a test is matched through it. Tests that fail count for nothing.

Exit code 0: as printed; 1: a test failed, or less is covered than the threshold;
2: the command line or a document is wrong, or there are no tests.
`

interface CoverageOptions {
  readonly file?: readonly string[]
  readonly coverageThreshold?: number
  readonly output: OutputFormat | 'lcov'
}

export function registerPolicyCoverage(policy: Command, context: CommandContext): void {
  addCommand(policy, 'coverage [paths...]', 'what of the policies no test exercises', context)
    .option('-f, --file <path>', 'policies: a file, a folder, or - for standard input (repeat)', collect)
    .option('--coverage-threshold <percent>', 'fail when less is covered', percentage)
    .addOption(
      new Option('-o, --output <format>', 'how to print')
        .choices([...OUTPUT_FORMATS, 'lcov'])
        .default('table'),
    )
    .addHelpText('after', EXAMPLES)
    .action(async (paths: readonly string[], options: CoverageOptions) =>
      context.finish(await coverage(paths, options, context.host)),
    )
}

async function coverage(
  paths: readonly string[],
  { file = [], coverageThreshold, output }: CoverageOptions,
  host: CliHost,
): Promise<number> {
  const files = await readTests(paths.length === 0 ? ['.'] : paths, file, host)
  const runs = files.map(({ tests, documents }) => runPolicyTests(tests, documents))
  const report = coverageOf(runs)
  host.stdout(
    output === 'lcov'
      ? coverageText(report, 'lcov')
      : render(output, report, () => coverageText(report, 'text')),
  )
  const failed = runs.flatMap(({ results }) => results).filter(({ passed }) => !passed).length
  if (failed > 0)
    host.stderr(`${failed} ${failed === 1 ? 'test' : 'tests'} failed: \`ambient policy test\` says why\n`)
  const isEnough = meetsThreshold(report, coverageThreshold, host)
  return failed === 0 && isEnough ? EXIT_OK : EXIT_FAILED
}
