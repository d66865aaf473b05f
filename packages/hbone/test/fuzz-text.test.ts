/**
 * Text and bytes that strangers write, mutated: authorities, baggage, forwarded, traceparent, header lists, PROXY headers.
 * What cannot be read is said to be so; what can be read means the same when it is written again. `AMBIENT_FUZZ_SECONDS`
 * is for all targets together; `AMBIENT_SEED` repeats one input of the target that `-t` names.
 */
import { formatHostPort, readHostPort } from '@ambient/core'
import { HboneError } from '@ambient/hbone'
import { describe, expect, it } from 'vitest'
import {
  formatBaggage,
  formatForwarded,
  headerValue,
  parseBaggage,
  parseForwardedHost,
  traceIdOf,
} from '../src/headers.ts'
import { encodeHeaders, type HeaderList, HpackDecoder } from '../src/http2/hpack.ts'
import { headerProblem, readRequestHead, readResponseHead } from '../src/http2/message.ts'
import { formatProxyHeader, parseProxyHeader } from '../src/proxy-protocol.ts'
import { readCorpus, saveSeed } from './fuzz-seeds.ts'
import { Random } from './property.ts'

const SECONDS = Number(process.env.AMBIENT_FUZZ_SECONDS ?? 5)
/** One input takes microseconds; this is for a machine that is busy. */
const HANG_MS = 1_000

const baggage = formatBaggage({
  clusterId: 'Kubernetes',
  namespace: 'shop',
  workloadType: 'deployment',
  workloadName: 'web',
  canonicalName: 'web',
  canonicalRevision: 'v1',
  region: 'eu',
  zone: 'a',
})
const source = { address: '10.0.0.1', port: 4_000 }
const destination = { address: '10.0.0.2', port: 80 }
const v6 = { source: { address: '2001:db8::1', port: 1 }, destination: { address: '::1', port: 65_535 } }

interface Target {
  readonly seeds: readonly Buffer[]
  /** Throws when something is wrong. */
  readonly check: (input: Buffer, random: Random) => void
}

const texts = (...list: readonly string[]): Buffer[] => list.map(text => Buffer.from(text, 'latin1'))
const text = (bytes: Buffer): string => bytes.toString('latin1')

function must(holds: boolean, what: string): void {
  if (!holds) throw new Error(what)
}

const targets: Readonly<Record<string, Target>> = {
  authority: {
    seeds: texts(
      '10.0.0.1:80',
      '[2001:db8::1]:8080',
      'web.shop.svc.cluster.local:443',
      '[::ffff:10.0.0.1]:1',
      'a_b-c:1',
    ),
    check: input => {
      const read = readHostPort(text(input))
      if (!read.ok) return must(read.reason !== '', 'no reason')
      const { host, port } = read.value
      must(port >= 1 && port <= 65_535, `port ${port}`)
      must(/^[0-9a-zA-Z._:-]+$/.test(host), `host ${JSON.stringify(host)}`)
      const again = readHostPort(formatHostPort(host, port))
      must(
        again.ok && again.value.host === host && again.value.port === port,
        `${host} is read otherwise again`,
      )
    },
  },
  baggage: {
    seeds: texts(baggage, 'k8s.namespace.name=shop', 'a=b,c=d;e=f, g = h', ''),
    check: input => {
      const lines = text(input).split('\n')
      const found = parseBaggage(lines)
      must(Object.getPrototypeOf(found) === Object.prototype, 'a prototype')
      for (const value of Object.values(found)) {
        must(
          typeof value === 'string' && value !== '' && !/[,=]/.test(value),
          `value ${JSON.stringify(value)}`,
        )
        must(
          lines.some(line => line.includes(`=${value}`)),
          'a value that nobody sent',
        )
      }
    },
  },
  forwarded: {
    seeds: texts(
      formatForwarded({ ...source, host: 'web.shop' }),
      'for="[2001:db8::1]:80";host=a',
      'for=1.2.3.4; host="a b";by=x',
    ),
    check: input => {
      const host = parseForwardedHost(text(input))
      must(host === undefined || (host !== '' && text(input).includes(host)), `host ${String(host)}`)
    },
  },
  traceparent: {
    seeds: texts(`00-${'a1'.repeat(16)}-${'b2'.repeat(8)}-01`),
    check: input => {
      const id = traceIdOf(text(input))
      must(id === undefined || /^[0-9a-f]{32}$/.test(id), `trace id ${String(id)}`)
    },
  },
  'header list': {
    seeds: [
      encodeHeaders([
        [':method', 'CONNECT'],
        [':authority', '10.0.0.1:80'],
        ['baggage', baggage],
        ['te', 'trailers'],
      ]),
      encodeHeaders([
        [':method', 'POST'],
        [':scheme', 'https'],
        [':path', '/'],
        [':authority', 'a'],
        ['content-length', '12'],
      ]),
      encodeHeaders([
        [':status', '200'],
        ['x', 'y'],
      ]),
    ],
    check: input => checkList(input),
  },
  'PROXY header': {
    seeds: [
      formatProxyHeader({
        addresses: { source, destination },
        sourceIdentity: 'spiffe://a/ns/b/sa/c',
        checksum: true,
      }),
      formatProxyHeader({ addresses: v6, tlvs: [{ type: 4, value: new Uint8Array(9) }] }),
      formatProxyHeader({}),
      formatProxyHeader({ version: 1, addresses: { source, destination } }),
      formatProxyHeader({ version: 1, addresses: v6 }),
      formatProxyHeader({ version: 1 }),
    ],
    check: checkProxy,
  },
}

