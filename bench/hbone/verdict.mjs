// The targets against one run: a line per target that was measured.
import { ratio } from './statistics.mjs'

const IDLE_TUNNEL_BYTES = 4096
/** What a heap may differ by after the same work was done again: caches that were not full yet. */
const GROWTH_BYTES = 2 << 20

/** Our ztunnel to the Rust one, where both were measured: a goal beyond HBONE, so nothing is asked of it. */
export function comparisons(measures, rows, version) {
  const rust = rows.find(({ key }) => key === 'rust')
  const ours = rows.find(({ key, node }) => key === 'ztunnel' && node === version)
  if (rust === undefined || ours === undefined) return []
  return measures.map(({ key, title }) => ({
    what: `${title}, our ztunnel : the Rust one`,
    is: `${ratio(valuesOf(ours.results[key]), valuesOf(rust.results[key])).toFixed(2)} ×`,
    wanted: '-',
    cpu: `${ratio(costsOf(ours.results[key]), costsOf(rust.results[key])).toFixed(2)} ×`,
  }))
}

/** @returns {{ what: string, is: string, wanted: string, ok: boolean, cpu: string }[]} */
export function verdicts(measure, rowsOfNode) {
  const of = key => rowsOfNode.find(row => row.key === key)?.results[measure.key]
  const ours = of('ours')
  const lines = []
  for (const [key, name] of [
    ['h2', 'node:http2'],
    ['tls', 'TLS pipe'],
  ]) {
    const other = of(key)
    if (measure[key] === undefined || ours === undefined || other === undefined) continue
    const found = ratio(valuesOf(ours), valuesOf(other))
    const ok = measure.isLatency ? found < measure[key] : found >= measure[key]
    const wanted = `${measure.isLatency ? '<' : '≥'} ${measure[key]} ×`
    const cpu = `${ratio(costsOf(ours), costsOf(other)).toFixed(2)} ×`
    lines.push({ what: `${measure.title} : ${name}`, is: `${found.toFixed(2)} ×`, wanted, ok, cpu })
  }
  return lines
}

const valuesOf = results => results.map(({ value }) => value)
/** CPU of both proxies for the same work. */
const costsOf = results => results.map(({ cpu, work }) => (cpu[0] + cpu[1]) / work)

export function memoryVerdicts({ idle, tunnels, churn, churned }) {
  const kb = bytes => `${(bytes / 1024).toFixed(1)} KB`
  const ends = ['source', 'destination']
  const extra = idle.flatMap(({ mode, tunnel, bare }) =>
    ends.map((end, index) => {
      const bytes = tunnel[index] - bare[index]
      return {
        what: `idle tunnel above a bare socket (${tunnels}), ${end}, ${mode}`,
        is: kb(bytes),
        wanted: `≤ ${kb(IDLE_TUNNEL_BYTES)}`,
        ok: bytes <= IDLE_TUNNEL_BYTES,
      }
    }),
  )
  const growth = ends.map((end, index) => {
    const grown = churned.at(-1).heap[index] - churned[0].heap[index]
    return {
      what: `heap growth over ${churn} tunnels, ${end}`,
      is: kb(grown),
      wanted: `≤ ${kb(GROWTH_BYTES)}`,
      ok: grown <= GROWTH_BYTES,
    }
  })
  return [...extra, ...growth]
}
