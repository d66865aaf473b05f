/** Trust changes: sessions whose peer is no longer believed end at once, with their tunnels; the others live. */
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import type { Credentials, PeerVerdict } from '@ambient/core'
import { listen } from '@ambient/core/node'
import { createManualClock } from '@ambient/core/testing'
import {
  createHbonePool,
  createHboneServer,
  type HboneFailure,
  type SessionProof,
  type Tunnel,
  type TunnelRequest,
} from '@ambient/hbone'
import { createTestIdentities } from '@ambient/identity/testing'
import { describe, expect, it } from 'vitest'
import { db, deferred, failure, harness, identities, later, web } from './harness.ts'

const admin = await identities.credentials({ namespace: 'shop', serviceAccount: 'admin' })

function serialOf(chain: readonly Uint8Array[]): string {
  const [leaf] = chain
  return leaf === undefined ? '' : new X509Certificate(leaf).serialNumber
}

const serial = (credentials: Credentials): string =>
  new X509Certificate(credentials.certificateChain).serialNumber

/** What a CRL would say. */
function revoking(...serials: readonly string[]): (proof: SessionProof) => PeerVerdict {
  return ({ chain, credentials, expect: expected, since }) =>
    serials.includes(serialOf(chain))
      ? { ok: false, problem: 'revoked', reason: `certificate ${serialOf(chain)} was revoked` }
      : credentials.verifyPeer(chain, expected, since)
}

function echo(request: TunnelRequest): void {
  const channel = request.accept()
  channel.start({
    data: bytes => channel.write(bytes),
    end: () => channel.end(),
    drained() {},
    finished() {},
    reset() {},
  })
}

/** Resolves with the message of the error that ends the tunnel; an end is none. */
async function cutOf(tunnel: Tunnel): Promise<string> {
  const socket = tunnel.socket()
  const error = new Promise<string>(resolve => socket.once('error', ({ message }) => resolve(message)))
  socket.once('end', () => socket.destroy(new Error('an end')))
  socket.resume()
  return error
}

async function works(tunnel: Tunnel): Promise<void> {
  const socket = tunnel.socket()
  socket.end('x')
  for await (const bytes of socket) expect(String(bytes)).toBe('x')
}

describe('a server', () => {
  it('ends the sessions of a revoked certificate, and no other', async () => {
    const failures: HboneFailure[] = []
    const resets: string[] = []
    const h = await harness({
      onFailure: seen => failures.push(seen),
      onTunnel: request => {
        if (request.peer.id.uri === admin.id.uri) return echo(request)
        const channel = request.accept()
        channel.start({
          data: () => true,
          end() {},
          drained() {},
          finished() {},
          reset: ({ by, reason }) => resets.push(`${by}: ${reason}`),
        })
      },
    })
    const tunnels = await Promise.all([h.connect(), h.connect()])
    const other = await h.connect({ credentials: admin })
    const cuts = Promise.all(tunnels.map(cutOf))
    expect(h.server.sessions).toBe(2)

    expect(h.server.recheck(revoking(serial(web)))).toBe(1)
    // At once here, a round trip later there.
    expect([h.server.sessions, h.server.tunnels]).toEqual([1, 1])
    const reason = `connection closed: ${web.id.uri} is no longer believed: certificate ${serial(web)} was revoked`
    expect(resets).toEqual([`local: ${reason}`, `local: ${reason}`])
    expect(failures.map(({ error }) => [error.code, error.problem, error.message])).toEqual([
      ['AMBIENT_E_PEER_IDENTITY', 'revoked', reason],
    ])
    for (const message of await cuts) expect(message).toContain('INTERNAL_ERROR')
    await works(other)
    expect(h.server.recheck(revoking(serial(web)))).toBe(0)
  })

  it('hears by default from the verifier that judged first, for the moment of the handshake', async () => {
    const clock = createManualClock()
    let isRevoked = false
    const asked: (number | undefined)[] = []
    const own: Credentials = {
      ...db,
      verifyPeer: (chain, expected, at) => {
        asked.push(at)
        return isRevoked
          ? { ok: false, problem: 'revoked', reason: 'revoked' }
          : db.verifyPeer(chain, expected)
      },
    }
    const h = await harness({ credentials: () => own, onTunnel: echo, clock })
    const tunnel = await h.connect()
    const since = clock.now()
    expect(h.server.recheck()).toBe(0)
    isRevoked = true
    expect(h.server.recheck()).toBe(1)
    expect(asked).toEqual([undefined, since, since])
    expect(await cutOf(tunnel)).toContain('INTERNAL_ERROR')
  })

  it('does not keep whom it cannot judge', async () => {
    const h = await harness({ onTunnel: echo })
    const tunnel = await h.connect()
    const cut = cutOf(tunnel)
    const ended = h.server.recheck(() => {
      throw new Error('the list cannot be read')
    })
    expect(ended).toBe(1)
    await cut
  })

  it('judges by the new word whoever was still proving itself', async () => {
    const asking = deferred<void>()
    const answer = deferred<Credentials>()
    const failed = deferred<HboneFailure>()
    const server = createHboneServer({
      credentials: () => {
        asking.resolve()
        return answer.promise
      },
      onFailure: failed.resolve,
      onTunnel: echo,
    })
    const port = await listen({ host: '127.0.0.1', port: 0, onConnection: socket => server.accept(socket) })
    const pool = createHbonePool()
    later(async () => {
      await pool.close({ graceMs: 0 })
      await port.close()
      await server.close({ graceMs: 0 })
    })
    const own: Credentials = {
      ...db,
      verifyPeer: (chain, expected) => {
        // Between the old verifier's verdict and the session.
        server.recheck(revoking(serial(web)))
        return db.verifyPeer(chain, expected)
      },
    }
    const connecting = failure(
      pool.connect({
        credentials: web,
        to: { address: '127.0.0.1', port: port.port },
        expect: [db.id],
        authority: '10.0.0.1:80',
      }),
    )
    await asking.promise
    answer.resolve(own)
    expect((await failed.promise).error).toMatchObject({ problem: 'revoked' })
    expect(await connecting).toMatchObject({ code: 'AMBIENT_E_TLS' })
    expect(server.sessions).toBe(0)
  })
})