function checkList(input: Buffer): void {
  let list: HeaderList
  try {
    list = new HpackDecoder(65_536).decode(input).headers
  } catch (error) {
    must(error instanceof HboneError, `threw ${String(error)}`)
    return
  }
  const request = readRequestHead(list)
  if (request.kind === 'connect') {
    must(readHostPort(request.authority).ok, 'a bad authority was taken')
    must(headerProblem(request.headers) === undefined, 'headers were taken that nobody may send')
    for (const [name] of request.headers)
      must(headerValue(request.headers, name) !== undefined, 'a header is not found')
  } else must(!/[^ -~]/.test(request.reason), `reason ${JSON.stringify(request.reason)}`)
  const response = readResponseHead(list)
  if (response.kind === 'response') {
    must(response.status >= 100 && response.status <= 599, `status ${response.status}`)
    must(headerProblem(response.headers) === undefined, 'headers were taken that nobody may send')
  }
}

function checkProxy(input: Buffer, random: Random): void {
  const read = parseProxyHeader(input)
  // What is wrong with a beginning stays wrong, and what is whole is not read on.
  const cut = parseProxyHeader(input.subarray(0, random.int(0, input.length)))
  if (cut.kind === 'done')
    must(read.kind === 'done' && read.length === cut.length, 'more bytes gave another header')
  if (cut.kind === 'error') must(read.kind === 'error', 'more bytes mended a header')
  if (read.kind === 'error')
    return must(read.error.code === 'AMBIENT_E_PROXY_PROTOCOL', `code ${read.error.code}`)
  if (read.kind === 'more') return must(input.length < 4_096, 'more is wanted of a header that is too long')
  must(read.length <= input.length && read.length <= 4_096, `length ${read.length}`)
  const { addresses, tlvs, version } = read.value
  if (addresses === undefined || version === 1) return
  const known = new Set([0x03, 0xd0])
  const written = formatProxyHeader({ addresses, tlvs: tlvs.filter(tlv => !known.has(tlv.type)) })
  const again = parseProxyHeader(written)
  must(
    again.kind === 'done' && JSON.stringify(again.value.addresses) === JSON.stringify(addresses),
    `addresses ${JSON.stringify(addresses)} are read otherwise again`,
  )
}

const SPECIAL = Buffer.from('\0\t\r\n ",;=:[]@%/\\?#.-_0129aAzZ\x7f\x80\xff', 'latin1')

function mutate(random: Random, seed: Buffer, others: readonly Buffer[]): Buffer {
  let bytes = Buffer.from(seed)
  for (let times = random.int(1, 4); times > 0; times--) {
    const at = random.int(0, bytes.length)
    const rest = bytes.subarray(Math.min(bytes.length, at + random.int(0, 8)))
    const middle = random.pick([
      () => Buffer.of(random.pick([...SPECIAL])),
      () => random.bytes(random.int(1, 4)),
      () => Buffer.alloc(0),
      () => random.pick(others).subarray(random.int(0, 6)),
      () => Buffer.alloc(random.int(1, 3_000), random.pick([...SPECIAL])),
    ])()
    bytes = Buffer.concat([bytes.subarray(0, at), middle, random.chance(0.5) ? rest : bytes.subarray(at)])
  }
  return bytes.subarray(0, 70_000)
}

/** What once was read wrongly. */
function past(target: string): readonly Buffer[] {
  const start = `${target.replace(' ', '-')}-`
  return readCorpus('text')
    .filter(seed => seed.name.startsWith(start))
    .map(seed => seed.bytes)
}

describe('survives mutations', () => {
  const seconds = SECONDS / 5 / Object.keys(targets).length
  for (const [name, { seeds, check }] of Object.entries(targets))
    it(`${name} for ${seconds.toFixed(2)} s`, { timeout: seconds * 1_000 + 30_000 }, () => {
      const { AMBIENT_SEED } = process.env
      const first = AMBIENT_SEED === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(AMBIENT_SEED)
      for (const seed of [...seeds, ...past(name)]) check(seed, new Random(0))
      const until = performance.now() + seconds * 1_000
      let seed = first
      for (; performance.now() < until; seed++) {
        const random = new Random(seed)
        const input = mutate(random, random.pick(seeds), seeds)
        const since = performance.now()
        try {
          check(input, random)
          must(performance.now() - since < HANG_MS, 'took too long')
        } catch (error) {
          const file = saveSeed('text', `${name.replace(' ', '-')}-${seed}`, input)
          throw new Error(`AMBIENT_SEED=${seed}, saved as ${file}: ${String(error)}`, {
            cause: error,
          })
        }
        if (AMBIENT_SEED !== undefined) return
      }
      expect(seed).toBeGreaterThan(first)
      process.stdout.write(`fuzz ${name}: ${Math.round((seed - first) / seconds)} inputs a second\n`)
    })
})
