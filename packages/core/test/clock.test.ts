/** The clock that tests move, and the one that the world moves. */
import { systemClock } from '@ambient/core'
import { createManualClock } from '@ambient/core/testing'
import { describe, expect, it } from 'vitest'

describe('createManualClock', () => {
  it('stands still until it is moved; both times move together', () => {
    const clock = createManualClock(1_000_000)
    expect([clock.now(), clock.monotonic()]).toEqual([1_000_000, 0])
    clock.advance(250)
    expect([clock.now(), clock.monotonic()]).toEqual([1_000_250, 250])
  })

  it('runs timers in the order in which they fall due, at their own time', () => {
    const clock = createManualClock(0)
    const log: string[] = []
    const note = (name: string) => (): void => void log.push(`${name}@${clock.now()}`)
    clock.after(300, note('c'))
    clock.after(100, note('a'))
    clock.after(100, note('b'))
    clock.after(5000, note('later'))
    clock.advance(1000)
    expect(log).toEqual(['a@100', 'b@100', 'c@300'])
    expect(clock.now()).toBe(1000)
    expect(clock.pending).toBe(1)
  })

  it('runs what a timer starts when it falls due within the same step', () => {
    const clock = createManualClock(0)
    const log: number[] = []
    const tick = (): void => {
      log.push(clock.now())
      if (log.length < 3) clock.after(100, tick)
    }
    clock.after(100, tick)
    clock.advance(250)
    expect(log).toEqual([100, 200])
    clock.advance(50)
    expect(log).toEqual([100, 200, 300])
    expect(clock.pending).toBe(0)
  })

  it('a cancelled timer never runs, also when another one of the same moment cancels it', () => {
    const clock = createManualClock()
    const log: string[] = []
    clock.after(10, () => second.cancel())
    const second = clock.after(10, () => log.push('second'))
    clock.after(5, () => log.push('cancelled')).cancel()
    clock.advance(100)
    expect(log).toEqual([])
    expect(clock.pending).toBe(0)
  })

  it('a delay below zero is due at once, on the next move', () => {
    const clock = createManualClock()
    let ran = 0
    clock.after(-5, () => ran++)
    expect(ran).toBe(0)
    clock.advance(0)
    expect(ran).toBe(1)
  })
})

describe('systemClock', () => {
  it('tells the time of the platform', () => {
    expect(Math.abs(systemClock.now() - Date.now())).toBeLessThan(1000)
    expect(systemClock.monotonic()).toBeLessThanOrEqual(systemClock.monotonic())
  })

  it('runs a timer, and does not run one that was cancelled', async () => {
    const log: string[] = []
    systemClock.after(0, () => log.push('cancelled')).cancel()
    await new Promise<void>(resolve => void systemClock.after(1, resolve, { keepAlive: true }))
    expect(log).toEqual([])
  })

  it('takes a delay beyond what setTimeout can hold as far away, not as now', async () => {
    let ran = false
    const timer = systemClock.after(90 * 24 * 3600 * 1000, () => {
      ran = true
    })
    await new Promise<void>(resolve => void systemClock.after(5, resolve, { keepAlive: true }))
    timer.cancel()
    expect(ran).toBe(false)
  })
})
