/** The manager by a clock that moves when told; nothing here waits for time. */
import { EventEmitter, once } from 'node:events'
import { type Credentials, type Logger, parseSpiffeId, silentLogger, type SpiffeId } from '@ambient/core'
import { createManualClock, type ManualClock } from '@ambient/core/testing'
import { describe, expect, it } from 'vitest'
import {
  type CertificateAuthority,
  type CertificateSigner,
  createCertificateAuthority,
  createIdentityManager,
  type IdentityManager,
  type SigningRequest,
} from '../src/index.ts'
import { renewalTime, retryDelay } from '../src/manager/schedule.ts'

const HOUR = 3_600_000
const id = (name: string): SpiffeId => parseSpiffeId(`spiffe://cluster.local/ns/shop/sa/${name}`)
const web = id('web')

/** A CA whose calls can be held, refused and counted. */
interface Desk extends CertificateSigner {
  readonly calls: string[]
  readonly events: EventEmitter
  /** The most calls at once. */
  readonly peak: number
  refuse: string | undefined
  hold: boolean
  releaseAll(): void
}

function createDesk(ca: CertificateAuthority): Desk {
  const calls: string[] = []
  const events = new EventEmitter()
  const held: (() => void)[] = []
  let running = 0
  let peak = 0
  const desk: Desk = {
    calls,
    events,
    refuse: undefined,
    hold: false,
    get peak() {
      return peak
    },
    releaseAll() {
      for (const release of held.splice(0)) release()
    },
    async sign(request: SigningRequest) {
      calls.push(request.id.uri.split('/').at(-1) ?? '')
      running += 1
      peak = Math.max(peak, running)
      try {
        const turn = desk.hold ? new Promise<void>(release => held.push(release)) : Promise.resolve()
        events.emit('call')
        await turn
        if (desk.refuse !== undefined) throw new Error(desk.refuse)
        return (await ca.sign(request)).chain
      } finally {
        running -= 1
      }
    },
    close: async () => {},
  }
  return desk
}

interface Bench {
  readonly clock: ManualClock
  readonly ca: CertificateAuthority
  readonly desk: Desk
  readonly manager: IdentityManager
  /** Resolves at the next failed attempt, after its retry was planned. */
  failed(): Promise<unknown>
  next(of: SpiffeId): Promise<Credentials>
}

async function withManager(
  run: (bench: Bench) => Promise<void>,
  options: { maxConcurrent?: number; random?: () => number; ttlMs?: number } = {},
): Promise<void> {
  const clock = createManualClock()
  const ca = await createCertificateAuthority({ trustDomain: 'cluster.local', clock })
  const desk = createDesk(ca)
  const log = new EventEmitter()
  const logger: Logger = { ...silentLogger, warn: () => void log.emit('warn') }
  const manager = createIdentityManager({ signer: desk, clock, logger, random: () => 0.5, ...options })
  try {
    await run({
      clock,
      ca,
      desk,
      manager,
      failed: () => once(log, 'warn'),
      next: of =>
        new Promise(resolve => {
          const stop = manager.watch(of, credentials => {
            stop()
            resolve(credentials)
          })
        }),
    })
  } finally {
    await manager.close()
    expect(clock.pending).toBe(0)
  }
}

