/** Whose verdict counts: our verifier's, at both ends, before the first byte is parsed; the platform's never. */
import { once } from 'node:events'
import { createServer as createTlsServer, type TLSSocket } from 'node:tls'
import { type Credentials, type PeerVerdict, silentLogger } from '@ambient/core'
import { listen } from '@ambient/core/node'
import { createHbonePool, createHboneServer, type HboneFailure, type TunnelRequest } from '@ambient/hbone'
import { createTestIdentities } from '@ambient/identity/testing'
import { describe, expect, it } from 'vitest'
import { db, deferred, failure, harness, later, web } from './harness.ts'

const elsewhere = await createTestIdentities()
/** Of another CA, so that the platform's verdict on one of ours is "unknown authority", and the other way round. */
const foreign = await elsewhere.credentials({ namespace: 'shop', serviceAccount: 'web' })

function saying(credentials: Credentials, verdict: PeerVerdict): Credentials {
  return { ...credentials, verifyPeer: () => verdict }
}

const yes = (credentials: Credentials): PeerVerdict => ({
  ok: true,
  id: credentials.id,
  notAfter: credentials.notAfter,
})
const no: PeerVerdict = { ok: false, problem: 'revoked', reason: 'nobody is believed today' }

function accept(request: TunnelRequest): void {
  request.accept().end()
}

describe('our verifier', () => {
  it('says yes where the platform says no, at both ends', async () => {
    const said: unknown[] = []
    const logger = {
      ...silentLogger,
      debug: (fields: object, message: string) => said.push([message, fields]),
    }
    const h = await harness({ credentials: () => saying(db, yes(foreign)), onTunnel: accept }, { logger })
    const tunnel = await h.connect({ credentials: saying(foreign, yes(db)) })
    expect(tunnel.peer.id.uri).toBe(db.id.uri)
    // What it thinks is there to be read, after what was decided, so that nobody takes it for a failure.
    const at = `127.0.0.1:${h.port.port}`
    expect(said).toContainEqual([
      'peer accepted; what the platform says of it decides nothing',
      { peer: at, platform: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' },
    ])
  })

  it('says no where the platform says yes: the client sends no byte of HTTP/2', async () => {
    const heard: Buffer[] = []
    const server = createTlsServer(
      { cert: db.certificateChain, key: db.privateKey(), ALPNProtocols: ['h2'] },
      socket => socket.on('data', (bytes: Buffer) => heard.push(bytes)).on('error', () => {}),
    )
    const closed = deferred<void>()
    server.on('connection', socket => socket.once('close', () => closed.resolve()))
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    later(async () => {
      server.close()
      await once(server, 'close')
    })
    const at = server.address()
    const pool = createHbonePool()
    later(() => pool.close({ graceMs: 0 }))
    const error = await failure(
      pool.connect({
        credentials: saying(web, no),
        to: { address: '127.0.0.1', port: typeof at === 'object' && at !== null ? at.port : 0 },
        expect: [db.id],
        authority: '10.0.0.1:80',
      }),
    )
    expect(error).toMatchObject({ code: 'AMBIENT_E_PEER_IDENTITY', problem: 'revoked' })
    await closed.promise
    expect(heard).toEqual([])
  })

  it('says no where the platform says yes: the server parses no byte, and says none', async () => {
    const failed = deferred<HboneFailure>()
    const h = await harness({
      credentials: () => saying(db, no),
      onFailure: failed.resolve,
      onTunnel: () => expect.unreachable(),
    })
    // The client is done with its handshake before it is judged, and has sent its preface and its CONNECT.
    expect(await failure(h.connect())).toMatchObject({ code: 'AMBIENT_E_TLS' })
    expect((await failed.promise).error).toMatchObject({
      code: 'AMBIENT_E_PEER_IDENTITY',
      message: expect.stringContaining('nobody is believed today'),
    })
    expect(h.server.sessions).toBe(0)
  })

  it('that fails has not said yes', async () => {
    const broken: Credentials = {
      ...db,
      verifyPeer: () => {
        throw new Error('out of order')
      },
    }
    const h = await harness({ credentials: () => broken, onTunnel: () => expect.unreachable() })
    expect(await failure(h.connect())).toMatchObject({ code: 'AMBIENT_E_TLS' })
    const g = await harness({ onTunnel: () => expect.unreachable() })
    const error = await failure(g.connect({ credentials: { ...web, verifyPeer: broken.verifyPeer } }))
    expect(error.message).toContain('out of order')
    expect(g.server.sessions).toBe(0)
  })
})

describe('a client', () => {
  it('sends no SNI, offers h2 and no session, and takes a server that chooses no protocol', async () => {
    const seen: { servername: unknown; alpn: unknown; isReused: boolean }[] = []
    const tunnels: TLSSocket[] = []
    const server = createTlsServer(
      { cert: db.certificateChain, key: db.privateKey(), requestCert: true, rejectUnauthorized: false },
      socket => {
        const { servername, alpnProtocol } = socket as TLSSocket & { servername: unknown }
        seen.push({ servername, alpn: alpnProtocol, isReused: socket.isSessionReused() })
        tunnels.push(socket)
        socket.on('error', () => {})
        // As much HTTP/2 as it takes: SETTINGS.
        socket.write(Buffer.from('000000040000000000', 'hex'))
        socket.once('data', (bytes: Buffer) => {
          expect(String(bytes.subarray(0, 14))).toBe('PRI * HTTP/2.0')
          // 200 to stream 1: HEADERS with END_HEADERS, the static entry 8.
          socket.write(Buffer.from('00000101040000000188', 'hex'))
        })
      },
    )
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    later(async () => {
      for (const socket of tunnels) socket.destroy()
      server.close()
      await once(server, 'close')
    })
    const at = server.address()
    const pool = createHbonePool()
    later(() => pool.close({ graceMs: 0 }))
    for (let generation = 1; generation <= 2; generation++) {
      const tunnel = await pool.connect({
        credentials: { ...web, generation },
        to: { address: '127.0.0.1', port: typeof at === 'object' && at !== null ? at.port : 0 },
        expect: [db.id],
        authority: '10.0.0.1:80',
      })
      expect(tunnel.peer.id.uri).toBe(db.id.uri)
    }
    const plain = { servername: false, alpn: false, isReused: false }
    expect(seen).toEqual([plain, plain])
  })
})

describe('a server', () => {
  it('says nothing of why it refuses a certificate but by its end', async () => {
    const server = createHboneServer({ credentials: () => db, onTunnel: () => expect.unreachable() })
    const failed = deferred<string>()
    const port = await listen({
      host: '127.0.0.1',
      port: 0,
      onConnection: socket => {
        socket.once('close', () => failed.resolve('closed'))
        server.accept(socket)
      },
    })
    const pool = createHbonePool()
    later(async () => {
      await pool.close({ graceMs: 0 })
      await port.close()
      await server.close({ graceMs: 0 })
    })
    const error = await failure(
      pool.connect({
        credentials: saying(foreign, yes(db)),
        to: { address: '127.0.0.1', port: port.port },
        expect: [db.id],
        authority: '10.0.0.1:80',
      }),
    )
    expect(error).toMatchObject({ code: 'AMBIENT_E_TLS' })
    expect(await failed.promise).toBe('closed')
    expect(server.sessions).toBe(0)
  })
})
