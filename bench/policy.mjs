// Decisions of the index beside a scan over the same policies: rates, memory, load, and one policy more.
import { spawn } from 'node:child_process'
import { cpus, loadavg } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const HELP = `node bench/policy.mjs [options]

Policies of ten rules each, all for one workload (ztunnel) or one service (envoy-http). Each figure in a process of its own.

  --node PATH       under this Node as well (repeatable)
  --dialect NAME    ztunnel or envoy-http (default both)
  --policies LIST   how many (default 1,100,10000)
  --rounds N        of everything (default 3)
  --seconds N       of each measurement (default 1)
  --json            print figures of every round instead of tables
  --help

AMBIENT_BENCH_ZTUNNEL_NS='{"1":{"hit":…,"miss":…,"deny":…},"100":…}' shows what ztunnel's own matcher took, in nanoseconds, beside ours.
`

const DIALECTS = ['ztunnel', 'envoy-http']
const CASES = ['hit', 'miss', 'deny']
const GOAL = Object.freeze({
  nanoseconds: 16_000,
  toScan: 200,
  toOne: 3,
  loadMs: 1_500,
  heapMb: 150,
  addMs: 1,
})

const options = optionsOrExit()
const children = new Set()
process.on('exit', () => {
  for (const child of children) child.kill()
})
for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
])
  process.on(signal, () => process.exit(code))

process.stderr.write(`${cpus()[0]?.model}, ${cpus().length} cores, load ${loadavg()[0]?.toFixed(1)}\n`)
const results = []
for (let round = 0; round < options.rounds; round += 1)
  for (const node of options.nodes)
    for (const dialect of options.dialects) {
      process.stderr.write(`round ${round + 1} of ${options.rounds}, ${dialect}, ${node}\n`)
      for (const count of options.policies)
        results.push({
          what: 'decide',
          dialect,
          count,
          ...(await ask(node, 'decide.mjs', dialect, count, options.seconds)),
        })
      const most = Math.max(...options.policies)
      results.push({ what: 'load', dialect, count: most, ...(await ask(node, 'load.mjs', dialect, most)) })
    }
if (options.json) console.log(JSON.stringify(results, undefined, 2))
else
  for (const version of new Set(results.map(result => result.version)))
    print(results.filter(result => result.version === version))
process.exit(0)

