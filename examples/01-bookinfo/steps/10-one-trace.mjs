// One trace through all of it, and numbers that agree.
import { scrape, sumOf } from '../metrics.mjs'

const ANYTHING = 'http://httpbin:9080/anything'
const CALLS = 20
const LOADGEN = 'spiffe://cluster.local/ns/bookinfo/sa/bookinfo-loadgen'
const HTTPBIN = 'spiffe://cluster.local/ns/bookinfo/sa/bookinfo-httpbin'
const WAYPOINT = 'spiffe://cluster.local/ns/bookinfo/sa/waypoint'

export const title = 'One trace, and numbers that agree'

/** What source, waypoint and destination have counted so far. */
async function counted(story, caller) {
  const text = async url => scrape(`${url}/stats/prometheus`)
  const source = await text(story.mesh.ztunnel(caller.node).statsUrl)
  const waypoint = await text(story.waypoint().statsUrl)
  const apps = await Promise.all(
    story.pods('httpbin').map(async ({ address }) => (await fetch(`http://${address}:9080/counts`)).json()),
  )
  const behind = await Promise.all(story.mesh.nodes.map(({ statsUrl }) => text(statsUrl)))
  return {
    source: sumOf(source, 'istio_tcp_connections_opened_total', {
      reporter: 'source',
      source_principal: LOADGEN,
      destination_service: 'httpbin.bookinfo.svc.cluster.local',
    }),
    waypoint: sumOf(waypoint, 'istio_requests_total', {
      reporter: 'waypoint',
      source_principal: LOADGEN,
      destination_principal: HTTPBIN,
      destination_service: 'httpbin.bookinfo.svc.cluster.local',
      response_code: '200',
    }),
    duration: sumOf(waypoint, 'istio_request_duration_milliseconds_count', {
      reporter: 'waypoint',
      source_principal: LOADGEN,
      destination_service: 'httpbin.bookinfo.svc.cluster.local',
      response_code: '200',
    }),
    app: apps.reduce((sum, { paths }) => sum + (paths['/anything'] ?? 0), 0),
    tunnels: behind
      .map(exposition =>
        sumOf(exposition, 'istio_tcp_connections_opened_total', {
          reporter: 'destination',
          source_principal: WAYPOINT,
          destination_principal: HTTPBIN,
        }),
      )
      .reduce((sum, count) => sum + count, 0),
  }
}

export const checks = [
  {
    name: 'client, waypoint and server have one trace: each span is the child of the one before',
    expected: 'probe → waypoint → httpbin',
    async run(story) {
      const { last } = await story.many(story.pod('loadgen'), ANYTHING, { trace: true })
      const spans = await story.until(
        () => {
          const found = story.collector.trace(last.traceId)
          return found.length >= 3 && found
        },
        6_000,
        'the collector did not get three spans',
      )
      const [client] = spans.filter(({ parentSpanId }) => !parentSpanId)
      const middle = spans.find(({ parentSpanId }) => parentSpanId === client?.spanId)
      const server = spans.find(({ parentSpanId }) => parentSpanId === middle?.spanId)
      const chain = [client, middle, server].map(span => span?.service ?? 'nobody')
      return {
        observed: chain.join(' → '),
        ok: chain[0] === 'probe' && chain[1]?.startsWith('waypoint') && chain[2] === 'httpbin',
      }
    },
  },
  {
    name: `${CALLS} calls: the source's ztunnel, the waypoint and the app agree on the number`,
    expected: `${CALLS} connections, ${CALLS} requests, ${CALLS} durations, ${CALLS} at the app`,
    async run(story) {
      const caller = story.across('httpbin')
      const before = await counted(story, caller)
      const answers = await story.get(caller, ANYTHING, CALLS)
      const good = answers.filter(({ status }) => status === 200).length
      const delta = await story.until(
        async () => {
          const now = await counted(story, caller)
          const change = Object.fromEntries(
            Object.entries(now).map(([name, value]) => [name, value - before[name]]),
          )
          return change.source >= CALLS && change.waypoint >= CALLS && change
        },
        3_000,
        'they do not agree',
      )
      return {
        observed: `${delta.source} connections, ${delta.waypoint} requests, ${delta.duration} durations, ${delta.app} at the app`,
        ok:
          good === CALLS &&
          [delta.source, delta.waypoint, delta.duration, delta.app].every(count => count === CALLS),
      }
    },
  },
  {
    name: "behind the waypoint the destination's ztunnels saw the waypoint's identity",
    expected: `connections of ${WAYPOINT}`,
    async run(story) {
      const { tunnels } = await counted(story, story.pod('loadgen'))
      return { observed: `${tunnels} connections`, ok: tunnels >= 1 }
    },
  },
]
