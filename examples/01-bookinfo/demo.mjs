// The demo: a mesh from the manifests beside this file, a story in steps, and a check of everything that it says.
import { cp, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createMesh } from '@ambient/mesh'
import { createCollector } from './collector.mjs'
import { keep } from './keep.mjs'
import { addLabel, useWaypoint, withoutLabels } from './labels.mjs'
import { createLedger, createRequestLog } from './ledger.mjs'
import { HELP, parseOptions } from './options.mjs'
import { isAlive } from './processes.mjs'
import { createReport } from './report.mjs'
import * as inAndOut from './steps/1-in-and-out.mjs'
import * as anyTcp from './steps/2-any-tcp.mjs'
import * as whoMay from './steps/3-who-may.mjs'
import * as whatWasSeen from './steps/4-what-was-seen.mjs'
import * as thingsChange from './steps/5-things-change.mjs'
import * as leaving from './steps/6-leaving.mjs'
import * as routes from './steps/7-routes.mjs'
import * as whoMayWhat from './steps/8-who-may-what.mjs'
import * as trouble from './steps/9-trouble-on-purpose.mjs'
import * as oneTrace from './steps/10-one-trace.mjs'
import * as otherTongues from './steps/11-other-tongues.mjs'
import * as dayTwo from './steps/12-day-two.mjs'
import * as summary from './steps/13-summary.mjs'
import { createStory } from './story.mjs'

/** The CA dates certificates back by two minutes and proxies renew at half of the whole: every 10 seconds, here. */
const CERTIFICATE_TTL_MS = 140_000
/** What programs usually need of the caller's environment. */
const PASSED_ON = ['PATH', 'HOME', 'LANG', 'TMPDIR', 'NODE_OPTIONS']
const EXIT_INTERRUPTED = 130
/** The one that gives the namespace its waypoint. */
const ROUTES_STEP = 7

const here = dirname(fileURLToPath(import.meta.url))
const steps = [
  inAndOut,
  anyTcp,
  whoMay,
  whatWasSeen,
  thingsChange,
  leaving,
  routes,
  whoMayWhat,
  trouble,
  oneTrace,
  otherTongues,
  dayTwo,
  summary,
]

async function main() {
  const { options, problem } = parseOptions(process.argv.slice(2))
  if (problem !== undefined) return fail(problem, 2)
  if (options.help) return void process.stdout.write(HELP)
  const known = await readdir(join(here, 'manifests'))
  const wrong = options.without.map(file => basename(file)).find(file => !known.includes(file))
  if (wrong !== undefined) return fail(`--without: there is no ${wrong}; there are ${known.join(', ')}`, 2)
  await tell(options)
}

function fail(problem, code) {
  process.stderr.write(`demo: ${problem}\n`)
  process.exitCode = code
}

async function tell(options) {
  const startedAt = performance.now()
  const interrupt = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'])
    process.on(signal, () => interrupt.abort(new Error(`ended by ${signal}`)))
  // Whoever reads our output may leave; the processes must not stay because of it.
  for (const stream of [process.stdout, process.stderr])
    stream.on('error', () => interrupt.abort(new Error('nobody reads the output')))
  const say = text => void process.stderr.write(text)
  const report = createReport({
    json: options.json,
    colors: process.stdout.isTTY === true && !options.json && process.env.NO_COLOR === undefined,
    stdout: text => void process.stdout.write(text),
    stderr: say,
  })
  const copy = await copyManifests()
  const ledger = createLedger()
  const requests = createRequestLog()
  const collector = await createCollector()
  const pids = new Set()
  const mesh = createMesh({
    manifests: join(copy, 'manifests'),
    exclude: options.without.map(file => basename(file)),
    certificateTtlMs: CERTIFICATE_TTL_MS,
    environment: {
      ...Object.fromEntries(PASSED_ON.map(name => [name, process.env[name]])),
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint,
    },
    telemetry: { otlpEndpoint: collector.endpoint },
    requireWaypoint: true,
    onEvent: event => {
      ledger.listen(event)
      requests.listen(event)
      if (event.kind === 'started') pids.add(event.pid)
      if (event.kind === 'warning') say(`  warning: ${event.message}\n`)
    },
  })
  let interrupted = false
  let kept = false
  try {
    const signal = interrupt.signal
    const story = createStory({ mesh, ledger, requests, collector, signal })
    kept = await run({ story, report, options, say, startedAt, signal })
  } catch (error) {
    interrupted = interrupt.signal.aborted
    if (!interrupted) throw error
    say(`\n${error.message}: stopping every process\n`)
  } finally {
    await mesh.close()
    await collector.close()
    await rm(copy, { recursive: true, force: true })
  }
  const left = [...pids].filter(isAlive)
  await finish({ report, options, left, started: pids.size, startedAt, interrupted, kept, say })
}

