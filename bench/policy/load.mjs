// One process: so many parsed policies become decisions, then change one at a time. Prints one line of JSON.
import {
  createPolicyStore,
  createWaypointPolicies,
  decide,
  parsePolicies,
  toAuthorization,
} from '@ambient/policy'
import { connection, document, documents, options, request, target, yaml } from './corpus.mjs'

const [dialect, countText] = process.argv.slice(2)
const count = Number(countText)
const CHANGES = 200
const isL4 = dialect === 'ztunnel'

const text = yaml(dialect, 'ALLOW', Math.min(count, 1_000))
const yamlBegan = performance.now()
const read = parsePolicies(text, 'bench.yaml').authorizationPolicies.length
const yamlMs = ((performance.now() - yamlBegan) / read) * count

const all = documents(dialect, 'ALLOW', count)
const added = documents(dialect, 'ALLOW', CHANGES, count)
const miss = isL4 ? connection(-1) : request(-1)
globalThis.gc()
const heapBefore = process.memoryUsage().heapUsed
const began = performance.now()
const cpuBegan = process.cpuUsage()
const subject = isL4 ? l4(all) : http(all)
subject.decide()
const loadMs = performance.now() - began
const loadCpu = process.cpuUsage(cpuBegan)
globalThis.gc()
const heapMb = (process.memoryUsage().heapUsed - heapBefore) / 1e6
const rssMb = process.memoryUsage.rss() / 1e6

const adds = []
for (const policy of added) adds.push(timeOf(() => subject.put(policy)))
const removes = []
for (const policy of added) removes.push(timeOf(() => subject.remove(`shop/${policy.metadata.name}`)))
const replaces = []
if (subject.replace !== undefined)
  for (let i = 0; i < 50; i++) {
    const next = [...all, document(dialect, 'ALLOW', count + i)]
    replaces.push(timeOf(() => subject.replace(next)))
  }
console.log(
  JSON.stringify({
    version: process.version,
    yamlMs,
    loadMs,
    loadCpuMs: (loadCpu.user + loadCpu.system) / 1_000,
    heapMb,
    rssMb,
    addMs: median(adds),
    addWorstMs: Math.max(...adds),
    removeMs: median(removes),
    ...(replaces.length === 0 ? {} : { replaceMs: median(replaces) }),
  }),
)

/** With the decision after it: what is derived when first asked for counts too. */
function timeOf(change) {
  const start = performance.now()
  change()
  subject.decide()
  return performance.now() - start
}

function l4(policies) {
  const translate = policy => toAuthorization(policy, { rootNamespace: options.rootNamespace }).authorization
  const store = createPolicyStore(policies.map(translate))
  return {
    decide: () => decide(store.policies, miss),
    put: policy => store.apply({ upsert: [translate(policy)], remove: [] }),
    remove: key => store.apply({ upsert: [], remove: [key] }),
  }
}

function http(policies) {
  const set = createWaypointPolicies(policies, options)
  return {
    decide: () => set.decideRequest(target, miss),
    put: policy => set.apply({ upsert: [policy], remove: [] }),
    remove: key => set.apply({ upsert: [], remove: [key] }),
    replace: policies => set.replace(policies),
  }
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)]
}
