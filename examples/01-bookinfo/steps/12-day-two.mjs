// Proxies are replaced, routes move, a waypoint dies: under load.
import { setTimeout as sleep } from 'node:timers/promises'
import { underLoad } from '../load.mjs'

const A_WHILE_MS = 500
const ROUTES = 'reviews-routes.yaml'

export const title = 'Day two'

/** Sets the weights of the route for everybody. */
const weights = (v1, v3) => text =>
  text
    .replace(/(subset: v1\n {10}weight: )\d+/, `$1${v1}`)
    .replace(/(subset: v3\n {10}weight: )\d+/, `$1${v3}`)

export const checks = [
  {
    name: 'the waypoint is replaced while load runs: the new one is there before the old one drains',
    expected: 'another process; 0 failed, more than 0 answered',
    async run(story) {
      const before = story.waypoint().pid
      const outcome = await underLoad(story, async () => {
        await story.waypoint().restart()
        await sleep(A_WHILE_MS)
        return `process ${before} → ${story.waypoint().pid}`
      })
      return { ...outcome, ok: outcome.ok && story.waypoint().pid !== before }
    },
  },
  {
    name: 'a ztunnel is replaced while load runs: its listening sockets are handed over',
    expected: 'another process; 0 failed, more than 0 answered',
    async run(story) {
      const { name } = story.mesh.nodes[0]
      const before = story.mesh.ztunnel(name).pid
      const outcome = await underLoad(story, async () => {
        await story.mesh.ztunnel(name).restart()
        await sleep(A_WHILE_MS)
        return `process ${before} → ${story.mesh.ztunnel(name).pid}`
      })
      return { ...outcome, ok: outcome.ok && story.mesh.ztunnel(name).pid !== before }
    },
  },
  {
    name: 'the route to v3 goes from 0 to 10 to 50 to 100 per cent while load runs',
    expected: '0 failed, more than 0 answered; all of them v3 at the end',
    async run(story) {
      let last = {}
      const outcome = await underLoad(story, async () => {
        const shares = []
        for (const share of [0, 10, 50, 100]) {
          await story.edit(ROUTES, weights(100 - share, share))
          const { values } = await story.many(story.pod('productpage'), 'http://reviews:9080/reviews/0', {
            count: 40,
          })
          shares.push(`${values.v3 ?? 0} of 40 at ${share} %`)
          last = values
        }
        return `v3: ${shares.join(', ')}`
      })
      return { ...outcome, ok: outcome.ok && last.v3 === 40 }
    },
  },
  {
    name: 'the waypoint is killed: a connection that goes through it is reset at once',
    expected: 'a reset within 1000 ms',
    async run(story) {
      const session = await story.hold(story.across('db'))
      if ((await session.ping()) !== 'PONG') throw new Error('the database did not answer')
      story.keep('before the kill', story.ledger.mark())
      story.keep('killed', story.waypoint().pid)
      const startedAt = Date.now()
      story.waypoint().kill('SIGKILL')
      const ended = await story.until(() => session.ended(), 3_000, 'the connection stayed')
      const tookMs = ended.at - startedAt
      return {
        observed: `${ended.code ?? ended.ended} after ${tookMs} ms`,
        ok: tookMs <= 1_000 && ended.code === 'ECONNRESET',
      }
    },
  },
  {
    name: "the record of the source's ztunnel names the waypoint",
    expected: 'an error, with the waypoint as destination',
    async run(story) {
      const entry = await story.until(
        () =>
          story.ledger
            .find(
              { direction: 'outbound', 'src.workload': story.across('db').name },
              story.need('before the kill'),
            )
            .find(({ error, 'dst.service': service }) => error !== undefined && service?.startsWith('db.')),
        3_000,
        'no ztunnel logged it',
      )
      return {
        observed: `${entry['dst.workload']}: ${entry.error}`,
        ok: entry['dst.workload'].startsWith('waypoint'),
      }
    },
  },
  {
    name: 'all recovers when it is back',
    expected: 'a new process, and 10 good calls in a row',
    async run(story) {
      const startedAt = Date.now()
      const calls = await story.follow(story.pod('loadgen'), 'http://httpbin:9080/anything', 20)
      await story.until(
        () => calls.answers.length >= 10 && calls.answers.slice(-10).every(({ status }) => status === 200),
        15_000,
        'the calls did not recover',
      )
      calls.stop()
      const { pid } = story.waypoint()
      const seconds = ((Date.now() - startedAt) / 1_000).toFixed(1)
      return {
        observed: `process ${story.need('killed')} → ${pid}, after ${seconds} s`,
        ok: pid !== undefined && pid !== story.need('killed'),
      }
    },
  },
]
