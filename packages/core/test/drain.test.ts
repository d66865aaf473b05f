/** Two-phase ending on a clock that stands still. */
import { createDrain, systemClock } from '@ambient/core'
import { createManualClock } from '@ambient/core/testing'
import { describe, expect, it } from 'vitest'

/** Whether a promise is settled by now. */
async function settled(promise: Promise<unknown>): Promise<boolean> {
  let done = false
  void promise.then(() => {
    done = true
  })
  await new Promise(resolve => setImmediate(resolve))
  return done
}

describe('createDrain', () => {
  it('ends at once when nothing is held', async () => {
    const clock = createManualClock()
    const drain = createDrain(clock)
    expect(drain.draining).toBe(false)
    expect(await drain.start({ graceMs: 1000 })).toEqual({ forced: 0 })
    expect(drain.draining).toBe(true)
    expect(clock.pending).toBe(0)
  })

  it('waits for the last lease, tells each holder, and forces nobody who ends in time', async () => {
    const clock = createManualClock()
    const drain = createDrain(clock)
    const [first, second] = [drain.hold(), drain.hold()]
    expect(drain.size).toBe(2)
    expect(first.draining.aborted).toBe(false)
    const done = drain.start({ graceMs: 1000 })
    expect([first.draining.aborted, second.draining.aborted]).toEqual([true, true])
    first.release()
    first.release()
    clock.advance(999)
    expect(await settled(done)).toBe(false)
    second.release()
    expect(await done).toEqual({ forced: 0 })
    expect(second.forced.aborted).toBe(false)
    expect(drain.size).toBe(0)
    expect(clock.pending).toBe(0)
  })

  it('forces who is left at the deadline, and counts them', async () => {
    const clock = createManualClock()
    const drain = createDrain(clock)
    const leases = [drain.hold(), drain.hold(), drain.hold()]
    for (const lease of leases) lease.forced.addEventListener('abort', () => lease.release())
    leases[0]?.release()
    const done = drain.start({ graceMs: 1000 })
    clock.advance(1000)
    expect(await done).toEqual({ forced: 2 })
  })

  it('a second start joins the first, with the nearer deadline', async () => {
    const clock = createManualClock()
    const drain = createDrain(clock)
    const lease = drain.hold()
    lease.forced.addEventListener('abort', () => lease.release())
    const patient = drain.start({ graceMs: 60_000 })
    const hurried = drain.start({ graceMs: 100 })
    clock.advance(100)
    expect(await Promise.all([patient, hurried])).toEqual([{ forced: 1 }, { forced: 1 }])
    expect(clock.pending).toBe(0)
  })

  it('a lease that comes during the drain knows at once, and is waited for', async () => {
    const clock = createManualClock()
    const drain = createDrain(clock)
    const early = drain.hold()
    const done = drain.start({ graceMs: 1000 })
    const late = drain.hold()
    expect(late.draining.aborted).toBe(true)
    early.release()
    expect(await settled(done)).toBe(false)
    late.release()
    expect(await done).toEqual({ forced: 0 })
  })

  it('grace 0 forces on the next turn', async () => {
    const drain = createDrain(systemClock)
    const lease = drain.hold()
    lease.forced.addEventListener('abort', () => lease.release())
    expect(await drain.start({ graceMs: 0 })).toEqual({ forced: 1 })
  })

  it('a release without a drain settles nothing', () => {
    const drain = createDrain(createManualClock())
    drain.hold().release()
    expect(drain.draining).toBe(false)
    expect(drain.size).toBe(0)
  })
})
