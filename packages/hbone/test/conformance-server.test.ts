/** The conformance runner on servers: ours keeps every rule, and each rule that another breaks is seen, that one alone. */
import { runServerConformance, serverCases } from '@ambient/hbone/conformance'
import { createTestIdentities } from '@ambient/identity/testing'
import { createSecureContext } from 'node:tls'
import { describe, expect, it } from 'vitest'
import { encodeHeaders, type HeaderList, HpackDecoder } from '../src/http2/hpack.ts'
import { brokenServer, but, carry, type Fault, type FrameFilter, only } from './broken-server.ts'
import { db, harness, identities, web } from './harness.ts'
import { frame, setting, TYPE, uint32 } from './raw-peer.ts'

const foreign = await (await createTestIdentities()).credentials({ namespace: 'shop', serviceAccount: 'web' })
const other = await identities.credentials({ namespace: 'shop', serviceAccount: 'other' })

/** Takes a second, to see that nothing comes; no fault is about it. */
const SLOW = ['back-pressure']
/** Beside the cases that should catch it, a fault is asked every so many: more would find the same and take minutes. */
const STRIDE = 5

async function findings(port: number, cases?: readonly string[]): Promise<readonly string[]> {
  const results = await runServerConformance({
    target: { address: '127.0.0.1', port },
    credentials: web,
    expect: [db.id],
    foreign,
    timeoutMs: 1_000,
    ...(cases === undefined ? {} : { cases }),
  })
  return results
    .filter(({ outcome }) => outcome !== 'pass')
    .map(({ id, outcome, level, detail }) => `${outcome} ${level} ${id}: ${detail}`)
}

describe('our server', () => {
  it('keeps every rule', async () => {
    const { port } = await harness({ onTunnel: request => carry(request) })
    expect(await findings(port.port)).toEqual([])
  })

  it('keeps every rule that can be seen when it echoes by itself', async () => {
    const { port } = await harness({
      onTunnel: request => {
        const channel = request.accept()
        channel.start({
          data: bytes => channel.write(bytes),
          end: () => channel.end(),
          drained: () => {},
          finished: () => {},
          reset: () => {},
        })
      },
    })
    const found = await findings(port.port)
    expect(found.filter(text => !text.startsWith('skip '))).toEqual([])
    expect(found.length).toBeGreaterThan(5)
  })

  it('is what the faults below are put on', async () => {
    expect(await findings(await brokenServer({}), fast)).toEqual([])
  })
})

const fast = serverCases.map(({ id }) => id).filter(id => !SLOW.includes(id))

