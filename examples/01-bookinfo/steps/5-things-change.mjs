// Certificates rotate and a proxy dies, under load.
import { setTimeout as sleep } from 'node:timers/promises'
import { loadStats } from '../load.mjs'

/** A new connection every so often: the time between two is what an outage can hide in. */
const PAUSE_MS = 20

export const title = 'Things change, things die'

/** Serial numbers of the leaf certificates that the ztunnels hold, by node and identity. */
async function serials(story) {
  const found = new Map()
  for (const node of story.mesh.nodes) {
    const dump = await (await fetch(`${node.adminUrl}/config_dump`)).json()
    for (const { identity, certChain } of dump.certificates)
      if (certChain?.[0] !== undefined) found.set(`${node.name} ${identity}`, certChain[0].serialNumber)
  }
  return found
}

const isGood = answer => answer.status === 200

export const checks = [
  {
    name: 'certificates of both ends rotate while a connection is open and load runs',
    expected: 'new serial numbers for loadgen and db',
    async run(story) {
      const session = await story.hold(story.across('db'))
      story.keep('open session', session)
      story.keep('load before', await loadStats(story))
      const keys = [
        `${story.across('db').node} spiffe://cluster.local/ns/bookinfo/sa/bookinfo-loadgen`,
        `${story.pod('db').node} spiffe://cluster.local/ns/bookinfo/sa/bookinfo-db`,
      ]
      const before = await serials(story)
      await story.until(
        async () => {
          const now = await serials(story)
          return keys.every(key => now.has(key) && now.get(key) !== before.get(key))
        },
        18_000,
        'the certificates did not rotate',
      )
      return { observed: 'new ones for both', ok: keys.every(key => before.has(key)) }
    },
  },
  {
    name: 'the connection from before the rotation still answers',
    expected: 'PONG',
    async run(story) {
      const answer = await story.need('open session').ping()
      return { observed: answer, ok: answer === 'PONG' }
    },
  },
  {
    name: 'requests of the load generators during the rotation',
    expected: '0 failed, more than 0 answered',
    async run(story) {
      const before = story.need('load before')
      const now = await loadStats(story)
      const [ok, failed] = [now.ok - before.ok, now.failed - before.failed]
      return {
        observed: `${failed} failed, ${ok} answered${failed > 0 ? ` (${now.lastError})` : ''}`,
        ok: failed === 0 && ok > 0,
      }
    },
  },
  {
    name: 'the ztunnel of the node of details is killed: calls to its workloads fail',
    expected: 'at least 1 failed call',
    async run(story) {
      const target = story.pod('details')
      const survivor = story.pod('loadgen', pod => pod.node !== target.node)
      const neighbour = story.mesh.pods.find(
        pod => pod.node === survivor.node && ['productpage', 'stranger'].includes(pod.labels.app),
      )
      if (neighbour === undefined) throw new Error('no workload without a policy is on the other node')
      const dead = story.mesh.ztunnel(target.node)
      story.keep('apps', story.appPids())
      const toDead = await story.follow(survivor, `http://${target.address}:9080/health`, PAUSE_MS)
      const nearby = await story.follow(survivor, `http://${neighbour.address}:9080/health`, PAUSE_MS)
      story.keep('calls', { toDead, nearby, dead })
      await story.until(
        () => toDead.answers.some(isGood) && nearby.answers.some(isGood),
        5_000,
        'the calls did not begin',
      )
      const before = toDead.answers.length
      dead.kill('SIGKILL')
      const failed = await story.until(
        () => toDead.answers.slice(before).find(answer => !isGood(answer)),
        5_000,
        'no call failed',
      )
      return { observed: `failed with ${failed.error ?? failed.status}`, ok: true }
    },
  },
  {
    name: 'they recover by themselves',
    expected: 'a new ztunnel, and 10 good calls in a row',
    async run(story) {
      const { toDead, dead } = story.need('calls')
      const startedAt = Date.now()
      await story.until(
        () => toDead.answers.length > 10 && toDead.answers.slice(-10).every(isGood),
        15_000,
        'the calls did not recover',
      )
      const { pid } = story.mesh.ztunnel(dead.name)
      const seconds = ((Date.now() - startedAt) / 1_000).toFixed(1)
      return {
        observed: `process ${dead.pid} → ${pid}, after ${seconds} s`,
        ok: pid !== undefined && pid !== dead.pid,
      }
    },
  },
  {
    name: 'calls within the other node meanwhile',
    expected: '0 failed',
    async run(story) {
      const { nearby, toDead } = story.need('calls')
      await sleep(PAUSE_MS)
      toDead.stop()
      nearby.stop()
      const failed = nearby.answers.filter(answer => !isGood(answer)).length
      return {
        observed: `${failed} failed of ${nearby.answers.length}`,
        ok: failed === 0 && nearby.answers.length > 10,
      }
    },
  },
  {
    name: 'no app was restarted for it',
    expected: 'the same process ids',
    async run(story) {
      const same = story.appPids() === story.need('apps')
      return { observed: same ? 'the same' : 'others', ok: same }
    },
  },
]
