// Steps the weights of manifests/routes.yaml from 0 to 100 per cent while requests run, and counts who answered them.
import { cp, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises'
import http from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createMesh, formatProblem } from '@ambient/mesh'

const STEPS = [0, 10, 50, 100]
const REQUESTS_PER_STEP = 200
const CALLERS = 4
const here = fileURLToPath(new URL('.', import.meta.url))

// A copy: its manifests are edited. At first it lacks the file that says what the subsets are.
const copy = await mkdtemp(join(tmpdir(), 'canary-'))
const manifests = join(copy, 'manifests')
await cp(join(here, 'apps'), join(copy, 'apps'), { recursive: true })
await cp(join(here, 'manifests'), manifests, { recursive: true })
await rm(join(manifests, 'subsets.yaml'))

const { PATH } = process.env
const mesh = createMesh({ manifests, environment: { PATH } })
let failures = 0
try {
  await mesh.start()
  await mesh.synced()
  const caller = await mesh.join({ namespace: 'bookinfo', serviceAccount: 'default' })
  const agent = caller.agent()

  const without = await ask(agent)
  console.log(`without a DestinationRule   ${without.status} ${without.body}`)
  for (const problem of mesh.problems) console.log(`  ${formatProblem(problem)}`)
  await edit('subsets.yaml', await readFile(join(here, 'manifests', 'subsets.yaml'), 'utf8'))
  const withRule = await ask(agent, { version: 'v2' })
  console.log(`with one, asking for v2     ${withRule.status} ${withRule.body}\n`)
  if (without.status !== 503 || mesh.problems.length > 0 || withRule.body !== 'v2') failures++

  console.log('weight of v2   requests     v1     v2   failed')
  const load = startLoad(agent)
  for (const share of STEPS) {
    await edit('routes.yaml', await routes(share))
    const { v1, v2, failed } = await load.next(REQUESTS_PER_STEP)
    const cells = [v1 + v2 + failed, v1, v2, failed]
    console.log(
      `${String(share).padStart(10)} %   ${cells.map((cell, i) => String(cell).padStart([8, 6, 6, 8][i])).join(' ')}`,
    )
    failures += failed + (isNear(v2, share) ? 0 : 1)
  }
  const { failed, answered } = await load.stop()
  failures += failed
  console.log(`\n${answered} answered, ${failed} failed, the moments between the steps included`)
  await caller.leave()
} finally {
  await mesh.close()
  await rm(copy, { recursive: true, force: true })
}
console.log(failures === 0 ? 'ok' : 'not what was expected')
process.exitCode = failures === 0 ? 0 : 1

/** One request. Its connection is kept for the next: the waypoint chooses for each request, not for each connection. */
function ask(agent, headers = {}) {
  return new Promise((resolve, reject) => {
    const request = http.get('http://reviews:9080/', { agent, headers }, response => {
      let body = ''
      response.setEncoding('utf8').on('data', text => {
        body += text
      })
      response.on('end', () => resolve({ status: response.statusCode, body }))
      response.on('error', reject)
    })
    request.on('error', reject)
  })
}

/** Callers that never pause. `next(n)` counts n requests that begin from now on. */
function startLoad(agent) {
  const total = { answered: 0, failed: 0 }
  let [running, count] = [true, undefined]
  const one = async () => {
    const mine = count !== undefined && count.left-- > 0 ? count : undefined
    const result = await ask(agent).catch(error => ({ status: error.code }))
    const isGood = result.status === 200
    total[isGood ? 'answered' : 'failed']++
    if (mine === undefined) return
    mine.seen[isGood ? result.body : 'failed']++
    if (--mine.open === 0) mine.done(mine.seen)
  }
  const callers = Array.from({ length: CALLERS }, async () => {
    while (running) await one()
  })
  return {
    next: n =>
      new Promise(done => {
        count = { left: n, open: n, seen: { v1: 0, v2: 0, failed: 0 }, done }
      }),
    async stop() {
      running = false
      await Promise.all(callers)
      return total
    },
  }
}

async function routes(share) {
  const text = await readFile(join(here, 'manifests', 'routes.yaml'), 'utf8')
  return text.replace(/weight: (90|10)$/gm, (_, weight) => `weight: ${weight === '90' ? 100 - share : share}`)
}

/** Replaces a manifest; resolves when every proxy has what follows from it. */
async function edit(file, text) {
  const taken = new Promise(resolve => {
    const unsubscribe = mesh.subscribe(event => {
      if (event.kind !== 'applied') return
      unsubscribe()
      resolve()
    })
  })
  await writeFile(join(manifests, `.${file}`), text)
  await rename(join(manifests, `.${file}`), join(manifests, file))
  await taken
  await mesh.synced()
}

/** Within four standard deviations of what the weight says; 0 and 100 per cent have none. */
function isNear(v2, share) {
  const expected = (REQUESTS_PER_STEP * share) / 100
  return Math.abs(v2 - expected) <= 4 * Math.sqrt(expected * (1 - share / 100))
}
