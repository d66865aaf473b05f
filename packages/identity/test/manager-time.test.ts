/** The manager under clocks that jump and machines that sleep, and what it tells of each transition. */
import { EventEmitter, once } from 'node:events'
import { type Clock, type Credentials, parseSpiffeId, type SpiffeId } from '@ambient/core'
import { createManualClock, type ManualClock } from '@ambient/core/testing'
import { describe, expect, it } from 'vitest'
import {
  createCertificateAuthority,
  createIdentityManager,
  createLocalSigner,
  type IdentityEvent,
  type IdentityManager,
  type IdentityManagerOptions,
} from '../src/index.ts'
import { renewalTime } from '../src/manager/schedule.ts'

const [SECOND, MINUTE, HOUR, DAY] = [1_000, 60_000, 3_600_000, 86_400_000]
const MANY = 40
const id = (name: string): SpiffeId => parseSpiffeId(`spiffe://cluster.local/ns/shop/sa/${name}`)

interface Bench {
  readonly manager: IdentityManager
  readonly events: IdentityEvent[]
  /** Sets the wall clock of this machine, and of nobody else. */
  jump(ms: number): void
  /** Time passes. */
  readonly time: ManualClock
  /** Time passes, and this machine does not see it but by its wall clock. */
  suspend(ms: number): void
  readonly ids: readonly SpiffeId[]
  /** Resolves when so many events of a kind were told. */
  told(kind: IdentityEvent['kind'], count: number): Promise<void>
  counts(): Record<string, number>
  peak(): number
  refuse(reason: string | undefined): void
  /** No timer was asked for a time before now. */
  readonly shortest: () => number
}

async function withBench(
  run: (bench: Bench) => Promise<void>,
  options: Partial<IdentityManagerOptions> = {},
): Promise<void> {
  const time = createManualClock()
  let offset = 0
  let truth = 0
  let shortest = Number.POSITIVE_INFINITY
  const clock: Clock = {
    now: () => time.now() + offset,
    monotonic: () => time.monotonic(),
    after(ms, task) {
      shortest = Math.min(shortest, ms)
      return time.after(ms, task)
    },
  }
  const ca = await createCertificateAuthority({
    trustDomain: 'cluster.local',
    clock: { ...clock, now: () => time.now() + truth },
  })
  const local = createLocalSigner(ca)
  let [running, peak] = [0, 0]
  let refusal: string | undefined
  const events: IdentityEvent[] = []
  const heard = new EventEmitter().setMaxListeners(0)
  const manager = createIdentityManager({
    signer: {
      async sign(request) {
        running += 1
        peak = Math.max(peak, running)
        try {
          if (refusal !== undefined) throw new Error(refusal)
          return await local.sign(request)
        } finally {
          running -= 1
        }
      },
      close: () => local.close(),
    },
    clock,
    onEvent(event) {
      events.push(event)
      heard.emit('event')
    },
    ...options,
  })
  const ids = Array.from({ length: MANY }, (_, index) => id(`w${index}`))
  const count = (kind: string): number => events.filter(event => event.kind === kind).length
  try {
    await run({
      manager,
      events,
      ids,
      time,
      jump(ms) {
        offset += ms
      },
      suspend(ms) {
        offset += ms
        truth += ms
      },
      async told(kind, wanted) {
        while (count(kind) < wanted) await once(heard, 'event')
      },
      counts: () => {
        const counts: Record<string, number> = {}
        for (const { kind } of events) counts[kind] = (counts[kind] ?? 0) + 1
        return counts
      },
      peak: () => peak,
      refuse(reason) {
        refusal = reason
      },
      shortest: () => shortest,
    })
    expect(shortest, 'no timer into the past').toBeGreaterThanOrEqual(0)
    expect(peak).toBeLessThanOrEqual(8)
  } finally {
    await manager.close()
    expect(time.pending).toBe(0)
  }
}

const all = ({ manager, ids }: Bench): Promise<Credentials[]> => Promise.all(ids.map(one => manager.get(one)))

