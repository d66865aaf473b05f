// HBONE beside direct TCP, a TCP pipe, a TLS pipe, a node:http2 CONNECT pair and the Rust ztunnel: rates, latency, memory, CPU.
import { writeFileSync } from 'node:fs'
import { cpus, loadavg } from 'node:os'
import { writeIdentities } from './hbone/identities.mjs'
import { durationMs, run } from './hbone/measures.mjs'
import { measureMemory, memorySeconds } from './hbone/memory.mjs'
import { HELP, readOptions } from './hbone/options.mjs'
import { direct, startPair } from './hbone/pairs.mjs'
import { noHostsReason, removeHosts } from './hbone/network.mjs'
import { cpuSeconds, endAll, residentMb, start, versionOf } from './hbone/processes.mjs'
import { printCost, printFigures, printMemory, printVerdicts } from './hbone/report.mjs'
import { ourZtunnel, rustZtunnel } from './hbone/ztunnels.mjs'

const options = optionsOrExit()
const identities = await writeIdentities()
process.on('exit', () => {
  endAll()
  identities.remove()
  removeHosts()
})
for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
])
  process.on(signal, () => process.exit(code))

let lastStep
const versions = options.nodes.map(versionOf)
const ztunnel = findZtunnel()
const say = text => process.stderr.write(`${text}\n`)
say(
  `${cpus()[0]?.model}, ${cpus().length} cores; Node ${versions.join(', ')}; about ${clock(plannedSeconds())}`,
)
const busy = loadavg()[0] ?? 0
if (busy > cpus().length / 4)
  say(
    `the machine is busy with other work (load ${busy.toFixed(1)}): trust CPU for the same work more than rates`,
  )

const app = start('app.mjs')
app.port = await app.call('listen')
const load = start('load.mjs')
const rows = options.measures.length === 0 ? [] : await startRows()
await measureRows()
const memories = options.memory ? await measureMemories() : []

if (process.stderr.isTTY) process.stderr.write('\r\x1b[K')
if (rows.length > 0) {
  printFigures(rows, options.measures)
  printCost(rows, options.measures)
}
if (memories.length > 0) printMemory(memories)
printVerdicts(rows, options.measures, memories, versions)
if (options.json !== undefined) writeFileSync(options.json, JSON.stringify(report(), undefined, 2))
process.exit(0)

function optionsOrExit() {
  try {
    const read = readOptions(process.argv.slice(2))
    if (!read.help) return read
    console.log(HELP)
    process.exit(0)
  } catch (error) {
    process.stderr.write(`${error.message}\n`)
    process.exit(2)
  }
}

/** The Rust ztunnel where there is one and hosts for it can be made. */
function findZtunnel() {
  const binary = process.env['ISTIO_ZTUNNEL']
  const reason = binary === undefined ? 'ISTIO_ZTUNNEL names none' : noHostsReason()
  if (reason === undefined) return binary
  process.stderr.write(`without the Rust ztunnel: ${reason}\n`)
  return undefined
}

/** Every pair stands from the beginning to the end, so that all meet the same machine. */
async function startRows() {
  const pairs = options.pairs.includes('direct') ? [direct(app.port)] : []
  for (const [index, node] of options.nodes.entries())
    for (const key of options.pairs.filter(name => name !== 'direct'))
      pairs.push(
        await startPair(key, { node, version: versions[index], folder: identities.folder, app: app.port }),
      )
  if (ztunnel !== undefined) {
    pairs.push(await rustZtunnel(ztunnel))
    for (const [index, node] of options.nodes.entries())
      pairs.push(await ourZtunnel({ node, version: versions[index] }))
  }
  const warmUp = { load, app, seconds: 0.2 }
  const warm = options.measures.find(({ counter }) => counter === 'requests')
  const idle = pairs.map(({ processes }) => processes.map(({ pid }) => residentMb(pid)))
  if (warm !== undefined) for (const pair of pairs) await run(warm, pair, warmUp)
  return pairs.map((pair, index) => ({ ...pair, idleMb: idle[index], results: {} }))
}

/** Neighbours in time are the same measurement of different pairs; each round begins with another pair. */
async function measureRows() {
  let left = plannedSeconds()
  for (let round = 0; round < options.rounds; round++) {
    const order = [...rows.slice(round % (rows.length || 1)), ...rows.slice(0, round % (rows.length || 1))]
    for (const measure of options.measures)
      for (const row of order) {
        progress(
          `round ${round + 1} of ${options.rounds}, ${measure.title}`,
          `, ${row.name} ${row.node}`,
          left,
        )
        row.results[measure.key] ??= []
        row.results[measure.key].push(await run(measure, row, { load, app, seconds: options.seconds }))
        left -= durationMs(measure, options.seconds) / 1000
      }
  }
  for (const row of rows) {
    row.afterMb = row.processes.map(({ pid }) => residentMb(pid))
    row.cpuSeconds = row.processes.map(({ pid }) => cpuSeconds(pid))
    for (const process of [...row.processes, row.load, row.app]) process?.end()
  }
}

async function measureMemories() {
  const memories = []
  for (const [index, node] of options.nodes.entries()) {
    progress(`memory, Node ${versions[index]}`, '', memorySeconds(options) * (options.nodes.length - index))
    const { tunnels, churn } = options
    const where = { node, version: versions[index], folder: identities.folder, app, load }
    memories.push(await measureMemory({ ...where, tunnels, churn }))
  }
  return memories
}

function plannedSeconds() {
  const proxied = options.pairs.filter(key => key !== 'direct').length * options.nodes.length
  const ztunnels = ztunnel === undefined ? 0 : 1 + options.nodes.length
  const pairs = proxied + ztunnels + (options.pairs.includes('direct') ? 1 : 0)
  const round = options.measures.reduce(
    (sum, measure) => sum + durationMs(measure, options.seconds) / 1000,
    0,
  )
  const memory = options.memory ? memorySeconds(options) * options.nodes.length : 0
  return pairs * (round * options.rounds + 0.5) + memory
}

/** One line that changes on a terminal; elsewhere a line for each step. */
function progress(step, detail, leftSeconds) {
  if (process.stderr.isTTY)
    process.stderr.write(`\r${`${step}${detail}, ${clock(leftSeconds)} left`.padEnd(100)}\x1b[K`)
  else if (step !== lastStep) say(`${step}, ${clock(leftSeconds)} left`)
  lastStep = step
}

function clock(seconds) {
  const whole = Math.max(0, Math.round(seconds))
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, '0')} min`
}

function report() {
  const figures = rows.map(({ key, name, node, idleMb, afterMb, cpuSeconds: cpu, results }) => ({
    key,
    name,
    node,
    idleMb,
    afterMb,
    cpuSeconds: cpu,
    results,
  }))
  return { versions, seconds: options.seconds, rounds: options.rounds, figures, memories }
}
