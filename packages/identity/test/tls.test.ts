/** What users build with: servers and clients of Node, undici and grpc-js, secured by identities that rotate. */
import { once } from 'node:events'
import * as http2 from 'node:http2'
import * as https from 'node:https'
import { text } from 'node:stream/consumers'
import * as tls from 'node:tls'
import { inspect } from 'node:util'
import { createManualClock } from '@ambient/core/testing'
import { parseSpiffeId } from '@ambient/core'
import { describe, expect, it } from 'vitest'
import {
  connectTls,
  createHttpsAgent,
  createServerIdentityCheck,
  createTlsOptions,
  createUndiciConnector,
  type Expectation,
  peerIdentity,
  secureServer,
} from '../src/index.ts'
import { cleanup, listening, sourceOf } from './tls-fixtures.ts'

const idOf = (account: string) => parseSpiffeId(`spiffe://cluster.local/ns/shop/sa/${account}`)
const only = (account: string): Expectation => ({ kind: 'one-of', ids: [idOf(account)] })

async function pair() {
  const server = await sourceOf('db')
  const client = await sourceOf('web', server.identities)
  return { server, client }
}

interface HttpsAnswer {
  readonly body: string
  readonly server: string | undefined
}

async function ask(port: number, options: https.RequestOptions): Promise<HttpsAnswer> {
  const request = https.request({ host: '127.0.0.1', port, method: 'POST', ...options })
  request.end('question')
  const [response] = await once(request, 'response')
  return { server: peerIdentity(response.socket)?.uri, body: await text(response) }
}

async function httpsServer(source: Awaited<ReturnType<typeof sourceOf>>, expected?: Expectation) {
  const seen: string[] = []
  const server = https.createServer((request, response) => {
    seen.push(request.url ?? '')
    request.resume().on('end', () => response.end(peerIdentity(request.socket)?.uri ?? 'nobody'))
  })
  const refused: string[] = []
  secureServer(server, source, {
    ...(expected === undefined ? {} : { expect: expected }),
    onRefused: ({ error }) => refused.push(error.message),
  })
  return { port: await listening(server), server, seen, refused }
}

