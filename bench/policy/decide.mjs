// One process: decisions over so many policies of one dialect, by the index and by a scan. Prints one line of JSON.
import { createPolicyStore, createWaypointPolicies, decide, toAuthorization } from '@ambient/policy'
import { connection, documents, options, request, RULES, target } from './corpus.mjs'
import { createScan } from './naive.mjs'

const [dialect, countText, secondsText] = process.argv.slice(2)
const count = Number(countText)
const seconds = Number(secondsText)
/** So many callers take turns, each a connection of its own: more than a processor's first cache holds. */
const CALLERS = 256
const isL4 = dialect === 'ztunnel'

const allow = documents(dialect, 'ALLOW', count)
const deny = documents(dialect, 'DENY', count)
const decideAllow = decider(allow)
const decideDeny = decider(deny)
const scanAllow = scanner(allow)
const scanDeny = scanner(deny)
const known = Array.from({ length: CALLERS }, (_, index) => {
  const at = (index * 7919) % (count * RULES)
  const [policy, rule] = [Math.floor(at / RULES), at % RULES]
  return isL4 ? connection(policy, rule) : request(policy, rule)
})
const unknown = known.map(({ ...one }) => ({ ...one, ...(isL4 ? connection(-1) : request(-1)) }))

check(known, decideAllow, true)
check(unknown, decideAllow, false)
check(known, decideDeny, false)
agree(known, decideAllow, scanAllow)
agree(known, decideDeny, scanDeny)

const figures = {}
for (const [name, decideOne, scanOne, traffic] of [
  ['hit', decideAllow, scanAllow, known],
  ['miss', decideAllow, scanAllow, unknown],
  ['deny', decideDeny, scanDeny, known],
]) {
  nanoseconds(decideOne, traffic)
  const own = nanoseconds(decideOne, traffic)
  figures[name] = { own, scan: nanoseconds(scanOne, traffic), bytes: bytesPerDecision(decideOne, traffic) }
}
console.log(JSON.stringify({ version: process.version, figures }))

function decider(policies) {
  if (!isL4) {
    const set = createWaypointPolicies(policies, options)
    return one => set.decideRequest(target, one)
  }
  const store = createPolicyStore(
    policies.map(policy => toAuthorization(policy, { rootNamespace: options.rootNamespace }).authorization),
  )
  return one => decide(store.policies, one)
}

function scanner(policies) {
  const scan = createScan(policies)
  return isL4 ? scan.connection : scan.request
}

function check(traffic, decideOne, allowed) {
  for (const one of traffic)
    if (decideOne(one).allowed !== allowed) throw new Error(`a decision of the ${dialect} corpus is wrong`)
}

function agree(traffic, decideOne, scanOne) {
  for (const one of traffic.slice(0, 50))
    if (decideOne(one).by?.policy !== scanOne(one)) throw new Error('index and scan disagree')
}

/** CPU time of one decision: on a quiet machine that is the time it takes, on a busy one it stays so. */
function nanoseconds(judge, traffic) {
  let done = 0
  const until = performance.now() + seconds * 1_000
  const began = process.cpuUsage()
  for (;;) {
    for (const one of traffic) {
      judge(one)
      // A scan of 100,000 rules takes milliseconds: not a whole pass of it.
      if ((++done & 15) !== 0 || performance.now() < until) continue
      const { user, system } = process.cpuUsage(began)
      return ((user + system) * 1_000) / done
    }
  }
}

/** New memory of one decision, once the engine has compiled everything: the least of several measurements. */
function bytesPerDecision(judge, traffic) {
  const COUNT = 100_000
  let least = Number.POSITIVE_INFINITY
  for (let round = 0; round < 5; round++) {
    globalThis.gc()
    const before = process.memoryUsage().heapUsed
    for (let i = 0; i < COUNT; i++) judge(traffic[i % traffic.length])
    least = Math.min(least, (process.memoryUsage().heapUsed - before) / COUNT)
  }
  return least
}
