// The namespace gets a waypoint: requests go by weight, by header, and to every back end.
import { useWaypoint } from '../labels.mjs'
import { NAMESPACE_FILE } from './1-in-and-out.mjs'

const REVIEWS = 'http://reviews:9080/reviews/0'
const ANYTHING = 'http://httpbin:9080/anything'
const REQUESTS = 400
const SHARE = 0.1
const SIGMAS = 3

export const title = 'The namespace gets a waypoint'

/** What an answer's headers say of its way. */
const passedWaypoint = answer => answer.last.headers?.server === 'istio-envoy'

export const checks = [
  {
    name: 'the namespace is labelled with its waypoint while all runs: every proxy knows',
    expected: 'within 1000 ms',
    async run(story) {
      story.keep('apps before waypoint', story.appPids())
      const tookMs = await story.edit(NAMESPACE_FILE, useWaypoint)
      return { observed: `${tookMs} ms`, ok: tookMs <= 1_000 }
    },
  },
  {
    name: "a call of loadgen to productpage goes there: the source's ztunnel tunnels to the waypoint, for the service",
    expected: '200 of istio-envoy, and one record with the waypoint as destination',
    async run(story) {
      const caller = story.pod('loadgen')
      const mark = story.ledger.mark()
      const answer = await story.many(caller, 'http://productpage:9080/productpage')
      const entry = await story.until(
        () =>
          story.ledger
            .find({ direction: 'outbound', 'src.workload': caller.name }, mark)
            .find(({ 'dst.workload': name }) => name?.startsWith('waypoint')),
        3_000,
        'no ztunnel logged it',
      )
      return {
        observed: `${answer.last.status} of ${answer.last.headers?.server}, ${entry['dst.workload']} for ${entry['dst.service']}`,
        ok: passedWaypoint(answer) && answer.statuses[200] === 1,
      }
    },
  },
  {
    name: 'details has opted out with a label of its own',
    expected: '200, not of istio-envoy',
    async run(story) {
      const answer = await story.many(story.pod('loadgen'), 'http://details:9080/details/0')
      return {
        observed: `${answer.last.status}, ${passedWaypoint(answer) ? 'of istio-envoy' : 'straight from details'}`,
        ok: answer.statuses[200] === 1 && !passedWaypoint(answer),
      }
    },
  },
  {
    name: `${REQUESTS} requests to reviews: nine in ten get v1, one in ten v3`,
    expected: `v3 within ${SIGMAS} standard deviations of ${REQUESTS * SHARE}, v2 never`,
    async run(story) {
      const { values, statuses } = await story.many(story.pod('productpage'), REVIEWS, { count: REQUESTS })
      const v3 = values.v3 ?? 0
      const limit = SIGMAS * Math.sqrt(REQUESTS * SHARE * (1 - SHARE))
      return {
        observed: `v1 ${values.v1 ?? 0}, v2 ${values.v2 ?? 0}, v3 ${v3}`,
        ok:
          statuses[200] === REQUESTS &&
          Math.abs(v3 - REQUESTS * SHARE) <= limit &&
          (values.v1 ?? 0) + v3 === REQUESTS,
      }
    },
  },
  {
    name: 'jason sees v2, always',
    expected: 'v2 20 times',
    async run(story) {
      const { values } = await story.many(story.pod('productpage'), REVIEWS, {
        count: 20,
        headers: { 'end-user': 'jason' },
      })
      return { observed: JSON.stringify(values), ok: values.v2 === 20 }
    },
  },
  {
    name: 'the requests of one connection are spread over the three pods of httpbin',
    expected: '60 answers over 1 connection, each pod at least once',
    async run(story) {
      const { values, connections, statuses } = await story.many(story.across('httpbin'), ANYTHING, {
        count: 60,
        field: 'pod',
      })
      const pods = story.pods('httpbin').map(({ name }) => name)
      return {
        observed: `${statuses[200]} answers over ${connections} connection: ${Object.values(values).join(', ')}`,
        ok:
          statuses[200] === 60 &&
          connections === 1 &&
          pods.length === 3 &&
          pods.every(pod => values[pod] > 0),
      }
    },
  },
  {
    name: 'no app was restarted for it',
    expected: 'the same process ids',
    async run(story) {
      const same = story.appPids() === story.need('apps before waypoint')
      return { observed: same ? 'the same' : 'others', ok: same }
    },
  },
]
