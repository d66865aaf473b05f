// What the proxies tell of all this: numbers and one line per connection.
import { setTimeout as sleep } from 'node:timers/promises'
import { ACCESS_LINE } from '../ledger.mjs'
import { scrape, sumOf } from '../metrics.mjs'

const CALLS = 10
const EXTRA_LINES_MS = 250
const LOADGEN = 'spiffe://cluster.local/ns/bookinfo/sa/bookinfo-loadgen'
const DETAILS = 'spiffe://cluster.local/ns/bookinfo/sa/bookinfo-details'
const DB = 'spiffe://cluster.local/ns/bookinfo/sa/bookinfo-db'
const BULK = 64 * 1024 * 1024

export const title = 'What was seen'

const labelsOf = (reporter, source, destination) => ({
  reporter,
  source_principal: source,
  destination_principal: destination,
  connection_security_policy: 'mutual_tls',
})

export const checks = [
  {
    name: 'port 15020 counts connections with both principals, at the source',
    expected: 'istio_tcp_connections_opened_total ≥ 1',
    async run(story) {
      const node = story.mesh.ztunnel(story.across('details').node)
      const text = await scrape(`${node.statsUrl}/stats/prometheus`)
      const count = sumOf(text, 'istio_tcp_connections_opened_total', labelsOf('source', LOADGEN, DETAILS))
      return { observed: count, ok: count >= 1 }
    },
  },
  {
    name: 'port 15000 says the same',
    expected: 'istio_tcp_connections_opened_total ≥ 1',
    async run(story) {
      const node = story.mesh.ztunnel(story.across('details').node)
      const text = await scrape(`${node.adminUrl}/stats/prometheus`)
      const count = sumOf(text, 'istio_tcp_connections_opened_total', labelsOf('source', LOADGEN, DETAILS))
      return { observed: count, ok: count >= 1 }
    },
  },
  {
    name: 'bytes are counted with both principals, at the destination',
    expected: `istio_tcp_received_bytes_total and istio_tcp_sent_bytes_total ≥ ${BULK}`,
    async run(story) {
      const node = story.mesh.ztunnel(story.pod('db').node)
      const text = await scrape(`${node.statsUrl}/stats/prometheus`)
      const labels = labelsOf('destination', LOADGEN, DB)
      const [received, sent] = ['received', 'sent'].map(way =>
        sumOf(text, `istio_tcp_${way}_bytes_total`, labels),
      )
      return { observed: `${received} and ${sent}`, ok: received >= BULK && sent >= BULK }
    },
  },
  {
    name: `${CALLS} calls, each over a connection of its own: exactly one access log line each, on each side`,
    expected: `${CALLS} outbound lines with the sources of the ${CALLS} calls, ${CALLS} inbound lines`,
    async run(story) {
      const [source, target] = [story.across('details'), story.pod('details')]
      const mark = story.ledger.mark()
      const answers = await story.get(source, 'http://details:9080/details/0', CALLS)
      const lines = direction =>
        story.ledger.find({ direction, 'src.workload': source.name, 'dst.workload': target.name }, mark)
      await story.until(
        () => lines('outbound').length >= CALLS && lines('inbound').length >= CALLS,
        3_000,
        'not all were logged',
      )
      // Long enough for a line too many to show.
      await sleep(EXTRA_LINES_MS)
      const [outbound, inbound] = [lines('outbound'), lines('inbound')]
      // Lists, not sets: the system may give a port again.
      const logged = outbound.map(entry => entry['src.addr']).sort()
      const called = answers.map(answer => `${answer.address}:${answer.port}`).sort()
      const match = logged.join() === called.join()
      story.keep('lines', [...outbound, ...inbound])
      return {
        observed: `${outbound.length} outbound lines with ${match ? 'the' : 'other'} sources, ${inbound.length} inbound lines`,
        ok: match && outbound.length === CALLS && inbound.length === CALLS,
      }
    },
  },
  {
    name: "the lines have ztunnel's format",
    expected: 'time, level, access, connection complete, fields in order',
    async run(story) {
      const odd = story.need('lines').find(({ line }) => !ACCESS_LINE.test(line))
      return { observed: odd === undefined ? 'all of them do' : odd.line, ok: odd === undefined }
    },
  },
]
