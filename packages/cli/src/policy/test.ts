/** `ambient policy test`: does what is written in `*.policy-test.yaml` hold for the policies? */
import {
  type CoverageReport,
  type PolicyTestResult,
  type PolicyTestRun,
  runPolicyTests,
} from '@ambient/policy'
import { type Command, Option } from 'commander'
import { addCommand, collect, type CommandContext } from '../command-line.ts'
import { type CliHost, EXIT_FAILED, EXIT_OK } from '../host.ts'
import { OUTPUT_FORMATS, type OutputFormat, render } from '../output.ts'
import {
  COVERAGE_FORMATS,
  type CoverageFormat,
  coverageOf,
  giveCoverage,
  meetsThreshold,
  percentage,
} from './coverage-output.ts'
import { readTests, type TestsWithPolicies } from './find-tests.ts'
import { junitXml } from './junit.ts'

const EXAMPLES = `
Examples:
  $ ambient policy test                              every *.policy-test.yaml below this folder
  $ ambient policy test -f policies/ tests/
  $ ambient policy test --coverage --coverage-threshold 90
  $ ambient policy test --coverage=lcov -o junit > policy-tests.xml

A test says who asks (from), whom (to), for what (method, path, …), what is to
become of it (expect), and if it matters who decides (by):

  policies: [../policies]
  tests:
    - name: the shop reads
      from: shop/web
      to: items.shop:80
      method: GET
      path: /items/7
      expect: allow
      by: shop/items[rule 0]

Coverage: a rule counts when a test is matched by it, a clause when a test fails
at it, an alternative when a test is matched through it. Tests that fail count for
nothing. json and lcov are files (coverage/policy/, or --coverage-file).

Exit code 0: all passed; 1: a test failed, or less is covered than the threshold;
2: the command line or a document is wrong, or there are no tests.
`

interface TestOptions {
  readonly file?: readonly string[]
  readonly coverage?: CoverageFormat
  readonly coverageFile?: string
  readonly coverageThreshold?: number
  readonly output: OutputFormat | 'junit'
}

export function registerPolicyTest(policy: Command, context: CommandContext): void {
  addCommand(policy, 'test [paths...]', 'do the tests of the policies pass', context)
    .option('-f, --file <path>', 'policies: a file, a folder, or - for standard input (repeat)', collect)
    .addOption(
      new Option('--coverage [format]', 'what no test exercises').choices(COVERAGE_FORMATS).preset('text'),
    )
    .option('--coverage-file <file>', 'where to write it')
    .option('--coverage-threshold <percent>', 'fail when less is covered', percentage)
    .addOption(
      new Option('-o, --output <format>', 'how to print')
        .choices([...OUTPUT_FORMATS, 'junit'])
        .default('table'),
    )
    .addHelpText('after', EXAMPLES)
    .action(async (paths: readonly string[], options: TestOptions) =>
      context.finish(await test(paths, options, context.host)),
    )
}

async function test(paths: readonly string[], options: TestOptions, host: CliHost): Promise<number> {
  const files = await readTests(paths.length === 0 ? ['.'] : paths, options.file ?? [], host)
  const isTable = options.output === 'table'
  const runs = files.map(({ tests, documents }) => {
    const run = runPolicyTests(tests, documents)
    if (isTable) host.stdout(fileText(tests.file, run.results))
    return run
  })
  const results = runs.flatMap(run => run.results)
  const failed = results.filter(({ passed }) => !passed).length
  const isAsked = options.coverage !== undefined || options.coverageThreshold !== undefined
  const coverage = isAsked ? coverageOf(runs) : undefined
  if (options.output === 'junit') host.stdout(junitOf(files, runs))
  else
    host.stdout(
      render(options.output, factsOf(files, runs, coverage), () =>
        totalText(results.length, failed, files.length),
      ),
    )
  const print = (text: string): void => (isTable ? host.stdout(`\n${text}`) : host.stderr(text))
  if (coverage !== undefined && options.coverage !== undefined)
    await giveCoverage(coverage, options.coverage, options.coverageFile, host, print)
  const isEnough = coverage === undefined || meetsThreshold(coverage, options.coverageThreshold, host)
  return failed === 0 && isEnough ? EXIT_OK : EXIT_FAILED
}

function fileText(file: string, results: readonly PolicyTestResult[]): string {
  const lines = results.map(({ test, message }) => {
    if (message === undefined) return `  ok    ${test.name}\n`
    const { file: path, line, column } = test.position
    const why = message.split('\n').map(text => `        ${text}\n`)
    return `  FAIL  ${test.name}\n        at ${path}:${line}:${column}\n${why.join('')}`
  })
  return `${file}\n${lines.join('')}`
}

function totalText(total: number, failed: number, files: number): string {
  const passed = total - failed
  return `\n${passed} passed, ${failed} failed, in ${files} ${files === 1 ? 'file' : 'files'}\n`
}

function factsOf(
  files: readonly TestsWithPolicies[],
  runs: readonly PolicyTestRun[],
  coverage: CoverageReport | undefined,
): unknown {
  const results = runs.flatMap(run => run.results)
  const failed = results.filter(({ passed }) => !passed).length
  return {
    passed: results.length - failed,
    failed,
    files: runs.map((run, index) => ({
      file: files[index]?.tests.file,
      tests: run.results.map(({ test, passed, verdict, message }) => ({
        name: test.name,
        line: test.position.line,
        passed,
        dialect: test.dialect,
        request: test.request,
        expected: test.expected,
        // The whole trace is in the message of a test that failed.
        found: { ...verdict, trace: undefined },
        ...(message === undefined ? {} : { message }),
      })),
    })),
    ...(coverage === undefined ? {} : { coverage }),
  }
}

function junitOf(files: readonly TestsWithPolicies[], runs: readonly PolicyTestRun[]): string {
  const suites = runs.map((run, index) => {
    const file = files[index]?.tests.file ?? ''
    const cases = run.results.map(({ test, message }) => ({
      name: test.name,
      line: test.position.line,
      ...(message === undefined ? {} : { failure: message }),
    }))
    return { name: file, file, cases }
  })
  return junitXml('ambient policy test', suites)
}
