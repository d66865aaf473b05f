/** Servers that users create themselves, secured by identities that rotate: who is shown to them, and what they show. */
import { once } from 'node:events'
import * as http2 from 'node:http2'
import { text } from 'node:stream/consumers'
import * as tls from 'node:tls'
import { inspect } from 'node:util'
import { describe, expect, it } from 'vitest'
import { connectTls, createHttpsAgent, createTlsOptions, peerIdentity, secureServer } from '../src/index.ts'
import { ask, cleanup, httpsServer, idOf, listening, only, pair, sourceOf } from './tls-fixtures.ts'

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