/** Whether it stayed after the story. */
async function run({ story, report, options, say, startedAt, signal }) {
  const { mesh } = story
  say(
    `starting the control plane, two ztunnels, a waypoint and the apps of ${options.without.length === 0 ? 'all' : 'the other'} manifests\n`,
  )
  const onAbort = () => void mesh.close()
  signal.addEventListener('abort', onAbort, { once: true })
  let failure
  await mesh.start().catch(error => {
    failure = error.message
  })
  signal.throwIfAborted()
  if (failure === undefined)
    say(
      `${mesh.pods.length} apps on ${mesh.nodes.length} nodes in ${mesh.cidr}, after ${since(startedAt)} s\n`,
    )
  else say(`the mesh did not start: ${failure}\n`)
  const isTold = step => options.steps.length === 0 || options.steps.includes(step)
  if (failure === undefined) await prepare(story, isTold)
  for (const [index, { title, checks }] of steps.entries()) {
    if (!isTold(index + 1)) continue
    report.title(index + 1, title)
    if (failure === undefined) await report.run(index + 1, checks, story, signal)
    else report.skip(index + 1, checks, failure.split('\n')[0])
  }
  if (failure !== undefined) return false
  say(`\n${summary.usageTable(mesh)}\n\n`)
  if (options.keep) await keep({ mesh, signal, say })
  return options.keep
}

/** What steps that are not told would have done for those that are. */
async function prepare(story, isTold) {
  const label = change => story.edit(inAndOut.NAMESPACE_FILE, change).catch(() => {})
  if (!isTold(1)) await label(addLabel)
  const needsWaypoint = steps.some(
    (_, index) => index >= ROUTES_STEP && index < steps.length - 1 && isTold(index + 1),
  )
  if (!isTold(ROUTES_STEP) && needsWaypoint) await label(useWaypoint)
}

async function finish({ report, options, left, started, startedAt, interrupted, kept, say }) {
  const checks = [
    ...(options.keep || interrupted ? [] : [summary.timeCheck(startedAt)]),
    {
      name: 'every process that was started has ended',
      expected: '0 left',
      run: async () => ({ observed: `${left.length} left of ${started}`, ok: left.length === 0 }),
    },
  ]
  if (interrupted) say(`stopped: ${left.length} of ${started} processes are left\n`)
  else for (const check of checks) await report.run(steps.length, [check])
  const { passed, failed } = report
  if (options.json)
    process.stdout.write(`${JSON.stringify({ passed, failed, ...(interrupted ? { interrupted } : {}) })}\n`)
  else {
    const end = interrupted ? ', interrupted' : ''
    process.stdout.write(`\n${passed} passed, ${failed} failed${end}, in ${since(startedAt)} s\n`)
  }
  if (!interrupted && !kept && failed === 0) say(NEXT)
  process.exitCode = interrupted ? EXIT_INTERRUPTED : failed === 0 ? 0 : 1
}

/** The demo changes manifests, so it works on a copy: without the namespace's labels, which the story adds. */
async function copyManifests() {
  const copy = await mkdtemp(join(tmpdir(), 'ambient-demo-'))
  for (const folder of ['apps', 'manifests', 'probes'])
    await cp(join(here, folder), join(copy, folder), { recursive: true })
  // Where the apps find their dependencies.
  await symlink(join(here, 'node_modules'), join(copy, 'node_modules'))
  const file = join(copy, 'manifests', inAndOut.NAMESPACE_FILE)
  await writeFile(file, withoutLabels(await readFile(file, 'utf8')))
  return copy
}

const since = startedAt => ((performance.now() - startedAt) / 1_000).toFixed(1)

const NEXT = `
What to try next:
  npm run demo -- --keep                          leave it running, and look around
  npm run demo -- --without policy-ratings.yaml   see which checks rest on a manifest
  node packages/cli/dist/bin.js up examples/01-bookinfo/manifests   the same mesh, without the story; edit its manifests
`

await main()
