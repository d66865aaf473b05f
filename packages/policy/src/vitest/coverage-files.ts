/**
 * What tests exercise, on its way from the processes that run them to the one that reports: a file of lines per process and
 * thread, in a folder that exists only while somebody collects.
 */
import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { threadId } from 'node:worker_threads'
import { type CoverageItem, coverageKey } from '../coverage/items.ts'

/** Relative to the working directory, beside what other coverage tools write. */
export const COVERAGE_FOLDER = 'coverage/policy'

export interface CollectedCoverage {
  readonly items: readonly CoverageItem[]
  readonly counts: ReadonlyMap<string, number>
}

/** Empties the folder, and asks for collection until `takeCollected`. */
export function beginCollecting(folder: string): void {
  const lines = linesFolder(folder)
  rmSync(lines, { recursive: true, force: true })
  mkdirSync(lines, { recursive: true })
}

/** Where to write what is exercised, or nothing when nobody collects. */
export interface CoverageSink {
  /** What there is to exercise. */
  items(items: readonly CoverageItem[]): void
  exercised(items: readonly CoverageItem[]): void
}

export function openSink(folder: string): CoverageSink | undefined {
  const lines = linesFolder(folder)
  if (!existsSync(lines)) return undefined
  const file = join(lines, `${process.pid}-${threadId}.jsonl`)
  const write = (line: CoverageLine): void => appendFileSync(file, `${JSON.stringify(line)}\n`)
  return {
    items: items => write({ items: items.map(plainItem) }),
    exercised: items => write({ exercised: items.map(coverageKey) }),
  }
}

/** Everything that was written since `beginCollecting`; the folder of lines is gone then. */
export function takeCollected(folder: string): CollectedCoverage {
  const lines = linesFolder(folder)
  const items = new Map<string, CoverageItem>()
  const counts = new Map<string, number>()
  for (const name of existsSync(lines) ? readdirSync(lines).sort() : []) {
    for (const text of readFileSync(join(lines, name), 'utf8').split('\n').filter(Boolean)) {
      const line: CoverageLine = JSON.parse(text)
      for (const item of line.items ?? []) items.set(coverageKey(item), item)
      for (const key of line.exercised ?? []) counts.set(key, (counts.get(key) ?? 0) + 1)
    }
  }
  rmSync(lines, { recursive: true, force: true })
  return { items: [...items.values()], counts }
}

interface CoverageLine {
  readonly items?: readonly CoverageItem[]
  readonly exercised?: readonly string[]
}

function linesFolder(folder: string): string {
  return resolve(folder, '.exercised')
}

function plainItem({ kind, policy, rule, path, file, line, column }: CoverageItem): CoverageItem {
  const place = file === undefined || line === undefined || column === undefined ? {} : { file, line, column }
  return { kind, policy, rule, path, ...place }
}
