import { once } from 'node:events'
// What a proxy gets wrong when it looks into bytes or treats streams as requests.
const MIB = 1024 * 1024
const BULK = 64 * MIB
const ANSWER = 300_000

export const title = 'Any TCP protocol, byte for byte'

const short = hash => `${hash?.slice(0, 12)}…`

export const checks = [
  {
    name: 'a server that speaks first is heard',
    expected: '10 ambient-db 1.0 ready',
    async run(story) {
      const [{ greeting, code }] = await story.db(story.across('db'), 'greeting')
      return { observed: greeting ?? code, ok: greeting === '10 ambient-db 1.0 ready' }
    },
  },
  {
    name: 'a client that ends its direction first gets the whole answer',
    expected: `${ANSWER} bytes and the right digest`,
    async run(story) {
      const [fact] = await story.db(story.across('db'), 'half-close', ANSWER)
      const right = fact.received?.sha256 === fact.expected && fact.arrived === fact.sent
      return {
        observed: fact.code ?? `${fact.received.bytes} bytes and ${right ? 'the right' : 'a wrong'} digest`,
        ok: right && fact.received.bytes === ANSWER,
      }
    },
  },
  {
    name: '64 MiB go to the database while 64 MiB come back: what the database received',
    expected: 'the SHA-256 of what was sent',
    async run(story) {
      const before = story.mesh.relay.stats().bytes
      const startedAt = Date.now()
      const [fact] = await story.db(story.across('db'), 'duplex', BULK)
      if (fact.received === undefined) return { observed: fact.code, ok: false }
      const seconds = (Date.now() - startedAt) / 1_000
      story.keep('bulk', { ...fact, seconds, crossed: story.mesh.relay.stats().bytes - before })
      return { observed: short(fact.arrived), ok: fact.arrived === fact.sent }
    },
  },
  {
    name: 'what the client received',
    expected: `${BULK} bytes with the SHA-256 of what was sent`,
    async run(story) {
      const { received, expected } = story.need('bulk')
      return {
        observed: `${received.bytes} bytes, ${short(received.sha256)}`,
        ok: received.bytes === BULK && received.sha256 === expected,
      }
    },
  },
  {
    name: 'all of it crossed between the nodes',
    expected: 'at least 128 MiB',
    async run(story) {
      const { crossed, seconds } = story.need('bulk')
      return {
        observed: `${Math.floor(crossed / MIB)} MiB in ${seconds.toFixed(1)} s`,
        ok: crossed >= 2 * BULK,
      }
    },
  },
  {
    name: 'an app that is killed in mid-transfer is seen as a reset, not as an end',
    expected: 'error ECONNRESET',
    async run(story) {
      const client = story.across('db')
      const execution = await story.mesh.exec(`${client.namespace}/${client.name}`, [
        'node',
        '../probes/db.mjs',
        'stall',
      ])
      const crossed = story.mesh.relay.stats().bytes
      let text = ''
      execution.stdout.on('data', chunk => {
        text += chunk
      })
      execution.stderr.resume()
      await story.until(() => text.includes('sending'), 5_000, 'the transfer did not begin')
      await story.until(() => story.mesh.relay.stats().bytes - crossed > MIB, 5_000, 'nothing was sent')
      story.pod('db').kill('SIGKILL')
      // The exit may be known before the last line was read.
      await Promise.all([execution.exited, once(execution.stdout, 'close')])
      const end = text.split('\n').find(line => line.includes('ended'))
      const { ended, code } = JSON.parse(end ?? '{}')
      return {
        observed: `${ended}${code === undefined ? '' : ` ${code}`}`,
        ok: ended === 'error' && code === 'ECONNRESET',
      }
    },
  },
  {
    name: 'the app is started again, on its own address, and answers',
    expected: '10 ambient-db 1.0 ready',
    async run(story) {
      await story.until(() => story.pod('db').ready, 10_000, 'the database did not get ready')
      await story.mesh.synced()
      const [{ greeting, code }] = await story.db(story.across('db'), 'greeting')
      return { observed: greeting ?? code, ok: greeting === '10 ambient-db 1.0 ready' }
    },
  },
]