describe('a pool', () => {
  it('ends the sessions with a revoked server, and no other; new tunnels are refused by its verifier', async () => {
    const first = await harness({ onTunnel: echo })
    const second = createHboneServer({ credentials: () => admin, onTunnel: echo })
    const port = await listen({ host: '127.0.0.1', port: 0, onConnection: socket => second.accept(socket) })
    later(async () => {
      await port.close()
      await second.close({ graceMs: 0 })
    })
    const tunnel = await first.connect()
    const other = await first.connect({
      to: { address: '127.0.0.1', port: port.port },
      expect: [admin.id],
    })
    const cut = cutOf(tunnel)
    const drained = once(tunnel.draining, 'abort')
    expect(first.pool.recheck(revoking(serial(db)))).toBe(1)
    expect([first.pool.sessions, first.pool.tunnels]).toEqual([1, 1])
    expect(await cut).toContain(`${db.id.uri} is no longer believed: certificate ${serial(db)} was revoked`)
    await drained
    await works(other)
    await works(await first.connect())
  })

  it('judges by the new word whoever was still proving itself', async () => {
    const h = await harness({ onTunnel: echo })
    const own: Credentials = {
      ...web,
      verifyPeer: (chain, expected) => {
        // Between the old verifier's verdict and the session.
        h.pool.recheck(revoking(serial(db)))
        return web.verifyPeer(chain, expected)
      },
    }
    const error = await failure(h.connect({ credentials: own }))
    expect(error).toMatchObject({ code: 'AMBIENT_E_PEER_IDENTITY', problem: 'revoked' })
    expect(h.pool.sessions).toBe(0)
  })

  it('takes another bundle’s word', async () => {
    const h = await harness({ onTunnel: echo })
    const tunnel = await h.connect()
    const elsewhere = await createTestIdentities()
    const stranger = await elsewhere.credentials({ namespace: 'shop', serviceAccount: 'web' })
    const cut = cutOf(tunnel)
    const ended = h.pool.recheck(({ chain, expect: expected, since }) =>
      stranger.verifyPeer(chain, expected, since),
    )
    expect(ended).toBe(1)
    expect(await cut).toMatch(/no longer believed: .*/)
  })

  it('judges for the moment of the handshake: a certificate that expired since ends nothing', async () => {
    const h = await harness({ onTunnel: echo })
    const tunnel = await h.connect()
    const whenRead: number[] = []
    const ended = h.pool.recheck(({ credentials, chain, expect: expected, since }) => {
      whenRead.push(since)
      const later = credentials.verifyPeer(chain, expected, since + 365 * 86_400_000)
      expect(later).toMatchObject({ ok: false, problem: 'expired' })
      return credentials.verifyPeer(chain, expected, since)
    })
    expect([ended, h.pool.recheck(), whenRead.length]).toEqual([0, 0, 1])
    await works(tunnel)
  })
})