describe('secureServer', () => {
  it('gives an https server its identity and tells who asks', async () => {
    const { server, client } = await pair()
    const { port } = await httpsServer(server)
    const agent = createHttpsAgent(client, { expect: only('db') })
    cleanup(() => agent.destroy())
    expect(await ask(port, { agent, path: '/a' })).toEqual({
      body: idOf('web').uri,
      server: idOf('db').uri,
    })
  })

  it('shows a client that is not believed to nobody, whenever they began to listen', async () => {
    const { server } = await pair()
    const other = await sourceOf('web')
    const { port, server: made, seen, refused } = await httpsServer(server)
    const heard: unknown[] = []
    made.on('secureConnection', socket => heard.push(socket))
    made.prependListener('secureConnection', socket => heard.push(socket))
    made.on('tlsClientError', error => heard.push(Reflect.get(error, 'code')))
    const identity = other.current()
    const socket = tls.connect({
      port,
      host: '127.0.0.1',
      cert: identity?.certificateChain,
      key: identity?.privateKey(),
      rejectUnauthorized: false,
    })
    socket.on('error', () => {})
    // With the handshake's last flight, as early as anybody can.
    socket.once('secureConnect', () => socket.write('GET /secret HTTP/1.1\r\nhost: db\r\n\r\n'))
    await once(socket, 'close')
    expect(seen).toEqual([])
    expect(heard).toEqual(['AMBIENT_E_PEER_IDENTITY'])
    expect(refused).toEqual([
      expect.stringMatching(/^client 127\.0\.0\.1:\d+: leaf .*no certificate of the trust bundle/),
    ])
  })

  it('refuses a client without a certificate, and one that is somebody else', async () => {
    const { server, client } = await pair()
    const { port, refused } = await httpsServer(server, id => id.uri.endsWith('/sa/admin'))
    await expect(ask(port, { rejectUnauthorized: false, agent: false })).rejects.toThrow()
    const agent = createHttpsAgent(client, { expect: only('db') })
    cleanup(() => agent.destroy())
    await expect(ask(port, { agent })).rejects.toThrow()
    expect(refused).toEqual([
      expect.stringMatching(/presented no certificate/),
      expect.stringMatching(/sa\/web, which was not expected/),
    ])
  })

  it('rotates without dropping a connection, and keeps nobody’s key', async () => {
    const { server, client } = await pair()
    const { port, server: made } = await httpsServer(server)
    const certificates = new Set<string>()
    const first = await connectTls(client, { port, host: '127.0.0.1', expect: only('db') })
    cleanup(() => first.destroy())
    certificates.add(first.getPeerCertificate().serialNumber)
    for (let round = 0; round < 3; round += 1) {
      await Promise.all([server.rotate(), client.rotate()])
      const next = await connectTls(client, { port, host: '127.0.0.1', expect: only('db') })
      certificates.add(next.getPeerCertificate().serialNumber)
      next.destroy()
    }
    expect(certificates.size).toBe(4)
    first.end('GET / HTTP/1.1\r\nhost: db\r\nconnection: close\r\n\r\n')
    expect(await text(first)).toContain(idOf('web').uri)
    expect(inspect(made, { depth: 6, showHidden: true })).not.toContain('PRIVATE KEY')
    expect(server.watchers).toBe(1)
    made.close()
    await once(made, 'close')
    expect(server.watchers).toBe(0)
    made.listen(0, '127.0.0.1')
    await once(made, 'listening')
    expect(server.watchers).toBe(1)
  })

  it('refuses everybody while there is no certificate', async () => {
    const { server, client } = await pair()
    server.lose()
    const { port } = await httpsServer(server)
    await expect(connectTls(client, { port, host: '127.0.0.1', expect: only('db') })).rejects.toMatchObject({
      code: 'AMBIENT_E_TLS',
    })
    await server.rotate()
    const socket = await connectTls(client, { port, host: '127.0.0.1', expect: only('db') })
    socket.destroy()
    server.lose()
    const late = await connectTls(client, { port, host: '127.0.0.1', expect: only('db') })
    late.on('error', () => {}).resume()
    await once(late, 'close')
  })

  it('resumes no session', async () => {
    const { server, client } = await pair()
    const { port } = await httpsServer(server)
    const sessions: Buffer[] = []
    const identity = client.current()
    const options = {
      port,
      host: '127.0.0.1',
      cert: identity?.certificateChain,
      key: identity?.privateKey(),
      rejectUnauthorized: false,
    }
    for (let round = 0; round < 2; round += 1) {
      const session = sessions.at(-1)
      const socket = tls.connect({ ...options, ...(session === undefined ? {} : { session }) })
      socket.on('session', kept => sessions.push(kept))
      await once(socket, 'secureConnect')
      expect(socket.isSessionReused()).toBe(false)
      socket.write('GET / HTTP/1.1\r\nhost: db\r\nconnection: close\r\n\r\n')
      expect(await text(socket)).toContain(idOf('web').uri)
    }
  })

  it('is for servers that do not listen yet, once', async () => {
    const { server } = await pair()
    const { server: made } = await httpsServer(server)
    expect(() => secureServer(made, server)).toThrowError(/secured before/)
    const bare = tls.createServer()
    await listening(bare)
    expect(() => secureServer(bare, server)).toThrowError(/listens already/)
    // @ts-expect-error: from JavaScript
    expect(() => secureServer(tls.createServer(), server, { expect: 'web' })).toThrowError(
      /say whom you expect/,
    )
  })
})

describe('HTTP/2', () => {
  it('knows the peer on both sides, through its proxies', async () => {
    const { server, client } = await pair()
    const made = http2.createSecureServer({}, (request, response) => {
      const ids = [request.socket, request.stream, request.stream.session].map(of => peerIdentity(of)?.uri)
      response.end(ids.join(' '))
    })
    made.on('stream', () => {})
    secureServer(made, server)
    const port = await listening(made)
    const socket = await connectTls(client, {
      port,
      host: '127.0.0.1',
      expect: only('db'),
      ALPNProtocols: ['h2'],
    })
    const session = http2.connect('https://db', { createConnection: () => socket })
    expect(peerIdentity(session)?.uri).toBe(idOf('db').uri)
    const stream = session.request({ ':path': '/' })
    expect(await text(stream)).toBe([1, 2, 3].map(() => idOf('web').uri).join(' '))
    session.close()
    await once(session, 'close')
    expect(peerIdentity(session)).toBeUndefined()
  })
})

