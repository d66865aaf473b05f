// Who may talk to whom: by the proven identity, and with the reason when not.
import { connect } from 'node:tls'
import { scrape, sumOf } from '../metrics.mjs'
import { summarize } from '../story.mjs'

const AN_ANSWER = 'an answer'
const SILENCE = 'silence'
const DETAILS = 'http://details.bookinfo:9080/details/0'

export const title = 'Who may talk to whom'

export const checks = [
  {
    name: 'PERMISSIVE: a caller outside of the mesh is let in, in plaintext',
    expected: '200',
    async run(story) {
      const answer = await story.get(story.pod('outsider'), DETAILS)
      return { observed: summarize(answer), ok: answer.status === 200 }
    },
  },
  {
    name: 'it is counted as what it is',
    expected: 'a connection with connection_security_policy="unknown" and source_principal="unknown"',
    async run(story) {
      const details = story.pod('details')
      const text = await scrape(`${story.mesh.ztunnel(details.node).statsUrl}/stats/prometheus`)
      const count = sumOf(text, 'istio_tcp_connections_opened_total', {
        reporter: 'destination',
        source_principal: 'unknown',
        destination_workload: 'details-v1',
        connection_security_policy: 'unknown',
      })
      return { observed: `${count}`, ok: count >= 1 }
    },
  },
  {
    name: 'whoever comes to the tunnel port without a certificate is turned away before HTTP/2',
    expected: 'a TLS alert or a close, and not one byte of HTTP/2',
    async run(story) {
      const end = await knock(story.pod('details').address)
      return { observed: end, ok: end !== AN_ANSWER && end !== SILENCE }
    },
  },
  {
    name: 'STRICT: the same call is refused',
    expected: 'an error',
    async run(story) {
      await story.edit('peer-authentication.yaml', text => text.replace('mode: PERMISSIVE', 'mode: STRICT'))
      const answer = await story.get(story.pod('outsider'), DETAILS)
      return { observed: summarize(answer), ok: answer.error !== undefined }
    },
  },
  {
    name: 'STRICT: a caller in the mesh goes on as before',
    expected: '200',
    async run(story) {
      const answer = await story.get(story.pod('loadgen'), DETAILS)
      return { observed: summarize(answer), ok: answer.status === 200 }
    },
  },
  {
    name: 'productpage may call reviews',
    expected: '200',
    async run(story) {
      const answer = await story.get(story.pod('productpage'), 'http://reviews:9080/reviews/0')
      return { observed: summarize(answer), ok: answer.status === 200 }
    },
  },
  {
    name: 'loadgen may not: reviews are for productpage only',
    expected: 'an error',
    async run(story) {
      const answer = await story.get(story.pod('loadgen'), 'http://reviews:9080/reviews/0')
      return { observed: summarize(answer), ok: answer.error !== undefined }
    },
  },
  {
    name: 'stranger may not call ratings',
    expected: 'an error',
    async run(story) {
      story.keep('before stranger', story.ledger.mark())
      const answer = await story.get(story.pod('stranger'), 'http://ratings:9080/ratings/0')
      return { observed: summarize(answer), ok: answer.error !== undefined }
    },
  },
  {
    name: 'the ledger says why',
    expected: 'policy bookinfo/ratings-callers: allow policies exist, but none allowed',
    async run(story) {
      const entry = await story.until(
        () =>
          story.ledger
            .find(
              { direction: 'inbound', 'src.workload': story.pod('stranger').name },
              story.need('before stranger'),
            )
            .find(({ error }) => error !== undefined),
        3_000,
        'no ztunnel logged a refusal',
      )
      const reason = /allow policies exist, but none allowed/.exec(entry.error)?.[0]
      return {
        observed: `policy ${entry.policy}: ${reason ?? entry.error}`,
        ok: entry.policy === 'bookinfo/ratings-callers' && reason !== undefined,
      }
    },
  },
  {
    name: 'stranger and loadgen both hold a connection to the database',
    expected: 'PONG and PONG',
    async run(story) {
      const stranger = await story.hold(story.pod('stranger'))
      story.keep('stranger session', stranger)
      const loadgen = await story.hold(story.across('db'))
      story.keep('loadgen session', loadgen)
      const answers = [await stranger.ping(), await loadgen.ping()]
      return { observed: answers.join(' and '), ok: answers.every(answer => answer === 'PONG') }
    },
  },
  {
    name: 'a DENY for stranger is added to the policy: its open connection is closed',
    expected: 'within 1000 ms of the edit',
    async run(story) {
      const stranger = story.need('stranger session')
      story.keep('before closing', story.ledger.mark())
      const startedAt = Date.now()
      await story.edit('policy-db.yaml', text => `${text.trimEnd()}\n---\n${DENY_STRANGER}`)
      const ended = await story.until(() => stranger.ended(), 3_000, 'the connection was not closed')
      const tookMs = ended.at - startedAt
      return { observed: `after ${tookMs} ms (${ended.code ?? ended.ended})`, ok: tookMs <= 1_000 }
    },
  },
  {
    name: 'the ledger names policy and rule',
    expected: 'policy bookinfo/db-not-stranger, rule 0',
    async run(story) {
      const mark = story.need('before closing')
      const entry = await story.until(
        () => story.ledger.find({ direction: 'inbound', policy: 'bookinfo/db-not-stranger' }, mark)[0],
        3_000,
        'no ztunnel logged it',
      )
      return { observed: `policy ${entry.policy}, rule ${entry.rule}`, ok: entry.rule === '0' }
    },
  },
  {
    name: "loadgen's connection is left alone",
    expected: 'PONG',
    async run(story) {
      const answer = await story.need('loadgen session').ping()
      return { observed: answer, ok: answer === 'PONG' }
    },
  },
]

const DENY_STRANGER = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: db-not-stranger
  namespace: bookinfo
spec:
  selector:
    matchLabels:
      app: db
  action: DENY
  rules:
    - from:
        - source:
            principals: [cluster.local/ns/bookinfo/sa/bookinfo-stranger]
`

/** Speaks TLS to a workload's port 15008 without a certificate; how that ends. */
function knock(host) {
  return new Promise(resolve => {
    const socket = connect({ host, port: 15008, ALPNProtocols: ['h2'], rejectUnauthorized: false })
    socket.on('secureConnect', () => socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'))
    socket.on('error', error => resolve(error.code))
    socket.on('data', () => resolve(AN_ANSWER))
    socket.on('close', () => resolve('a close'))
    socket.setTimeout(3_000, () => {
      resolve(SILENCE)
      socket.destroy()
    })
  })
}
