// Certificates beside bare node:crypto: first ones for a crowd, chains verified, identities rotated, and how long the loop stood.
import { spawn } from 'node:child_process'
import { cpus, loadavg } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { cpuSeconds } from './hbone/processes.mjs'

const HELP = `node bench/identity.mjs [options]

One CA process and one of workloads, over gRPC and TLS on loopback; then verification and rotation in one process.

  --node PATH       under this Node as well (repeatable)
  --workloads N     that start at once, and that rotate (default 1000)
  --nodes N         node proxies that ask for them, each with a connection (default 10)
  --rounds N        of everything (default 3)
  --json            print figures of every round instead of tables
  --help
`

/** What each figure is to reach, on Node 24. */
const FIGURES = [
  { key: 'sign', title: 'node:crypto sign/s (P-256)', digits: 0 },
  { key: 'verify', title: 'node:crypto verify/s', digits: 0 },
  { key: 'first', title: 'first certificates of all, s', goal: 8, isTime: true, digits: 2 },
  { key: 'crowdCpu', title: 'CPU of the workloads’ process, s', digits: 2 },
  { key: 'caCpu', title: 'CPU of the CA, s', digits: 2 },
  { key: 'issued', title: 'certificates/s of the CA', digits: 0, of: 'sign' },
  { key: 'seen', title: 'chains seen before, verified/s', goal: 50_000, digits: 0, of: 'verify' },
  { key: 'fresh', title: 'new chains verified/s', goal: 500, digits: 0, of: 'verify' },
  { key: 'rotated', title: 'identities rotated/s, CA in process', digits: 0, of: 'sign' },
  { key: 'stall', title: 'worst stall of the event loop, ms', goal: 20, isTime: true, digits: 1 },
  { key: 'turn', title: 'CPU of its worst turn, ms', digits: 1 },
  { key: 'late', title: 'its p99.9, ms', digits: 1 },
]

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
  for (const node of options.nodesToRun) {
    process.stderr.write(`round ${round + 1} of ${options.rounds}, ${node}\n`)
    results.push({ round, ...(await measure(node)) })
  }
if (options.json) console.log(JSON.stringify(results, undefined, 2))
else for (const version of new Set(results.map(result => result.version))) print(version)
process.exit(0)

function optionsOrExit() {
  try {
    const { values } = parseArgs({
      options: {
        node: { type: 'string', multiple: true, default: [] },
        workloads: { type: 'string', default: '1000' },
        nodes: { type: 'string', default: '10' },
        rounds: { type: 'string', default: '3' },
        json: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    })
    if (values.help) {
      console.log(HELP)
      process.exit(0)
    }
    const count = name => {
      const value = Number(values[name])
      if (Number.isInteger(value) && value > 0 && value <= 100_000) return value
      throw new Error(`--${name} must be a whole number above 0, not ${values[name]}`)
    }
    return {
      nodesToRun: [process.execPath, ...values.node],
      workloads: count('workloads'),
      nodes: count('nodes'),
      rounds: count('rounds'),
      json: values.json,
    }
  } catch (error) {
    process.stderr.write(`${error.message}\n`)
    process.exit(2)
  }
}

/** Bare signatures first, then a CA and its crowd, then one process alone. */
async function measure(node) {
  const { version, ...bare } = await ask(start(node, 'bare.mjs'))
  const ca = start(node, 'ca.mjs')
  const { port, root } = await ask(ca)
  const { workloads, nodes } = options
  const crowd = await ask(start(node, 'crowd.mjs', String(port), root, String(workloads), String(nodes)))
  const caCpu = cpuSeconds(ca.pid)
  ca.kill()
  const alone = await ask(start(node, 'alone.mjs', String(workloads)))
  return { version, ...bare, ...crowd, caCpu, ...alone }
}

function start(node, program, ...args) {
  const file = fileURLToPath(new URL(`./identity/${program}`, import.meta.url))
  const child = spawn(node, [file, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
  children.add(child)
  child.on('exit', () => children.delete(child))
  return child
}

/** The one line that a program prints. */
async function ask(child) {
  let text = ''
  for await (const chunk of child.stdout) {
    text += chunk
    if (text.includes('\n')) return JSON.parse(text)
  }
  throw new Error('a program of the bench ended without an answer')
}

function print(version) {
  const rounds = results.filter(result => result.version === version)
  console.log(`\nNode ${version}, ${options.workloads} workloads, median of ${rounds.length}\n`)
  console.log('| figure | median | all | to node:crypto | goal |\n|---|--:|---|--:|---|')
  for (const { key, title, digits, goal, isTime, of } of FIGURES) {
    const values = rounds.map(round => round[key])
    if (values.includes(undefined)) continue
    const ratio = of === undefined ? '' : median(rounds.map(round => round[key] / round[of])).toFixed(3)
    const middle = median(values)
    const verdict =
      goal === undefined
        ? ''
        : `${isTime ? '≤' : '≥'} ${goal.toLocaleString('en-US')}: ${(isTime ? middle <= goal : middle >= goal) ? 'met' : 'missed'}`
    const shown = value =>
      value.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits })
    console.log(`| ${title} | ${shown(middle)} | ${values.map(shown).join(' ')} | ${ratio} | ${verdict} |`)
  }
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)]
}