function optionsOrExit() {
  try {
    const { values } = parseArgs({
      options: {
        node: { type: 'string', multiple: true, default: [] },
        dialect: { type: 'string', multiple: true, default: [] },
        policies: { type: 'string', default: '1,100,10000' },
        rounds: { type: 'string', default: '3' },
        seconds: { type: 'string', default: '1' },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    })
    if (values.help) {
      console.log(HELP)
      process.exit(0)
    }
    const number = (name, text, most) => {
      const value = Number(text)
      if (value > 0 && value <= most) return value
      throw new Error(`--${name} must be a number above 0 and at most ${most}, not ${text}`)
    }
    const unknown = values.dialect.find(dialect => !DIALECTS.includes(dialect))
    if (unknown !== undefined)
      throw new Error(`--dialect must be one of ${DIALECTS.join(', ')}, not ${unknown}`)
    return {
      nodes: [process.execPath, ...values.node],
      dialects: values.dialect.length === 0 ? DIALECTS : values.dialect,
      policies: values.policies.split(',').map(text => number('policies', text, 20_000)),
      rounds: number('rounds', values.rounds, 100),
      seconds: number('seconds', values.seconds, 60),
      json: values.json,
    }
  } catch (error) {
    process.stderr.write(`${error.message}\n`)
    process.exit(2)
  }
}

/** The one line that a program prints. */
async function ask(node, program, ...args) {
  const file = fileURLToPath(new URL(`./policy/${program}`, import.meta.url))
  // A young generation that is never collected within a measurement shows every byte that a decision makes.
  const flags = ['--expose-gc', ...(program === 'decide.mjs' ? ['--min-semi-space-size=64'] : [])]
  const child = spawn(node, [...flags, file, ...args.map(String)], { stdio: ['ignore', 'pipe', 'inherit'] })
  children.add(child)
  child.on('exit', () => children.delete(child))
  let text = ''
  for await (const chunk of child.stdout) text += chunk
  if (!text.includes('\n')) throw new Error('a program of the bench ended without an answer')
  return JSON.parse(text)
}

function print(of) {
  console.log(`\nNode ${of[0].version}, medians of ${options.rounds}\n`)
  console.log(
    '| dialect | policies | case | ns | decisions/s | to a scan | to 1 policy | bytes | ztunnel’s scan |',
  )
  console.log('|---|--:|---|--:|--:|--:|--:|--:|--:|')
  const theirs = JSON.parse(process.env.AMBIENT_BENCH_ZTUNNEL_NS ?? '{}')
  const verdicts = []
  for (const dialect of options.dialects)
    for (const count of options.policies)
      for (const name of CASES) {
        const figure = at => figuresOf(of, dialect, at).map(figures => figures[name])
        const own = median(figure(count).map(one => one.own))
        const toScan = median(figure(count).map(one => one.scan / one.own))
        const toOne = own / median(figure(Math.min(...options.policies)).map(one => one.own))
        const bytes = median(figure(count).map(one => one.bytes))
        const peer = dialect === 'ztunnel' ? theirs[count]?.[name] : undefined
        const cells = [
          own.toFixed(0),
          whole(1e9 / own),
          `${whole(toScan)} ×`,
          `${toOne.toFixed(1)} ×`,
          bytes.toFixed(0),
        ]
        console.log(
          `| ${[dialect, whole(count), name, ...cells, peer === undefined ? '' : `${whole(peer / own)} ×`].join(' | ')} |`,
        )
        if (count === Math.max(...options.policies))
          verdicts.push(
            [`${dialect} ${name}: ≤ ${GOAL.nanoseconds} ns`, own <= GOAL.nanoseconds],
            [`${dialect} ${name}: ≥ ${GOAL.toScan} × a scan`, toScan >= GOAL.toScan],
            [`${dialect} ${name}: ≤ ${GOAL.toOne} × the time at one`, toOne <= GOAL.toOne],
          )
      }
  printLoads(of, verdicts)
  console.log(
    `\nGoals at ${whole(Math.max(...options.policies))}: ${verdicts.filter(([, met]) => met).length} of ${verdicts.length} met`,
  )
  for (const [goal, met] of verdicts) if (!met) console.log(`missed: ${goal}`)
}

function printLoads(of, verdicts) {
  const loads = of.filter(({ what }) => what === 'load')
  console.log(
    '\n| dialect | policies | load, ms | its CPU | heap, MB | one added, ms | worst | one removed | replaced whole | YAML of all, ms |',
  )
  console.log('|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|')
  for (const dialect of options.dialects) {
    const own = loads.filter(load => load.dialect === dialect)
    const middle = key => median(own.map(load => load[key]))
    const shown = (key, digits) => (own[0][key] === undefined ? '' : middle(key).toFixed(digits))
    console.log(
      `| ${dialect} | ${whole(own[0].count)} | ${shown('loadMs', 0)} | ${shown('loadCpuMs', 0)} | ${shown('heapMb', 0)} | ${shown('addMs', 3)} | ${shown('addWorstMs', 2)} | ${shown('removeMs', 3)} | ${shown('replaceMs', 2)} | ${shown('yamlMs', 0)} |`,
    )
    verdicts.push(
      [`${dialect}: loaded in ≤ ${GOAL.loadMs} ms`, middle('loadMs') <= GOAL.loadMs],
      [`${dialect}: ≤ ${GOAL.heapMb} MB`, middle('heapMb') <= GOAL.heapMb],
      [`${dialect}: one added in ≤ ${GOAL.addMs} ms`, middle('addMs') <= GOAL.addMs],
    )
  }
}

function figuresOf(of, dialect, count) {
  return of
    .filter(result => result.what === 'decide' && result.dialect === dialect && result.count === count)
    .map(({ figures }) => figures)
}

function whole(value) {
  return value.toLocaleString('en-US', { maximumFractionDigits: 0 })
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)]
}