describe('the manager', () => {
  it('fetches once for all who wait', () =>
    withManager(async ({ manager, desk }) => {
      const all = await Promise.all(Array.from({ length: 50 }, () => manager.get(web)))
      expect(new Set(all).size).toBe(1)
      expect(desk.calls).toEqual(['web'])
      expect(manager.current(web)).toBe(all[0])
      expect(await manager.get(web)).toBe(all[0])
    }))

  it('calls the CA for at most eight identities at once', () =>
    withManager(async ({ manager, desk }) => {
      desk.hold = true
      const all = Array.from({ length: 12 }, (_, i) => manager.get(id(`w${i}`)))
      while (desk.calls.length < 8) await once(desk.events, 'call')
      desk.hold = false
      desk.releaseAll()
      await Promise.all(all)
      expect(desk.peak).toBe(8)
      expect(desk.calls).toHaveLength(12)
    }))

  it('serves those who wait before those who only might', () =>
    withManager(
      async ({ manager, desk, next }) => {
        desk.hold = true
        const last = next(id('warm-1'))
        const first = manager.get(id('first'))
        while (desk.calls.length < 1) await once(desk.events, 'call')
        manager.prefetch(id('warm-1'))
        manager.prefetch(id('warm-2'))
        const urgent = manager.get(id('urgent'))
        const raised = manager.get(id('warm-2'))
        desk.hold = false
        desk.releaseAll()
        await Promise.all([first, urgent, raised, last])
        expect(desk.calls).toEqual(['first', 'warm-2', 'urgent', 'warm-1'])
      },
      { maxConcurrent: 1 },
    ))

  it('renews at half life by timer, without anyone asking', () =>
    withManager(async ({ manager, clock, desk, next }) => {
      const first = await manager.get(web)
      expect(manager.list()[0]?.nextRotation).toBe(first.notBefore + (first.notAfter - first.notBefore) / 2)
      const renewal = next(web)
      clock.advance(12 * HOUR - 60_000)
      expect(desk.calls).toHaveLength(1)
      clock.advance(60_000)
      const second = await renewal
      expect(second.generation).toBeGreaterThan(first.generation)
      expect(second.notAfter).toBeGreaterThan(first.notAfter)
      expect(await manager.get(web)).toBe(second)
      expect(desk.calls).toHaveLength(2)
    }))

  it('serves the old certificate while its renewal runs', () =>
    withManager(async ({ manager, clock, desk, next }) => {
      const first = await manager.get(web)
      desk.hold = true
      clock.advance(13 * HOUR)
      await once(desk.events, 'call')
      expect(await manager.get(web)).toBe(first)
      const renewal = next(web)
      desk.releaseAll()
      expect(await manager.get(web)).toBe(first)
      expect(await renewal).not.toBe(first)
    }))

  it('retries with growing patience, tells everyone why, and recovers', () =>
    withManager(async ({ manager, clock, desk, failed, next }) => {
      desk.refuse = 'no such pod'
      await expect(manager.get(web)).rejects.toMatchObject({
        code: 'AMBIENT_E_IDENTITY_UNAVAILABLE',
        message: `${web.uri} has no certificate: no such pod`,
        cause: { message: 'no such pod' },
      })
      await expect(manager.get(web)).rejects.toMatchObject({ code: 'AMBIENT_E_IDENTITY_UNAVAILABLE' })
      expect(desk.calls).toHaveLength(1)
      const waits: number[] = []
      for (let attempt = 0; attempt < 9; attempt += 1) {
        const due = manager.list()[0]?.nextRotation ?? 0
        waits.push(due - clock.now())
        const failure = failed()
        clock.advance(due - clock.now())
        await failure
      }
      expect(waits).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 150_000])
      expect(manager.list()[0]?.state).toBe(`Unavailable: ${web.uri} has no certificate: no such pod`)
      desk.refuse = undefined
      const recovered = next(web)
      clock.advance(150_000)
      expect(await manager.get(web).catch(() => recovered)).toBe(await recovered)
      expect(manager.list()[0]?.state).toBe('Available')
    }))

  it('keeps a valid certificate through failures, and not one moment longer', () =>
    withManager(async ({ manager, clock, desk, failed }) => {
      const first = await manager.get(web)
      desk.refuse = 'CA is down'
      while (clock.now() <= first.notAfter) {
        expect(await manager.get(web)).toBe(first)
        const due = manager.list()[0]?.nextRotation ?? 0
        const failure = failed()
        clock.advance(due - clock.now())
        await failure
      }
      expect(clock.now() - first.notAfter).toBeLessThanOrEqual(1_000)
      expect(manager.current(web)).toBeUndefined()
      await expect(manager.get(web)).rejects.toMatchObject({
        code: 'AMBIENT_E_IDENTITY_EXPIRED',
        message: expect.stringMatching(/expired at .* and was not renewed: CA is down$/),
      })
      expect(desk.calls.length).toBeLessThan(400)
    }))

  it('waits for a new certificate after a sleep past the expiry, and does not blame anyone', () =>
    withManager(async ({ manager, clock, desk }) => {
      const first = await manager.get(web)
      desk.hold = true
      clock.advance(48 * HOUR)
      expect(manager.current(web)).toBeUndefined()
      const waiting = manager.get(web)
      while (desk.calls.length < 2) await once(desk.events, 'call')
      desk.releaseAll()
      expect((await waiting).notAfter).toBeGreaterThan(first.notAfter + HOUR)
      expect(desk.calls).toHaveLength(2)
    }))

  it('forgets: waiting callers hear it, nothing stays behind', () =>
    withManager(async ({ manager, clock, desk }) => {
      desk.hold = true
      const waiting = manager.get(web)
      await once(desk.events, 'call')
      manager.forget(web)
      await expect(waiting).rejects.toMatchObject({
        code: 'AMBIENT_E_IDENTITY_FORGOTTEN',
        message: expect.stringContaining('the identity is no longer needed'),
      })
      desk.hold = false
      desk.releaseAll()
      expect(manager.list()).toEqual([])
      const again = await manager.get(web)
      expect(again.generation).toBeGreaterThan(0)
      manager.forget(web)
      manager.forget(web)
      expect(manager.current(web)).toBeUndefined()
      expect(clock.pending).toBe(0)
    }))

  it('rotates on demand, and keeps the old certificate when that fails', () =>
    withManager(async ({ manager, desk }) => {
      const first = await manager.get(web)
      const seen: number[] = []
      manager.watch(web, credentials => seen.push(credentials.generation))
      const second = await manager.rotate(web)
      expect(second.generation).toBeGreaterThan(first.generation)
      expect(seen).toEqual([second.generation])
      desk.refuse = 'not now'
      await expect(manager.rotate(web)).rejects.toThrow('not now')
      expect(await manager.get(web)).toBe(second)
    }))

  it('tells one function that watches twice until both watches end', () =>
    withManager(async ({ manager }) => {
      let told = 0
      const listener = (): void => {
        told += 1
      }
      const stops = [manager.watch(web, listener), manager.watch(web, listener)]
      await manager.get(web)
      expect(told).toBe(2)
      stops[0]?.()
      await manager.rotate(web)
      expect(told).toBe(3)
      stops[1]?.()
      await manager.rotate(web)
      expect(told).toBe(3)
    }))

  it('prefetches, and lists what it holds', () =>
    withManager(async ({ manager, ca, next }) => {
      const arrived = next(web)
      manager.prefetch(web)
      manager.prefetch(web)
      expect(manager.list()).toEqual([
        { identity: web.uri, state: 'Initializing', certChain: [], rootCerts: [] },
      ])
      const { notBefore, notAfter } = await arrived
      expect(manager.list()).toMatchObject([
        { identity: web.uri, state: 'Available', rootCerts: [ca.rootPem], notBefore, notAfter },
      ])
      expect(JSON.stringify(manager.list())).not.toContain('PRIVATE')
    }))

  it('lets a caller stop waiting without stopping the fetch', () =>
    withManager(async ({ manager, desk, next }) => {
      desk.hold = true
      const abort = new AbortController()
      const arrived = next(web)
      const waiting = manager.get(web, { signal: abort.signal })
      await once(desk.events, 'call')
      abort.abort(new Error('too slow'))
      await expect(waiting).rejects.toThrow('too slow')
      await expect(manager.get(web, { signal: abort.signal })).rejects.toThrow('too slow')
      desk.releaseAll()
      expect((await arrived).id.uri).toBe(web.uri)
      expect(desk.calls).toHaveLength(1)
    }))

  it('refuses a certificate of another identity', () =>
    withManager(async ({ manager, desk, ca }) => {
      const sign = desk.sign
      desk.sign = async request => (await ca.sign({ ...request, id: id('other') })).chain
      await expect(manager.get(web)).rejects.toMatchObject({
        code: 'AMBIENT_E_IDENTITY_UNAVAILABLE',
        cause: { code: 'AMBIENT_E_CA_RESPONSE' },
      })
      desk.sign = sign
    }))

  it('tells those who wait that it was closed', () =>
    withManager(async ({ manager, desk }) => {
      desk.hold = true
      const waiting = manager.get(web)
      await once(desk.events, 'call')
      const closing = manager.close()
      await expect(waiting).rejects.toMatchObject({ code: 'AMBIENT_E_IDENTITY_CLOSED' })
      await closing
      await manager.close()
      await expect(manager.get(web)).rejects.toMatchObject({ code: 'AMBIENT_E_IDENTITY_CLOSED' })
      manager.prefetch(web)
      expect(manager.list()).toEqual([])
      desk.releaseAll()
    }))

  it('renews certificates shorter than the backdating without a storm', () =>
    withManager(
      async ({ manager, clock, desk, next }) => {
        await manager.get(web)
        for (let round = 0; round < 5; round += 1) {
          const renewal = next(web)
          expect((manager.list()[0]?.nextRotation ?? 0) - clock.now()).toBe(10_000)
          clock.advance(10_000)
          await renewal
        }
        expect(desk.calls).toHaveLength(6)
      },
      { ttlMs: 20_000 },
    ))

  it('refuses options that cannot work', async () => {
    const signer: CertificateSigner = { sign: async () => [], close: async () => {} }
    for (const bad of [{ ttlMs: 0 }, { ttlMs: Number.NaN }, { maxConcurrent: 0 }, { maxConcurrent: 1.5 }])
      expect(() => createIdentityManager({ signer, ...bad })).toThrow(/ttlMs|maxConcurrent/)
  })
})

describe('the schedule', () => {
  it('spreads renewals by a tenth around half life and retries by a fifth', () => {
    const day = { notBefore: 0, notAfter: 24 * HOUR }
    expect(renewalTime(day, 0, 0.5)).toBe(12 * HOUR)
    expect(renewalTime(day, 0, 0)).toBeCloseTo(10.8 * HOUR)
    expect(renewalTime(day, 0, 1)).toBeCloseTo(13.2 * HOUR)
    expect(renewalTime(day, 20 * HOUR, 0.5)).toBe(22 * HOUR)
    expect(renewalTime(day, 25 * HOUR, 0.5)).toBe(25 * HOUR + 1_000)
    expect(retryDelay(1, 0)).toBeCloseTo(800)
    expect(retryDelay(1, 1)).toBeCloseTo(1_200)
    expect(retryDelay(99, 0.5)).toBe(150_000)
    expect(retryDelay(99, 1)).toBeCloseTo(180_000)
  })
})