describe('clients', () => {
  it('send nothing to a server that is not who was expected', async () => {
    const { server, client } = await pair()
    const { port, seen } = await httpsServer(server)
    const expect_ = only('payments')
    const agent = createHttpsAgent(client, { expect: expect_ })
    cleanup(() => agent.destroy())
    await expect(ask(port, { agent, path: '/secret' })).rejects.toMatchObject({
      code: 'AMBIENT_E_PEER_IDENTITY',
      message: expect.stringMatching(/^127\.0\.0\.1:\d+: leaf: peer is .*sa\/db, expected .*sa\/payments$/),
    })
    await expect(
      ask(port, { ...createTlsOptions(client, { expect: expect_ }), agent: false }),
    ).rejects.toMatchObject({
      code: 'AMBIENT_E_PEER_IDENTITY',
    })
    expect(seen).toEqual([])
  })

  it('send nothing to a server of another trust root, also by options alone', async () => {
    const foreign = await sourceOf('db')
    const client = await sourceOf('web')
    const received: Buffer[] = []
    const identity = foreign.current()
    const server = tls.createServer(
      { cert: identity?.certificateChain, key: identity?.privateKey() },
      socket => socket.on('data', bytes => received.push(bytes)).on('error', () => {}),
    )
    const port = await listening(server)
    const options = createTlsOptions(client, { expect: { kind: 'any' } })
    await expect(ask(port, { ...options, agent: false })).rejects.toThrow()
    await expect(
      connectTls(client, { port, host: '127.0.0.1', expect: { kind: 'any' } }),
    ).rejects.toMatchObject({
      code: 'AMBIENT_E_PEER_IDENTITY',
    })
    expect(received).toEqual([])
  })

  it('take options for any API of node:tls', async () => {
    const { server, client } = await pair()
    const { port } = await httpsServer(server, only('web'))
    const options = createTlsOptions(client, { expect: only('db') })
    expect((await ask(port, { ...options, agent: false })).body).toBe(idOf('web').uri)
    const [again] = [createTlsOptions(client, { expect: only('db') })]
    expect(again.secureContext).toBe(options.secureContext)
    await client.rotate()
    expect(createTlsOptions(client, { expect: only('db') }).secureContext).not.toBe(options.secureContext)
    client.lose()
    expect(() => createTlsOptions(client, { expect: only('db') })).toThrowError(
      expect.objectContaining({ code: 'AMBIENT_E_IDENTITY_UNAVAILABLE' }),
    )
    await expect(ask(port, { ...options, agent: false })).rejects.toMatchObject({
      code: 'AMBIENT_E_IDENTITY_UNAVAILABLE',
    })
  })

  it('share no connection of an agent with another identity or another expectation', async () => {
    const { server, client } = await pair()
    const other = await sourceOf('other', server.identities)
    const { port } = await httpsServer(server)
    const agent = new https.Agent({ keepAlive: true })
    cleanup(() => agent.destroy())
    const by = (source: typeof client, expected: Expectation): https.RequestOptions => ({
      agent,
      ...createTlsOptions(source, { expect: expected }),
    })
    expect((await ask(port, by(client, { kind: 'any' }))).body).toBe(idOf('web').uri)
    expect((await ask(port, by(other, { kind: 'any' }))).body).toBe(idOf('other').uri)
    await expect(ask(port, by(client, only('cache')))).rejects.toThrow(/peer is .*\/db, expected .*\/cache/)
    await expect(
      ask(
        port,
        by(client, () => false),
      ),
    ).rejects.toThrow(/was not expected/)
    // What says the same may share one.
    await ask(port, by(client, only('db')))
    const again = https.request({ host: '127.0.0.1', port, ...by(client, only('db')) }).end()
    const [response] = await once(again, 'response')
    expect(again.reusedSocket).toBe(true)
    await text(response)
  })

  it('resume no session of an agent, which nobody would judge', async () => {
    const { server, client } = await pair()
    const { certificateChain: cert, trustBundle: ca, privateKey } = await server.get()
    const offering = https.createServer(
      { cert, ca, key: privateKey(), requestCert: true },
      (request, response) => request.resume().on('end', () => response.end('answer')),
    )
    const port = await listening(offering)
    const agent = new https.Agent({ keepAlive: false })
    cleanup(() => agent.destroy())
    let isBelieved = true
    const options = createTlsOptions(client, { expect: () => isBelieved })
    await ask(port, { agent, ...options })
    isBelieved = false
    await expect(ask(port, { agent, ...options })).rejects.toThrow(/was not expected/)
  })

  it('check the SPIFFE ID where others check names', async () => {
    const { server, client } = await pair()
    const { port } = await httpsServer(server)
    const identity = client.current()
    const options = {
      ca: identity?.trustBundle,
      cert: identity?.certificateChain,
      key: identity?.privateKey(),
      agent: false,
    }
    const check = createServerIdentityCheck(client, { expect: only('db') })
    expect((await ask(port, { ...options, checkServerIdentity: check })).body).toBe(idOf('web').uri)
    const wrong = createServerIdentityCheck(client, { expect: only('payments') })
    await expect(ask(port, { ...options, checkServerIdentity: wrong })).rejects.toMatchObject({
      code: 'AMBIENT_E_PEER_IDENTITY',
    })
  })

  it('are refused by a server that has its options and nothing more, unless its bundle knows them', async () => {
    const { server, client } = await pair()
    const options = createTlsOptions(server, { role: 'server' })
    expect(inspect(options) + JSON.stringify(options)).not.toContain('PRIVATE KEY')
    // @ts-expect-error: from JavaScript
    expect(() => createTlsOptions(server, { role: 'server', expect: only('web') })).toThrowError(
      /secureServer/,
    )
    const seen: string[] = []
    const made = https.createServer(options, (request, response) => {
      seen.push(request.url ?? '')
      response.end('hello')
    })
    made.on('tlsClientError', () => {})
    const port = await listening(made)
    const own = { ...createTlsOptions(client, { expect: only('db') }), agent: false }
    expect((await ask(port, { ...own, path: '/own' })).body).toBe('hello')
    const stranger = (await sourceOf('web')).current()
    const foreign = {
      cert: stranger?.certificateChain,
      key: stranger?.privateKey(),
      rejectUnauthorized: false,
      agent: false,
    }
    await expect(ask(port, { ...foreign, path: '/foreign' })).rejects.toThrow()
    expect(seen).toEqual(['/own'])
  })

  it('through undici, whatever its major', async () => {
    const { server, client } = await pair()
    const { port } = await httpsServer(server)
    const connect = createUndiciConnector(client, { expect: only('db') })
    const socket = await new Promise<tls.TLSSocket>((resolve, reject) =>
      connect({ hostname: '127.0.0.1', port: String(port), protocol: 'https:' }, (error, made) =>
        made === null ? reject(error) : resolve(made),
      ),
    )
    expect(peerIdentity(socket)?.uri).toBe(idOf('db').uri)
    socket.destroy()
    const refused = new Promise(resolve =>
      connect({ hostname: 'db', protocol: 'http:' }, (...[error]) => resolve(error)),
    )
    expect(await refused).toBeInstanceOf(TypeError)
  })

  it('give up in time, and when they are told to', async () => {
    const { client } = await pair()
    const silent = (await import('node:net')).createServer()
    const port = await listening(silent)
    const clock = createManualClock()
    const waiting = connectTls(client, { port, host: '127.0.0.1', expect: only('db'), clock })
    const accepted = once(silent, 'connection')
    await accepted
    clock.advance(10_000)
    await expect(waiting).rejects.toMatchObject({
      code: 'AMBIENT_E_TLS',
      message: expect.stringMatching(/10000 ms/),
    })
    const abort = new AbortController()
    const aborted = connectTls(client, {
      port,
      host: '127.0.0.1',
      expect: only('db'),
      signal: abort.signal,
      clock,
    })
    await once(silent, 'connection')
    abort.abort(new Error('enough'))
    await expect(aborted).rejects.toThrowError('enough')
    expect(clock.pending).toBe(0)
  })
})

describe('peerIdentity', () => {
  it('is undefined for what nobody proved', async () => {
    const { server } = await pair()
    const options = createTlsOptions(server, { role: 'server' })
    const made = tls.createServer({ ...options, requestCert: false })
    const port = await listening(made)
    const accepted = once(made, 'secureConnection')
    const socket = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false })
    cleanup(() => socket.destroy())
    const [far] = await accepted
    for (const of of [far, socket, undefined, null, 'socket', {}, { socket: far }, { session: {} }])
      expect(peerIdentity(of)).toBeUndefined()
  })
})
