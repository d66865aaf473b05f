/** Clients with identities that rotate, over their own connections, agents, connectors and plain options. */
import { once } from 'node:events'
import * as https from 'node:https'
import * as tls from 'node:tls'
import { inspect } from 'node:util'
import { createManualClock } from '@ambient/core/testing'
import { describe, expect, it } from 'vitest'
import {
  connectTls,
  createHttpsAgent,
  createServerIdentityCheck,
  createTlsOptions,
  createUndiciConnector,
  peerIdentity,
  type Expectation,
} from '../src/index.ts'
import { ask, cleanup, httpsServer, idOf, listening, only, pair, sourceOf } from './tls-fixtures.ts'

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
    const nameOf = (options: https.RequestOptions): string => agent.getName(options)
    expect(nameOf(by(client, only('db'))), 'what says the same may share one').toBe(
      nameOf(by(client, only('db'))),
    )
    const before = nameOf(by(client, only('db')))
    await client.rotate()
    expect(nameOf(by(client, only('db')))).not.toBe(before)
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

  it('through the connector that undici takes', async () => {
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
