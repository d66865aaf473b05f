/** What tests exercised and what they did not: for people, for programs, and for tools that show lines. */
import { type CoverageItem, type CoverageKind, coverageKey } from './items.ts'
import type { CoverageCounts } from './recorder.ts'

export interface CoverageReport {
  readonly summary: CoverageSummary
  readonly policies: readonly PolicyCoverage[]
}

export interface CoverageSummary {
  readonly rules: CoverageShare
  readonly clauses: CoverageShare
  readonly alternatives: CoverageShare
  /** All of them: what thresholds are about. */
  readonly all: CoverageShare
}

export interface CoverageShare {
  readonly total: number
  readonly covered: number
  /** Two decimals, rounded down; 100 when there is nothing to exercise. */
  readonly percent: number
}

export interface PolicyCoverage {
  /** `namespace/name`. */
  readonly policy: string
  readonly file?: string
  readonly summary: CoverageSummary
  readonly items: readonly (Pick<CoverageItem, 'kind' | 'rule' | 'path' | 'line' | 'column'> & {
    /** How many tests exercised it. */
    readonly count: number
  })[]
}

/** Policies by file and line, the same item of the same file once, whoever read it. */
export function coverageReport(items: readonly CoverageItem[], counts: CoverageCounts): CoverageReport {
  const unique = [...new Map(items.map(item => [coverageKey(item), item])).values()]
  const groups = new Map<string, CoverageItem[]>()
  for (const item of unique) {
    const key = JSON.stringify([item.file ?? '', item.policy])
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [item])
    else group.push(item)
  }
  const policies = [...groups.values()].map(group => policyCoverage(group, counts)).sort(byPlace)
  return { summary: summaryOf(policies.flatMap(policy => policy.items)), policies }
}

/** A table, and what no test exercises with its place. Stable text. */
export function formatCoverage(report: CoverageReport): string {
  const rows = [
    ['POLICY', 'RULES', 'CLAUSES', 'ALTERNATIVES', 'COVERED'],
    ...report.policies.map(({ policy, summary }) => rowOf(policy, summary)),
    rowOf('all', report.summary),
  ]
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map(row => row[column]?.length ?? 0))) ?? []
  const table = rows.map(row => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ').trimEnd())
  const missing = report.policies.flatMap(policy =>
    policy.items
      .filter(({ count }) => count === 0)
      .sort((a, b) => (a.line ?? 0) - (b.line ?? 0))
      .map(({ kind, path, line, column }) => {
        const place = line === undefined ? '' : `${policy.file}:${line}:${column}: `
        return `${place}${policy.policy} ${path}: ${WHY[kind]}`
      }),
  )
  return [...table, ...(missing.length === 0 ? [] : ['', ...missing]), ''].join('\n')
}

const WHY: Readonly<Record<CoverageKind, string>> = {
  rule: 'no test is matched by it',
  clause: 'no test fails at it',
  alternative: 'no test matches through it',
}

/** The lines of the files, as `genhtml`, editors and CI services read them: rules are functions, alternatives branches. */
export function coverageLcov(report: CoverageReport): string {
  const files = new Map<string, PolicyCoverage[]>()
  for (const policy of report.policies) {
    if (policy.file === undefined) continue
    files.set(policy.file, [...(files.get(policy.file) ?? []), policy])
  }
  return [...files].map(([file, policies]) => lcovRecord(file, policies)).join('')
}

function policyCoverage(items: readonly CoverageItem[], counts: CoverageCounts): PolicyCoverage {
  const counted = items.map(item => {
    const { kind, rule, path, line, column } = item
    const place = line === undefined || column === undefined ? {} : { line, column }
    return { kind, rule, path, ...place, count: counts.get(coverageKey(item)) ?? 0 }
  })
  const [first] = items
  return {
    policy: first?.policy ?? '',
    ...(first?.file === undefined ? {} : { file: first.file }),
    summary: summaryOf(counted),
    items: counted,
  }
}

type Counted = PolicyCoverage['items'][number]

function summaryOf(items: readonly Counted[]): CoverageSummary {
  const of = (kind: CoverageKind): CoverageShare => shareOf(items.filter(item => item.kind === kind))
  return { rules: of('rule'), clauses: of('clause'), alternatives: of('alternative'), all: shareOf(items) }
}

function shareOf(items: readonly Counted[]): CoverageShare {
  const covered = items.filter(({ count }) => count > 0).length
  const percent = items.length === 0 ? 100 : Math.floor((covered / items.length) * 10_000) / 100
  return { total: items.length, covered, percent }
}

function rowOf(name: string, { rules, clauses, alternatives, all }: CoverageSummary): string[] {
  const fraction = ({ covered, total }: CoverageShare): string => `${covered}/${total}`
  return [name, fraction(rules), fraction(clauses), fraction(alternatives), `${all.percent} %`]
}

function byPlace(a: PolicyCoverage, b: PolicyCoverage): number {
  const [left, right] = [a.file ?? '', b.file ?? '']
  if (left !== right) return left < right ? -1 : 1
  return (a.items[0]?.line ?? 0) - (b.items[0]?.line ?? 0) || (a.policy < b.policy ? -1 : 1)
}

/** A line counts as often as the item on it that was exercised least. */
function lcovRecord(file: string, policies: readonly PolicyCoverage[]): string {
  const placed = policies.flatMap(({ policy, items }) => items.map(item => ({ ...item, policy, line: item.line ?? 1 })))
  const lines = new Map<number, number>()
  for (const { line, count } of placed) lines.set(line, Math.min(count, lines.get(line) ?? count))
  const rules = placed.filter(({ kind }) => kind === 'rule')
  const alternatives = placed.filter(({ kind }) => kind === 'alternative')
  const nameOf = ({ policy, rule }: { readonly policy: string; readonly rule: number }): string =>
    `${policy}[rule ${rule}]`
  return [
    'TN:',
    `SF:${file}`,
    ...rules.map(item => `FN:${item.line},${nameOf(item)}`),
    ...rules.map(item => `FNDA:${item.count},${nameOf(item)}`),
    `FNF:${rules.length}`,
    `FNH:${rules.filter(({ count }) => count > 0).length}`,
    ...alternatives.map((item, index) => `BRDA:${item.line},${item.rule},${index},${item.count}`),
    `BRF:${alternatives.length}`,
    `BRH:${alternatives.filter(({ count }) => count > 0).length}`,
    ...[...lines].sort(([a], [b]) => a - b).map(([line, count]) => `DA:${line},${count}`),
    `LF:${lines.size}`,
    `LH:${[...lines.values()].filter(count => count > 0).length}`,
    'end_of_record',
    '',
  ].join('\n')
}
