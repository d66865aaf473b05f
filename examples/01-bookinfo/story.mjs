// What the steps of the demo share: the mesh, its manifests, probes that run as one of its pods, and what its proxies log.
import { readFile, writeFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

/** Between two looks at something that tells nobody when it changes. */
const POLL_MS = 20

/** The name of the waypoint's Gateway. */
const WAYPOINT = 'bookinfo/waypoint'

export function createStory({ mesh, ledger, requests, collector, signal }) {
  const until = createUntil(signal)
  const story = {
    mesh,
    ledger,
    requests,
    collector,
    /** Kept from one check for a later one; `need` fails when the earlier one did. */
    kept: new Map(),
    keep: (name, value) => void story.kept.set(name, value),
    need(name) {
      if (!story.kept.has(name)) throw new Error(`an earlier check failed: there is no ${name}`)
      return story.kept.get(name)
    },
    pods: app => mesh.pods.filter(pod => pod.labels.app === app),
    pod(app, isWanted = () => true) {
      const found = mesh.pods.find(pod => pod.labels.app === app && isWanted(pod))
      if (found === undefined) throw new Error(`there is no such pod of ${app}`)
      return found
    },
    /** The load generator on another node than `app`, so that what passes crosses between nodes. */
    across: app => story.pod('loadgen', pod => pod.node !== story.pod(app).node),
    waypoint: () => mesh.waypoint(WAYPOINT),
    /** Which process each app is. */
    appPids: () => mesh.pods.map(pod => `${pod.name}:${pod.pid}`).join(' '),
    run: async (pod, probe, args) => (await runAs(mesh, pod, ['node', `../probes/${probe}`, ...args]))[0],
    many: (pod, url, options) => manyAs(story, pod, url, options),
    grpc: (pod, target) => story.run(pod, 'grpc.mjs', [target]),
    get: (pod, url, count = 1, pauseMs = 0) => getAs(mesh, pod, url, count, pauseMs),
    db: (pod, ...args) => dbAs(mesh, pod, args),
    hold: pod => holdDb(mesh, pod, until),
    follow: (pod, url, pauseMs) => followAs(mesh, pod, url, pauseMs),
    edit: (file, change) => edit(mesh, file, change, until),
    until,
  }
  return story
}

/** What tries until it is answered with something that is not undefined or false. */
function createUntil(signal) {
  return async (look, timeoutMs = 3_000, what = 'it did not happen') => {
    const deadline = Date.now() + timeoutMs
    for (;;) {
      signal.throwIfAborted()
      const found = await look()
      if (found !== undefined && found !== false) return found
      if (Date.now() > deadline) throw new Error(`${what} within ${timeoutMs} ms`)
      await sleep(POLL_MS, undefined, { signal })
    }
  }
}

/** One short line for an answer of the HTTP probe. */
export const summarize = answer => (answer.error === undefined ? String(answer.status) : answer.error)

async function runAs(mesh, pod, argv) {
  const execution = await mesh.exec(`${pod.namespace}/${pod.name}`, argv)
  const { stdout, stderr } = await execution.result()
  const facts = stdout
    .split('\n')
    .filter(line => line.startsWith('{'))
    .map(line => JSON.parse(line))
  if (facts.length === 0) throw new Error(stderr.trim().split('\n').at(-1) || 'the probe said nothing')
  return facts
}

async function getAs(mesh, pod, url, count, pauseMs) {
  const answers = await runAs(mesh, pod, [
    'node',
    '../probes/http-get.mjs',
    url,
    String(count),
    String(pauseMs),
  ])
  return count === 1 ? answers[0] : answers
}

/** `count` requests over one connection. */
function manyAs(
  story,
  pod,
  url,
  { count = 1, field = 'version', method = 'GET', headers = {}, trace = false } = {},
) {
  const lines = Object.entries(headers).flatMap(([name, value]) => ['--header', `${name}=${value}`])
  const args = [url, String(count), field, '--method', method, ...lines, ...(trace ? ['--trace'] : [])]
  return story.run(pod, 'http-many.mjs', args)
}

function dbAs(mesh, pod, args) {
  return runAs(mesh, pod, ['node', '../probes/db.mjs', ...args.map(String)])
}

/** A connection to the database that stays open. */
async function holdDb(mesh, pod, until) {
  const execution = await mesh.exec(`${pod.namespace}/${pod.name}`, ['node', '../probes/db.mjs', 'hold'], {
    interactive: true,
  })
  const facts = collect(execution)
  await until(
    () => facts.find(fact => fact.greeting !== undefined || fact.ended),
    5_000,
    'no greeting of the database',
  )
  if (facts[0]?.ended)
    throw new Error(`the database could not be reached: ${facts[0].code ?? facts[0].ended}`)
  return {
    facts,
    ended: () => facts.find(fact => fact.ended !== undefined),
    /** Asks and waits for the answer. */
    async ping() {
      const before = facts.length
      execution.stdin.write('PING\n')
      const fact = await until(() => facts[before], 3_000, 'no answer of the database')
      return fact.answer ?? fact.code ?? fact.ended
    },
    close: () => execution.kill('SIGKILL'),
  }
}

/** GETs again and again until stopped. */
async function followAs(mesh, pod, url, pauseMs) {
  const argv = ['node', '../probes/http-get.mjs', url, String(Number.MAX_SAFE_INTEGER), String(pauseMs)]
  const execution = await mesh.exec(`${pod.namespace}/${pod.name}`, argv)
  const answers = collect(execution)
  return { answers, stop: () => execution.kill('SIGKILL') }
}

function collect(execution) {
  const facts = []
  createInterface({ input: execution.stdout }).on('line', line => {
    if (line.startsWith('{')) facts.push(JSON.parse(line))
  })
  execution.stderr.resume()
  return facts
}

/** Why the mesh did not take its manifests. */
function describe({ file, line, column, message }) {
  return `${file}:${line}:${column}: ${message}`
}

/** Changes a manifest while all runs; resolves when every ztunnel knows, with the milliseconds that took. */
async function edit(mesh, file, change, until) {
  const path = join(mesh.folder, file)
  const before = await readFile(path, 'utf8')
  const after = change(before)
  if (after === before) throw new Error(`${file} is that way already`)
  const generation = mesh.generation
  const startedAt = Date.now()
  await writeFile(path, after)
  const refused = () => mesh.problems.find(({ severity }) => severity === 'error')
  await until(() => mesh.generation > generation || refused(), 5_000, `${file} was not taken`)
  if (mesh.generation === generation) throw new Error(describe(refused()))
  await mesh.synced()
  return Date.now() - startedAt
}
