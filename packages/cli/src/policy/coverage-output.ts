/** What tests exercised, gathered over files, printed or written. */
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { messageOf, quoteText } from '@ambient/core'
import {
  addCounts,
  type CoverageItem,
  coverageLcov,
  type CoverageReport,
  coverageReport,
  formatCoverage,
  type PolicyTestRun,
} from '@ambient/policy'
import { InvalidArgumentError } from 'commander'
import { CliError } from '../errors.ts'
import type { CliHost } from '../host.ts'

export const COVERAGE_FORMATS = ['text', 'json', 'lcov'] as const
export type CoverageFormat = (typeof COVERAGE_FORMATS)[number]

/** Where files go that nobody named. */
const FILES: Readonly<Record<Exclude<CoverageFormat, 'text'>, string>> = {
  json: 'coverage/policy/coverage.json',
  lcov: 'coverage/policy/lcov.info',
}

/** `--coverage-threshold N`. */
export function percentage(value: string): number {
  const percent = /^\d{1,3}(\.\d+)?$/.test(value) ? Number(value) : -1
  if (percent < 0 || percent > 100) throw new InvalidArgumentError('expected a percentage from 0 to 100.')
  return percent
}

export function coverageOf(runs: readonly PolicyTestRun[]): CoverageReport {
  const counts = new Map<string, number>()
  const items: CoverageItem[] = []
  for (const run of runs) {
    addCounts(counts, run.exercised)
    items.push(...run.items)
  }
  return coverageReport(items, counts)
}

/** Text is printed by `print`; the other formats become a file, whose name is told on standard error. */
export async function giveCoverage(
  report: CoverageReport,
  format: CoverageFormat,
  file: string | undefined,
  host: CliHost,
  print: (text: string) => void,
): Promise<void> {
  const text = coverageText(report, format)
  const path = file ?? (format === 'text' ? undefined : FILES[format])
  if (path === undefined) return print(text)
  try {
    await mkdir(dirname(path), { recursive: true })
    await writeFile(path, text)
  } catch (cause) {
    throw new CliError('AMBIENT_E_CLI_WRITE', `${quoteText(path)} cannot be written: ${messageOf(cause)}`, {
      cause,
    })
  }
  host.stderr(`coverage is in ${path}\n`)
}

export function coverageText(report: CoverageReport, format: CoverageFormat): string {
  if (format === 'text') return formatCoverage(report)
  return format === 'lcov' ? coverageLcov(report) : `${JSON.stringify(report, undefined, 2)}\n`
}

/** Says on standard error when it is less. */
export function meetsThreshold(
  { summary }: CoverageReport,
  threshold: number | undefined,
  host: CliHost,
): boolean {
  if (threshold === undefined || summary.all.percent >= threshold) return true
  host.stderr(`coverage is ${summary.all.percent} %, less than the threshold of ${threshold} %\n`)
  return false
}
