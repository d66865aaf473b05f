/** Our client and our server: the channel contract over real mTLS, answers, refusals, who may speak. */
import { once } from 'node:events'
import { connect as tlsConnect } from 'node:tls'
import type { Channel } from '@ambient/core'
import { connect, type HboneFailure, type TunnelRequest } from '@ambient/hbone'
import { createTestIdentities } from '@ambient/identity/testing'
import { describe, expect, it } from 'vitest'
import { channelContract, Recorder } from '../../../test/contracts/channel.ts'
import { db, failure, harness, later, web } from './harness.ts'

channelContract('HBONE tunnel', async () => {
  let accepted: (channel: Channel) => void = () => {}
  const server = new Promise<Channel>(resolve => {
    accepted = resolve
  })
  const { connect: open } = await harness({ onTunnel: request => accepted(request.accept()) })
  const tunnel = await open()
  return { a: tunnel.channel, b: await server, dispose: async () => {} }
})

describe('a tunnel', () => {
  it('shows both proven identities, the authority and the headers', async () => {
    let seen: TunnelRequest | undefined
    const { connect: open } = await harness({
      onTunnel: request => {
        seen = request
        request.accept([['baggage', 'service.name=db']]).end()
      },
    })
    const tunnel = await open({
      headers: [
        ['baggage', 'a=1'],
        ['baggage', 'b=2'],
        ['forwarded', 'for="10.0.0.1:1"'],
      ],
    })
    expect(tunnel.peer.id.uri).toBe(db.id.uri)
    expect(tunnel.responseHeaders).toEqual([['baggage', 'service.name=db']])
    expect(seen?.peer.id.uri).toBe(web.id.uri)
    expect(seen?.authority).toBe('127.0.0.1:8080')
    expect(seen?.header('baggage')).toBe('a=1,b=2')
    expect(seen?.peer.address).toBe('127.0.0.1')
    tunnel.channel.reset('CANCEL', 'done')
  })

  it('is refused with the status that the server chose, and leaves nothing behind', async () => {
    const { connect: open, server, pool } = await harness({ onTunnel: request => request.refuse(401) })
    const error = await failure(open())
    expect(error.code).toBe('AMBIENT_E_HBONE_REFUSED')
    expect(error.status).toBe(401)
    expect(pool.tunnels).toBe(0)
    expect(pool.sessions).toBe(1)
    await pool.close()
    expect(server.tunnels).toBe(0)
  })

  it.each([200, 204, 199, 600, Number.NaN])(
    'is not refused with %s, which would be no refusal',
    async status => {
      const problems: unknown[] = []
      const { connect: open } = await harness({
        onTunnel: request => {
          try {
            request.refuse(status)
          } catch (error) {
            problems.push(error)
          }
        },
      })
      expect(await failure(open())).toMatchObject({ code: 'AMBIENT_E_HBONE_REFUSED', status: 503 })
      expect(problems).toMatchObject([{ code: 'AMBIENT_E_HBONE_OPTION' }])
    },
  )

  it('is refused with 503 when the handler fails or says nothing', async () => {
    const { connect: open } = await harness({
      onTunnel: request => {
        if (request.authority.endsWith(':1')) throw new Error('broken')
      },
    })
    expect((await failure(open({ authority: '127.0.0.1:1' }))).status).toBe(503)
    expect((await failure(open({ authority: '127.0.0.1:2' }))).status).toBe(503)
  })

  it('delivers no byte before the server has accepted, and all of them after', async () => {
    let answer: () => void = () => {}
    const events = new Recorder()
    const asked = new Promise<void>(resolve => {
      answer = resolve
    })
    let release: () => void = () => {}
    const gate = new Promise<void>(resolve => {
      release = resolve
    })
    const { pool, request } = await harness({
      onTunnel: async tunnel => {
        answer()
        await gate
        tunnel.accept().start(events)
      },
    })
    const opening = pool.connect(request())
    await asked
    expect(events.received).toBe(0)
    release()
    const tunnel = await opening
    tunnel.channel.write(Buffer.from('hello'))
    await events.until(() => events.received === 5)
    tunnel.channel.reset('CANCEL', 'done')
    await events.seen('reset')
  })

  it('of a session of its own ends with that session', async () => {
    const { server, request } = await harness({ onTunnel: tunnel => tunnel.accept().end() })
    const tunnel = await connect(request())
    const socket = tunnel.socket()
    socket.resume()
    socket.end()
    await once(socket, 'close')
    await server.close({ graceMs: 1_000 })
    expect(server.sessions).toBe(0)
  })
})