describe('a clock that jumps', () => {
  it('2 h ahead renews nothing that is not due', () =>
    withBench(async bench => {
      await all(bench)
      bench.jump(2 * HOUR)
      bench.time.advance(30 * MINUTE)
      expect(bench.counts()).toEqual({ issued: MANY })
    }))

  it('13 h ahead renews each certificate once', () =>
    withBench(async bench => {
      const before = await all(bench)
      bench.suspend(14 * HOUR)
      bench.time.advance(10 * MINUTE)
      await bench.told('renewed', MANY)
      expect(bench.counts()).toEqual({ issued: MANY, renewed: MANY })
      expect(
        (await all(bench)).every((now, index) => now.generation > (before[index]?.generation ?? 0)),
      ).toBe(true)
      bench.time.advance(HOUR)
      expect(bench.counts()).toEqual({ issued: MANY, renewed: MANY })
    }))

  it('2 h back puts no renewal off, and begins no storm', () =>
    withBench(
      async bench => {
        await all(bench)
        bench.jump(-2 * HOUR)
        bench.time.advance(11 * HOUR)
        expect(bench.counts()).toEqual({ issued: MANY })
        // Half a lifetime has passed, whatever the wall clock says.
        bench.time.advance(2 * HOUR)
        await bench.told('renewed', MANY)
        expect(bench.counts()).toEqual({ issued: MANY, renewed: MANY })
      },
      { random: () => 0.5 },
    ))

  it('400 d ahead: nothing expired is served, and what the CA gives is refused without a storm', () =>
    withBench(async bench => {
      await all(bench)
      bench.jump(400 * DAY)
      for (const one of bench.ids) expect(bench.manager.current(one)).toBeUndefined()
      bench.time.advance(10 * MINUTE)
      await bench.told('failed', MANY)
      await expect(bench.manager.get(id('w0'))).rejects.toMatchObject({ code: 'AMBIENT_E_IDENTITY_EXPIRED' })
      expect(bench.counts()).toEqual({ issued: MANY, expired: MANY, failed: MANY })
      // Put right again, what was good is good, and the next attempt succeeds.
      bench.jump(-400 * DAY)
      expect((await bench.manager.get(id('w0'))).id.uri).toBe(id('w0').uri)
      bench.time.advance(2 * SECOND)
      await bench.told('renewed', MANY)
      expect(bench.counts()).toMatchObject({ issued: MANY, failed: MANY, renewed: MANY })
    }))

  it('400 d back: the next certificate comes after half a lifetime, not after 400 days', () =>
    withBench(async bench => {
      bench.jump(-400 * DAY)
      await all(bench)
      for (const { nextRotation = 0 } of bench.manager.list())
        expect(nextRotation - (bench.time.now() - 400 * DAY)).toBeLessThanOrEqual(13.5 * HOUR)
      bench.time.advance(14 * HOUR)
      await bench.told('renewed', MANY)
      expect(bench.counts()).toEqual({ issued: MANY, renewed: MANY })
    }))

  it('a second back, again and again, changes nothing', () =>
    withBench(async bench => {
      await all(bench)
      for (let minute = 0; minute < 60; minute += 1) {
        bench.jump(-SECOND)
        bench.time.advance(MINUTE)
      }
      expect(bench.counts()).toEqual({ issued: MANY })
    }))

  it('a machine that sleeps for 5 min wakes without a storm', () =>
    withBench(async bench => {
      const before = await all(bench)
      bench.suspend(5 * MINUTE)
      bench.time.advance(MINUTE)
      expect(bench.counts()).toEqual({ issued: MANY })
      expect(await all(bench)).toEqual(before)
    }))

  it('a machine that sleeps past the end of its certificates gets each once, whoever asks meanwhile', () =>
    withBench(async bench => {
      await all(bench)
      bench.suspend(3 * DAY)
      const asked = Array.from({ length: 3 }, () => all(bench))
      bench.time.advance(10 * MINUTE)
      await Promise.all(asked)
      expect(bench.counts()).toMatchObject({ issued: MANY, renewed: MANY })
      expect(bench.counts()['failed']).toBeUndefined()
    }))

  it('back and forth while the CA is down tries as patiently as without', () =>
    withBench(
      async bench => {
        await all(bench)
        bench.refuse('down')
        bench.time.advance(12 * HOUR)
        await bench.told('failed', MANY)
        for (let step = 0; step < 5; step += 1) {
          bench.jump(step % 2 === 0 ? 2 * HOUR : -2 * HOUR)
          expect(bench.counts()['failed'], 'no attempt by the jump itself').toBe(MANY)
        }
      },
      { random: () => 0.5 },
    ))

  it('a schedule holds for certificates of clocks far apart', () => {
    const day = { notBefore: 0, notAfter: DAY }
    for (const now of [-400 * DAY, -HOUR, 0, 2 * HOUR, 23 * HOUR, 2 * DAY, 400 * DAY]) {
      const wait = renewalTime(day, now, 0.5) - now
      expect(wait, String(now)).toBeGreaterThanOrEqual(SECOND)
      expect(wait, String(now)).toBeLessThanOrEqual(12 * HOUR)
    }
  })
})

describe('the events of a manager', () => {
  it('tell of each transition, in order', () =>
    withBench(
      async bench => {
        const { manager, events, time } = bench
        const first = await manager.get(id('w0'))
        await manager.rotate(id('w0'))
        bench.refuse('CA is down')
        await expect(manager.rotate(id('w0'))).rejects.toThrow('CA is down')
        time.advance(24 * HOUR + 2 * SECOND)
        await bench.told('expired', 1)
        manager.forget(id('w0'))
        manager.forget(id('w0'))
        expect(events.map(({ kind }) => kind).filter((kind, at, kinds) => kind !== kinds[at - 1])).toEqual([
          'issued',
          'renewed',
          'failed',
          'expired',
          'forgotten',
        ])
        expect(events[0]).toEqual({
          kind: 'issued',
          identity: id('w0').uri,
          generation: first.generation,
          notBefore: first.notBefore,
          notAfter: first.notAfter,
          nextRotation: expect.any(Number),
        })
        expect(events.find(({ kind }) => kind === 'failed')).toMatchObject({
          attempt: 1,
          isServed: true,
          error: { message: 'CA is down' },
        })
        expect(JSON.stringify(events)).not.toContain('PRIVATE')
      },
      { random: () => 0.5 },
    ))

  it('do no harm when their listener throws', () =>
    withBench(
      async ({ manager }) => {
        expect((await manager.get(id('w0'))).id.uri).toBe(id('w0').uri)
      },
      {
        onEvent() {
          throw new Error('listener')
        },
      },
    ))
})

describe('federated bundles', () => {
  it('are in every generation, and make one when they change', async () => {
    const partner = await createCertificateAuthority({ trustDomain: 'partner.example' })
    let bundles: ReadonlyMap<string, string> = new Map()
    await withBench(
      async bench => {
        const before = await bench.manager.get(id('w0'))
        expect(before.federatedBundles.size).toBe(0)
        bundles = new Map([['partner.example', partner.rootPem]])
        bench.manager.changeBundles()
        await bench.told('bundles-changed', 1)
        const after = await bench.manager.get(id('w0'))
        expect(after.generation).toBeGreaterThan(before.generation)
        expect(after.certificateChain).toBe(before.certificateChain)
        expect(after.federatedBundles.get('partner.example')).toBe(partner.rootPem)
      },
      { federatedBundles: () => bundles },
    )
  })
})
