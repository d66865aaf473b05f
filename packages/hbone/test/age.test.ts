/** Sessions of a certain age are replaced, rotation asks for none of it, and tunnels finish on the old ones. */
import { once } from 'node:events'
import { createManualClock } from '@ambient/core/testing'
import { HboneError, resolveLimits, type Tunnel, type TunnelRequest } from '@ambient/hbone'
import { describe, expect, it } from 'vitest'
import { emptied, harness, identities, web } from './harness.ts'

const AGE_MS = 100_000

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

async function works(tunnel: Tunnel): Promise<void> {
  const socket = tunnel.socket()
  socket.end('x')
  for await (const bytes of socket) expect(String(bytes)).toBe('x')
}

/** Sessions answer PINGs in real time, so a manual clock must not run past one unanswered. */
const patient = { pingAfterMs: 10 * AGE_MS, idleMs: 10 * AGE_MS }

describe('maxSessionAgeMs', () => {
  it('is none by default', () => {
    expect(resolveLimits().maxSessionAgeMs).toBe(0)
    expect(() => resolveLimits({ maxSessionAgeMs: -1 })).toThrow(HboneError)
  })

  it('drains a pool’s session: new tunnels take a new one, the old one finishes', async () => {
    const clock = createManualClock()
    const h = await harness({ onTunnel: echo }, { clock, limits: { ...patient, maxSessionAgeMs: AGE_MS } })
    const old = await h.connect()
    await works(await h.connect())
    clock.advance(AGE_MS * 0.9 - 1)
    expect(old.draining.aborted).toBe(false)
    clock.advance(AGE_MS * 0.1 + 1)
    expect(old.draining.aborted).toBe(true)
    const young = await h.connect()
    expect(h.pool.sessions).toBe(2)
    await works(old)
    await works(young)
    await emptied(h.server, 1)
    expect(h.pool.sessions).toBe(1)
  })

  it('drains a server’s session', async () => {
    const clock = createManualClock()
    const h = await harness({ onTunnel: echo, clock, limits: { ...patient, maxSessionAgeMs: AGE_MS } })
    const old = await h.connect()
    // The greetings of both sides are over.
    await works(await h.connect())
    clock.advance(AGE_MS)
    await once(old.draining, 'abort')
    const young = await h.connect()
    expect(h.pool.sessions).toBe(2)
    await works(old)
    await works(young)
    await emptied(h.server, 1)
  })

  it('does not come to all sessions at one moment', async () => {
    const clock = createManualClock()
    const h = await harness({ onTunnel: echo }, { clock, limits: { ...patient, maxSessionAgeMs: AGE_MS } })
    const tunnels: Tunnel[] = []
    for (let generation = 1; generation <= 12; generation++)
      tunnels.push(await h.connect({ credentials: { ...web, generation } }))
    const moments = new Set<number>()
    clock.advance(AGE_MS * 0.9)
    for (let step = 0; step <= 100; step++) {
      const before = tunnels.filter(tunnel => tunnel.draining.aborted).length
      clock.advance(AGE_MS / 1_000)
      if (tunnels.filter(tunnel => tunnel.draining.aborted).length > before) moments.add(step)
    }
    expect(tunnels.every(tunnel => tunnel.draining.aborted)).toBe(true)
    expect(moments.size).toBeGreaterThan(2)
  })

  it('leaves no timer behind', async () => {
    const clock = createManualClock()
    const h = await harness({ onTunnel: echo }, { clock, limits: { ...patient, maxSessionAgeMs: AGE_MS } })
    await works(await h.connect())
    await h.pool.close()
    expect(clock.pending).toBe(0)
  })
})

describe('a new certificate', () => {
  it('is used by new sessions; old ones live to their end', async () => {
    const seen: number[] = []
    const h = await harness({
      onTunnel: request => {
        seen.push(request.peer.notAfter)
        echo(request)
      },
    })
    const old = await h.connect()
    const renewed = await identities.credentials(web.id.uri)
    const young = await h.connect({ credentials: { ...renewed, generation: 2 } })
    expect(h.pool.sessions).toBe(2)
    expect(old.draining.aborted).toBe(false)
    await works(old)
    await works(young)
    const again = await h.connect({ credentials: { ...renewed, generation: 2 } })
    expect(h.pool.sessions).toBe(2)
    await works(again)
    expect(seen).toHaveLength(3)
  })

  it('of the server is shown to new sessions', async () => {
    let current = await identities.credentials({ namespace: 'shop', serviceAccount: 'db' })
    const h = await harness({ onTunnel: echo, credentials: () => current })
    const old = await h.connect()
    current = await identities.credentials({ namespace: 'shop', serviceAccount: 'db2' })
    // The session that is there keeps the identity that it was made with.
    const same = await h.connect()
    expect(same.peer.id.uri).toBe(old.peer.id.uri)
    const young = await h.connect({ expect: [current.id] })
    expect(young.peer.id.uri).toBe(current.id.uri)
    for (const tunnel of [old, same, young]) await works(tunnel)
  })
})
