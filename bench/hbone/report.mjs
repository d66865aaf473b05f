// The tables of a run.
import { median } from './statistics.mjs'
import { comparisons, memoryVerdicts, verdicts } from './verdict.mjs'

/** @param {string[][]} rows the first one is the head; the first column is text, the others are figures */
function table(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map(row => [...row[column]].length)))
  const line = row =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[column]) : cell.padStart(widths[column])))
      .join('  ')
  const [head, ...body] = rows
  return [line(head), widths.map(width => '-'.repeat(width)).join('  '), ...body.map(line)].join('\n')
}

const both = (values, digits = 0) =>
  values.length === 0 ? '-' : values.map(value => value.toFixed(digits)).join(' / ')

function figure(measure, results) {
  if (results === undefined) return '-'
  const shown = key => median(results.map(result => result[key])).toFixed(measure.digits)
  const text = measure.isLatency ? `${shown('p50')} / ${shown('value')}` : shown('value')
  return results.some(({ errors }) => errors > 0) ? `${text}!` : text
}

export function printFigures(rows, measures) {
  const title = measure =>
    measure.isLatency
      ? 'ping-pong p50 / p99 ms'
      : `${measure.title}${measure.unit === 'Gbit/s' ? ' Gbit/s' : ''}`
  const head = ['transport', 'Node', ...measures.map(title), 'RSS idle MB', 'RSS after MB', 'CPU s']
  const body = rows.map(row => [
    row.name,
    row.node === '' ? '-' : row.node,
    ...measures.map(measure => figure(measure, row.results[measure.key])),
    both(row.idleMb),
    both(row.afterMb),
    both(row.cpuSeconds, 1),
  ])
  console.log(`\nMedians (source / destination)\n\n${table([head, ...body])}`)
  if (body.some(cells => cells.some(cell => cell.endsWith('!'))))
    console.log('\n! connections failed meanwhile')
  for (const row of rows)
    for (const measure of measures) {
      const left = (row.results[measure.key] ?? []).reduce((sum, { leftOpen }) => sum + leftOpen, 0)
      if (left > 0)
        console.log(`\n${row.name} ${row.node}, ${measure.title}: ${left} connections stayed open`)
    }
}

/** CPU per work says more than the rate where four processes share few cores. */
export function printCost(rows, measures) {
  const costed = measures.filter(({ work }) => work !== undefined)
  const proxied = rows.filter(row => row.key !== 'direct')
  if (costed.length === 0 || proxied.length === 0) return
  const head = ['CPU ms, both proxies, per', ...costed.map(measure => `${measure.work} (${measure.title})`)]
  const body = proxied.map(row => [
    `${row.name} ${row.node}`,
    ...costed.map(({ key, perWork }) => {
      const costs = row.results[key]?.map(({ cpu, work }) => ((cpu[0] + cpu[1]) * 1000 * perWork) / work)
      return costs === undefined ? '-' : median(costs).toFixed(0)
    }),
  ])
  console.log(`\n${table([head, ...body])}`)
}

export function printMemory(memories) {
  const kb = values =>
    both(
      values.map(bytes => bytes / 1024),
      1,
    )
  const mb = values =>
    both(
      values.map(bytes => bytes / 1024 / 1024),
      1,
    )
  const head = [
    'idle, each',
    'sessions',
    'bare socket KB',
    'tunnel and socket KB',
    'of it heap KB',
    'heap left when closed KB',
  ]
  const body = memories.flatMap(({ version, idle }) =>
    idle.map(({ mode, counts, bare, tunnel, heap, left }) => [
      `Node ${version}, ${counts.tunnels} tunnels, ${mode}`,
      String(counts.sessions),
      kb(bare),
      kb(tunnel),
      kb(heap),
      kb(left),
    ]),
  )
  console.log(`\n${table([head, ...body])}`)
  for (const { version, churn, churned } of memories) {
    const steps = churned.map(({ rss, heap }, step) => [
      `Node ${version}, ${(churn * (step + 1)) / churned.length} opened and closed`,
      mb(rss),
      mb(heap),
    ])
    console.log(`\n${table([['churn', 'RSS MB', 'heap MB'], ...steps])}`)
  }
}

export function printVerdicts(rows, measures, memories, versions) {
  for (const version of versions) {
    const own = rows.filter(({ node }) => node === version)
    const lines = measures.flatMap(measure => verdicts(measure, own))
    lines.push(...comparisons(measures, rows, version))
    const memory = memories.find(entry => entry.version === version)
    if (memory !== undefined) lines.push(...memoryVerdicts(memory))
    if (lines.length === 0) continue
    const body = lines.map(({ what, is, wanted, ok, cpu = '-' }) => [
      what,
      is,
      wanted,
      ok === undefined ? '-' : ok ? 'met' : 'MISSED',
      cpu,
    ])
    console.log(`\n${table([[`Node ${version}`, 'ours', 'target', 'verdict', 'CPU for the same'], ...body])}`)
  }
}