describe('who may speak', () => {
  it('a server that proves another identity than expected gets no request', async () => {
    let asked = 0
    const { connect: open } = await harness({ onTunnel: () => void asked++ })
    const error = await failure(open({ expect: [web.id] }))
    expect(error.code).toBe('AMBIENT_E_PEER_IDENTITY')
    expect(error.problem).toBe('unexpected-identity')
    expect(error.message).toContain(db.id.uri)
    expect((await failure(open({ expect: [] }))).problem).toBe('unexpected-identity')
    expect(asked).toBe(0)
  })

  it('a client of another trust domain is refused by name, before any byte is parsed', async () => {
    const failures: HboneFailure[] = []
    let asked = 0
    const { connect: open } = await harness({
      onTunnel: () => void asked++,
      onFailure: entry => failures.push(entry),
    })
    const other = await createTestIdentities({ trustDomain: 'other.example' })
    const stranger = await other.credentials({ namespace: 'shop', serviceAccount: 'web' })
    const error = await failure(
      open({ credentials: { ...stranger, privateKey: stranger.privateKey, verifyPeer: db.verifyPeer } }),
    )
    expect(['AMBIENT_E_TLS', 'AMBIENT_E_PEER_IDENTITY']).toContain(error.code)
    expect(failures[0]?.error.code).toBe('AMBIENT_E_PEER_IDENTITY')
    expect(asked).toBe(0)
  })

  it('a client without a certificate gets an alert, and is refused by name', async () => {
    const failures: HboneFailure[] = []
    const { port } = await harness({ onTunnel: () => {}, onFailure: entry => failures.push(entry) })
    const socket = tlsConnect({
      host: '127.0.0.1',
      port: port.port,
      rejectUnauthorized: false,
      ALPNProtocols: ['h2'],
    })
    const [alert] = await once(socket, 'error')
    expect(alert).toMatchObject({ code: 'ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED' })
    expect(failures[0]?.error.problem).toBe('no-certificate')
  })

  it('a client that offers no ALPN is served, one that offers something else is not', async () => {
    const failures: HboneFailure[] = []
    const { port, server } = await harness({ onTunnel: () => {}, onFailure: entry => failures.push(entry) })
    const options = {
      host: '127.0.0.1',
      port: port.port,
      rejectUnauthorized: false,
      cert: web.certificateChain,
      key: web.privateKey(),
    }
    const plain = tlsConnect(options)
    plain.on('error', () => {})
    await once(plain, 'data')
    expect(server.sessions).toBe(1)
    plain.destroy()
    const http1 = tlsConnect({ ...options, ALPNProtocols: ['http/1.1'] })
    await expect(once(http1, 'secureConnect')).rejects.toThrow()
    later(async () => void http1.destroy())
  })

  it('speaks TLS 1.3 only, and resumes nothing', async () => {
    const { port } = await harness({ onTunnel: () => {} })
    const options = {
      host: '127.0.0.1',
      port: port.port,
      rejectUnauthorized: false,
      cert: web.certificateChain,
      key: web.privateKey(),
      ALPNProtocols: ['h2'],
    }
    const old = tlsConnect({ ...options, maxVersion: 'TLSv1.2' })
    await expect(once(old, 'secureConnect')).rejects.toThrow()
    const socket = tlsConnect(options)
    let session: Buffer | undefined
    socket.on('session', ticket => {
      session = ticket
    })
    await once(socket, 'data')
    expect(socket.getProtocol()).toBe('TLSv1.3')
    socket.destroy()
    if (session === undefined) return
    const again = tlsConnect({ ...options, session })
    await once(again, 'data')
    expect(again.isSessionReused()).toBe(false)
    again.destroy()
  })
})
