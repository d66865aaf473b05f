/** A reporter for Vitest: what of the policies no test of the run has exercised. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { coverageItems } from '../coverage/items.ts'
import { type CoverageReport, coverageLcov, coverageReport, formatCoverage } from '../coverage/report.ts'
import { beginCollecting, COVERAGE_FOLDER, takeCollected } from './coverage-files.ts'
import { type PolicyPath, readPolicyFiles } from './read-policy-files.ts'

export interface PolicyCoverageOptions {
  /** `text` is printed; `json` and `lcov` are files of the folder: `coverage.json`, `lcov.info`. Only text when absent. */
  readonly reports?: readonly ('text' | 'json' | 'lcov')[]
  /** Percent of all that there is to exercise; with less the run fails. */
  readonly threshold?: number
  /** Policies that count though no test has loaded them. */
  readonly include?: readonly PolicyPath[]
  /** `coverage/policy` when absent, relative to the working directory; not shared by runs at the same time. */
  readonly folder?: string
  /** Where text goes; standard output when absent. */
  readonly write?: (text: string) => void
}

/** The part of Vitest's reporters that is used: the same in its versions 3.2, 4 and 5. */
export interface PolicyCoverageReporter {
  onInit(): void
  onTestRunStart(): void
  onTestRunEnd(): void
}

/** For `test.reporters` of a Vitest configuration, beside others: `['default', policyCoverage({ threshold: 100 })]`. */
export function policyCoverage(options: PolicyCoverageOptions = {}): PolicyCoverageReporter {
  const { folder = COVERAGE_FOLDER, reports = ['text'], threshold, include = [] } = options
  const write = options.write ?? (text => void process.stdout.write(text))
  const begin = (): void => beginCollecting(folder)
  return {
    onInit: begin,
    onTestRunStart: begin,
    onTestRunEnd() {
      const { items, counts } = takeCollected(folder)
      const included = include.length === 0 ? [] : readPolicyFiles(include).authorizationPolicies
      const report = coverageReport([...included.flatMap(coverageItems), ...items], counts)
      if (reports.includes('text')) write(`\nPolicy coverage\n${formatCoverage(report)}`)
      if (reports.includes('json'))
        writeReport(folder, 'coverage.json', `${JSON.stringify(report, undefined, 2)}\n`)
      if (reports.includes('lcov')) writeReport(folder, 'lcov.info', coverageLcov(report))
      if (threshold !== undefined) checkThreshold(report, threshold, write)
    },
  }
}

function writeReport(folder: string, name: string, text: string): void {
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, name), text)
}

/** Vitest ends with the exit code that it finds. */
function checkThreshold({ summary }: CoverageReport, threshold: number, write: (text: string) => void): void {
  if (summary.all.percent >= threshold) return
  write(`\nERROR: policy coverage (${summary.all.percent} %) does not meet the threshold (${threshold} %)\n`)
  process.exitCode = 1
}