const faults: readonly (readonly [what: string, caught: readonly string[], fault: Fault])[] = [
  ['speaks TLS 1.2 as well', ['tls-1.2'], { tls: { minVersion: 'TLSv1.2' } }],
  ['serves HTTP/1 clients', ['alpn-other'], { tls: { ALPNProtocols: ['h2', 'http/1.1'] } }],
  [
    'believes any CA',
    ['foreign-client'],
    { admits: socket => socket.getPeerCertificate().raw !== undefined },
  ],
  [
    'wants no certificate',
    ['certificate-required', 'foreign-client'],
    { tls: { requestCert: false }, admits: () => true },
  ],
  ['resumes sessions', ['no-resumption'], { tls: { secureOptions: 0 } }],
  ['sends the root', ['chain-without-root'], { tls: { cert: db.certificateChain + db.trustBundle } }],
  [
    'looks at SNI',
    ['sni-ignored'],
    {
      tls: {
        SNICallback: (_name, done) =>
          done(null, createSecureContext({ cert: other.certificateChain, key: other.privateKey() })),
      },
    },
  ],
  ['says PING before SETTINGS', ['settings-first'], { greeting: frame(TYPE.ping, 0, 0, Buffer.alloc(8)) }],
  [
    'announces no stream limit',
    ['stream-limit-announced'],
    { fromServer: settingsInstead(list => list.filter(([id]) => id !== 3)) },
  ],
  [
    'offers extended CONNECT',
    ['no-extended-connect'],
    { fromServer: settingsInstead(list => [...list, [8, 1]]) },
  ],
  [
    'does not look at small windows',
    ['stream-window'],
    {
      fromClient: settingsInstead(list =>
        list.map(([id, value]) => [id, id === 4 ? Math.max(value, 65_535) : value]),
      ),
    },
  ],
  [
    'does not look at the connection window',
    ['connection-window'],
    {
      fromClient: only(TYPE.headers, one => [
        frame(TYPE.update, 0, 0, uint32(1 << 20)),
        frame(one.type, one.flags, one.id, one.payload),
      ]),
    },
  ],
  [
    'answers PING with other bytes',
    ['ping'],
    {
      fromServer: only(TYPE.ping, ({ flags, payload }) =>
        payload.toString() === 'conform!' ? [frame(TYPE.ping, flags, 0, 'conform?')] : undefined,
      ),
    },
  ],
  [
    'ends sessions over unknown frames',
    ['unknown-ignored'],
    {
      fromClient:
        () =>
        ({ type }) =>
          type > TYPE.continuation ? 'cut' : undefined,
    },
  ],
  [
    'does not know CONTINUATION',
    ['continuation'],
    {
      fromClient:
        () =>
        ({ type }) =>
          type === TYPE.continuation ? 'cut' : undefined,
    },
  ],
  ['changes a byte in a million', ['echo'], { fromServer: wrongByte }],
  [
    'takes padding for data',
    ['padding'],
    { fromClient: only(TYPE.data, ({ flags, id, payload }) => [frame(TYPE.data, flags & 1, id, payload)]) },
  ],
  [
    'shows resets as ends',
    ['reset-of-application'],
    {
      fromServer: only(TYPE.reset, ({ id, payload }) =>
        payload.readUInt32BE() === 10 ? [frame(TYPE.data, 1, id)] : undefined,
      ),
    },
  ],
  [
    'ends a session at its client’s GOAWAY',
    ['goaway-of-client'],
    {
      fromClient:
        () =>
        ({ type }) =>
          type === TYPE.goaway ? 'cut' : undefined,
    },
  ],
  [
    'says nothing before it ends a session',
    ['error-says-goaway', 'error-data-after-end'],
    { fromServer: only(TYPE.goaway, () => []) },
  ],
  [
    'answers 200 before it dials',
    ['unreachable', 'unreachable-503'],
    {
      onTunnel: async request => {
        const early = request.accept()
        await carry(
          but(request, { accept: () => early, refuse: () => early.reset('CONNECT_ERROR', 'unreachable') }),
        )
      },
    },
  ],
  [
    'answers 502',
    ['unreachable-503'],
    {
      onTunnel: request =>
        carry(but(request, { refuse: status => request.refuse(status === 503 ? 502 : status) })),
    },
  ],
  [
    'answers 200 with a length',
    ['answer-without-length'],
    { onTunnel: request => carry(but(request, { accept: () => request.accept([['content-length', '0']]) })) },
  ],
  [
    'answers 404 to what is no CONNECT',
    ['not-connect-400'],
    {
      fromServer: headersInstead(list =>
        list.some(([name]) => name === 'content-type') ? [[':status', '404']] : list,
      ),
    },
  ],
  [
    'folds names to lower case',
    ['malformed-upper-case'],
    { fromClient: headersInstead(list => list.map(([name, value]) => [name.toLowerCase(), value])) },
  ],
  [
    'drops fields that it does not like',
    ['malformed-connection', 'malformed-transfer-encoding'],
    {
      fromClient: headersInstead(list =>
        list.filter(([name]) => name !== 'connection' && name !== 'transfer-encoding'),
      ),
    },
  ],
  [
    'thinks a port up',
    ['authority-malformed', 'authority-400'],
    {
      fromClient: headersInstead(list =>
        list.map(([name, value]) => [
          name,
          name === ':authority' && value === '127.0.0.1' ? '127.0.0.1:9' : value,
        ]),
      ),
      onTunnel: async request =>
        request.authority === '127.0.0.1:9' ? void request.accept() : carry(request),
    },
  ],
]

describe('a server that', () => {
  it.each(faults.map((fault, index) => [...fault, index] as const))(
    '%s fails %j',
    async (_what, caught, fault, index) => {
      const asked = fast.filter((id, at) => caught.includes(id) || at % STRIDE === index % STRIDE)
      const found = await findings(await brokenServer(fault), asked)
      expect(found.map(text => text.replace(/^fail (?:MUST|SHOULD) ([^:]+):.*/s, '$1'))).toEqual(
        fast.filter(id => caught.includes(id)),
      )
    },
  )
})

/** SETTINGS with other entries. */
function settingsInstead(
  change: (list: readonly (readonly [number, number])[]) => readonly (readonly [number, number])[],
): () => FrameFilter {
  return only(TYPE.settings, ({ flags, payload }) => {
    if ((flags & 1) !== 0) return undefined
    const list: [number, number][] = []
    for (let at = 0; at < payload.length; at += 6)
      list.push([payload.readUInt16BE(at), payload.readUInt32BE(at + 2)])
    const entries = change(list).map(([id, value]) => setting(id, value))
    return [frame(TYPE.settings, 0, 0, Buffer.concat(entries))]
  })
}

/** Heads with other fields, as far as they are in one frame and can be read. */
function headersInstead(change: (list: HeaderList) => HeaderList): () => FrameFilter {
  return () => {
    const decoder = new HpackDecoder(65_536)
    return ({ type, flags, id, payload }) => {
      if (type !== TYPE.headers || (flags & 4) === 0) return undefined
      try {
        return [frame(TYPE.headers, flags, id, encodeHeaders(change(decoder.decode(payload).headers)))]
      } catch {
        return undefined
      }
    }
  }
}

/** The millionth byte that comes back is another one. */
function wrongByte(): FrameFilter {
  let left = 1_000_000
  return ({ type, flags, id, payload }) => {
    if (type !== TYPE.data) return undefined
    const isHere = left > 0 && left <= payload.length
    left -= payload.length
    if (!isHere) return undefined
    const wrong = Buffer.from(payload)
    wrong[0] = (wrong[0] ?? 0) ^ 1
    return [frame(TYPE.data, flags, id, wrong)]
  }
}
