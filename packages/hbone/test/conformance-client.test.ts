/** The conformance runner on clients: our pool keeps every rule, and rules that another breaks are seen. */
import { once } from 'node:events'
import { connect as connectHttp2 } from 'node:http2'
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls'
import {
  createHbonePool,
  createTraceparent,
  formatForwarded,
  type HeaderList,
  type SocketAddress,
} from '@ambient/hbone'
import { clientCases, runClientConformance } from '@ambient/hbone/conformance'
import { createTestIdentities } from '@ambient/identity/testing'
import { describe, expect, it } from 'vitest'
import { db, later, web } from './harness.ts'
import { frame, RawPeer, request, setting, TYPE } from './raw-peer.ts'

const foreign = await (await createTestIdentities()).credentials({ namespace: 'shop', serviceAccount: 'db' })
const AUTHORITY = '10.0.0.7:5432'
const QUESTION = 'GET / HTTP/1.1\r\nhost: app.example\r\n\r\n'

/** Connects and opens one tunnel; resolves when that is over, whatever became of it. */
type Client = (to: SocketAddress) => Promise<unknown>

/** What the runner finds when `client` is driven until it is done. */
async function findings(client: Client, cases?: readonly string[]): Promise<readonly string[]> {
  let driving: Promise<void> | undefined
  let isDone = false
  const drive = async (to: SocketAddress): Promise<void> => {
    while (!isDone) await client(to).catch(() => {})
  }
  const results = await runClientConformance({
    listen: { host: '127.0.0.1', port: 0 },
    credentials: db,
    foreign,
    timeoutMs: 1_000,
    waitMs: 5_000,
    onListening: to => {
      driving = drive(to)
    },
    ...(cases === undefined ? {} : { cases }),
  }).finally(() => {
    isDone = true
  })
  await driving
  expect(results.map(({ id }) => id)).toEqual(cases ?? clientCases.map(({ id }) => id))
  return results
    .filter(({ outcome }) => outcome !== 'pass')
    .map(({ id, outcome, level, detail }) => `${outcome} ${level} ${id}: ${detail}`)
}

function ours(headers: HeaderList): Client {
  const pool = createHbonePool()
  later(() => pool.close({ graceMs: 0 }))
  return async to => {
    const tunnel = await pool.connect({
      credentials: web,
      to,
      expect: [db.id],
      authority: AUTHORITY,
      headers,
    })
    const socket = tunnel.socket()
    const closed = new Promise(resolve => socket.once('close', resolve))
    socket.on('error', () => {})
    socket.on('end', () => socket.end())
    socket.resume()
    socket.write(QUESTION)
    await closed
  }
}

describe('our pool', () => {
  it('keeps every rule', async () => {
    const client = ours([
      ['baggage', 'k8s.cluster.name=Kubernetes,k8s.namespace.name=shop,k8s.deployment.name=web'],
      [
        'forwarded',
        formatForwarded({ address: '10.0.0.2', port: 43_126, host: 'db.shop.svc.cluster.local' }),
      ],
      ['traceparent', createTraceparent()],
    ])
    expect(await findings(client)).toEqual([])
  })

  it('is warned about headers that it was not given, and failed for wrong ones', async () => {
    const cases = clientCases.map(({ id }) => id).filter(id => /baggage|forwarded|traceparent/.test(id))
    expect(await findings(ours([]), cases)).toEqual([
      'fail SHOULD client-baggage: sent none',
      'skip MUST client-baggage-form: sent none',
      'fail SHOULD client-forwarded: sent none',
      'skip MUST client-forwarded-form: sent none',
      'fail SHOULD client-traceparent: sent none',
      'skip MUST client-traceparent-form: sent none',
    ])
    const wrong: HeaderList = [
      ['baggage', 'k8s.cluster.name=a, k8s.namespace.name=b'],
      ['forwarded', 'for=10.0.0.1;host=x'],
      ['traceparent', '00-1-2-3'],
      ['x-forwarded-network', 'remote'],
    ]
    expect(await findings(ours(wrong), [...cases, 'client-no-network'])).toEqual([
      'fail MUST client-baggage-form: sent "k8s.cluster.name=a, k8s.namespace.name=b"',
      'fail MUST client-forwarded-form: sent "for=10.0.0.1;host=x"',
      'fail MUST client-traceparent-form: sent "00-1-2-3"',
      'fail MUST client-no-network: sent "remote"',
    ])
  })
})

