// One process: its CA, its identities, their rotation all at once, and the verdicts on their chains.
import { X509Certificate } from 'node:crypto'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { parseSpiffeId } from '@ambient/core'
import { createCertificateAuthority, createIdentityManager, createLocalSigner } from '@ambient/identity'

const workloads = Number(process.argv[2])
const ca = await createCertificateAuthority({ trustDomain: 'bench.local', intermediate: true })
const manager = createIdentityManager({ signer: createLocalSigner(ca) })
const ids = Array.from({ length: workloads }, (_, index) =>
  parseSpiffeId(`spiffe://bench.local/ns/alone/sa/w${index}`),
)
const credentials = await Promise.all(ids.map(id => manager.get(id)))

const RESOLUTION_MS = 1
const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
delay.enable()
// Of this thread alone; Node 20 does not count that.
const ownCpu = process.threadCpuUsage?.bind(process)
let [worstTurn, lastCpu, isRunning] = [0, ownCpu?.(), true]
const tick = () => {
  const now = ownCpu()
  worstTurn = Math.max(worstTurn, (now.user + now.system - lastCpu.user - lastCpu.system) / 1e3)
  lastCpu = ownCpu()
  if (isRunning) setImmediate(tick)
}
if (ownCpu !== undefined) setImmediate(tick)
const began = performance.now()
const rotated = await Promise.all(ids.map(id => manager.rotate(id)))
const seconds = (performance.now() - began) / 1_000
delay.disable()
isRunning = false

const chains = [...credentials, ...rotated].map(({ certificateChain }) =>
  certificateChain
    .match(/-----BEGIN[^-]+-----[^-]+-----END[^-]+-----/g)
    .map(pem => new X509Certificate(pem).raw),
)
const judge = rotated[0]
const prove = chain => {
  const verdict = judge.verifyPeer(chain, { kind: 'own-trust-domain' })
  if (!verdict.ok) throw new Error(verdict.reason)
}
const fresh = rate(chains.length, turn => prove(chains[turn]))
// The last ones: the cache is bounded, and a node's peers are fewer than it holds.
const known = chains.slice(-500)
for (const chain of known) prove(chain)
const seen = rate(100_000, turn => prove(known[turn % known.length]))

console.log(
  JSON.stringify({
    rotated: workloads / seconds,
    // A histogram of the time between two ticks that should be 1 ms apart.
    stall: delay.max / 1e6 - RESOLUTION_MS,
    late: delay.percentile(99.9) / 1e6 - RESOLUTION_MS,
    ...(ownCpu === undefined ? {} : { turn: worstTurn }),
    fresh,
    seen,
  }),
)
process.exit(0)

function rate(times, run) {
  const from = performance.now()
  for (let turn = 0; turn < times; turn += 1) run(turn)
  return (times / (performance.now() - from)) * 1_000
}