describe('a client that', () => {
  it.each<readonly [string, readonly string[], ConnectionOptions]>([
    ['speaks TLS 1.2', ['client-tls-1.3'], { maxVersion: 'TLSv1.2' }],
    ['offers HTTP/1 as well', ['client-alpn'], { ALPNProtocols: ['h2', 'http/1.1'] }],
    ['offers nothing', ['client-alpn'], { ALPNProtocols: undefined }],
    ['sends a name', ['client-no-sni'], { servername: 'db.example' }],
    ['has no certificate', ['client-certificate', 'client-svid'], { cert: undefined, key: undefined }],
  ])('%s fails %j', async (_what, caught, options) => {
    const found = await findings(
      by(options, () => {}),
      TLS_CASES,
    )
    expect(idsOf(found)).toEqual(caught)
  })

  it.each<readonly [string, readonly string[], (peer: RawPeer) => void]>([
    [
      'begins with another frame',
      ['client-settings-first'],
      peer => {
        peer.write(frame(TYPE.ping, 0, 0, Buffer.alloc(8)))
        politely(peer)
      },
    ],
    ['does not switch push off', ['client-push-off'], peer => politely(peer, [])],
    [
      'asks for a path',
      ['client-connect'],
      peer => politely(peer, undefined, [...HEAD, [':path', '/'], [':scheme', 'https']]),
    ],
    [
      'asks by another method',
      ['client-connect'],
      peer => politely(peer, undefined, [[':method', 'GET'], ...HEAD.slice(1)]),
    ],
    [
      'asks for a host without a port',
      ['client-authority'],
      peer => politely(peer, undefined, [...HEAD.slice(0, 1), [':authority', 'db']]),
    ],
    [
      'sends a length',
      ['client-no-length'],
      peer => politely(peer, undefined, [...HEAD, ['content-length', '5']]),
    ],
    [
      'goes on after a refusal',
      ['client-refused'],
      peer => {
        politely(peer)
        peer.socket.on('data', () => {
          if (((peer.find(TYPE.headers, 1)?.flags ?? 0) & 1) !== 0)
            peer.write(frame(TYPE.data, 0, 1, 'all the same'))
        })
      },
    ],
    [
      'does not look at windows',
      ['client-window'],
      peer => {
        politely(peer)
        let isSent = false
        peer.socket.on('data', () => {
          const answer = peer.find(TYPE.headers, 1)
          if (isSent || answer === undefined || (answer.flags & 1) !== 0) return
          isSent = true
          peer.write(frame(TYPE.data, 0, 1, 'much too much for ten'))
        })
      },
    ],
  ])('%s fails %j', async (_what, caught, behave) => {
    const cases = clientCases
      .map(({ id }) => id)
      .filter(id => /settings-first|push-off|connect$|authority|no-length|refused|window$/.test(id))
    const found = await findings(by({}, behave), cases)
    expect(idsOf(found.filter(text => text.startsWith('fail')))).toEqual(caught)
  })

  it('believes any server fails client-server-identity', async () => {
    const found = await findings(
      by({}, peer => politely(peer)),
      ['client-server-identity'],
    )
    expect(idsOf(found)).toEqual(['client-server-identity'])
  })
})

describe('Node’s http2', () => {
  it('keeps the rules of HTTP/2, and those of TLS when it is told to', async () => {
    const cases = clientCases
      .map(({ id }) => id)
      .filter(id => !/baggage|forwarded|traceparent|server-identity/.test(id))
    const found = await findings(async to => {
      const socket = await tls(to, {})
      const session = connectHttp2('https://db.example', {
        createConnection: () => socket,
        settings: { enablePush: false },
      })
      session.on('error', () => {})
      const gone = once(session, 'close')
      const stream = session.request({ ':method': 'CONNECT', ':authority': AUTHORITY })
      stream.on('error', () => {})
      stream.on('end', () => stream.end())
      stream.on('close', () => session.close())
      stream.resume()
      stream.on('response', () => stream.write(QUESTION))
      await gone
      socket.destroy()
    }, cases)
    expect(found).toEqual([])
  })
})

const TLS_CASES = ['client-tls-1.3', 'client-alpn', 'client-no-sni', 'client-certificate', 'client-svid']
const HEAD: HeaderList = [
  [':method', 'CONNECT'],
  [':authority', AUTHORITY],
]

/** Frames by hand over TLS; over when the runner closes. */
function by(options: ConnectionOptions, behave: (peer: RawPeer) => void): Client {
  return async to => {
    const socket = await tls(to, options)
    const peer = new RawPeer(socket, 'client')
    behave(peer)
    await peer.closed
  }
}

/** SETTINGS, their acknowledgement, PING's answers, one request. */
function politely(peer: RawPeer, settings = [setting(2, 0)], head: HeaderList = HEAD): void {
  peer.settings(...settings)
  peer.write(request(1, 4, head))
  let seen = 0
  peer.socket.on('data', () => {
    for (const one of peer.frames.slice(seen)) {
      const isAck = (one.flags & 1) !== 0
      if (one.type === TYPE.settings && !isAck) peer.write(frame(TYPE.settings, 1, 0))
      if (one.type === TYPE.ping && !isAck) peer.write(frame(TYPE.ping, 1, 0, one.payload))
    }
    seen = peer.frames.length
  })
}

async function tls(to: SocketAddress, options: ConnectionOptions): Promise<TLSSocket> {
  const socket = connect({
    host: to.address,
    port: to.port,
    cert: web.certificateChain,
    key: web.privateKey(),
    rejectUnauthorized: false,
    checkServerIdentity: () => undefined,
    ALPNProtocols: ['h2'],
    ...options,
  })
  socket.on('error', () => {})
  later(async () => void socket.destroy())
  await once(socket, 'secureConnect')
  return socket
}

function idsOf(found: readonly string[]): readonly string[] {
  return found.map(text => text.replace(/^\w+ (?:MUST|SHOULD) ([^:]+):.*/s, '$1'))
}
