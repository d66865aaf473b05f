/** Windows, the inbox, budgets and what is remembered of closed streams. */
import { createManualClock } from '@ambient/core/testing'
import { describe, expect, it } from 'vitest'
import { ClosedStreams } from '../src/http2/closed-streams.ts'
import { type GrowthBudget, MAX_WINDOW, ReceiveWindow, SendWindow } from '../src/http2/flow.ts'
import { Inbox } from '../src/http2/inbox.ts'
import { Budget } from '../src/http2/limits.ts'
import { seededRandom } from './random.ts'

describe('send window', () => {
  it('may go below zero and never above 2^31-1', () => {
    const window = new SendWindow(100)
    window.take(60)
    expect(window.add(-100)).toBe(true)
    expect(window.credit).toBe(-60)
    expect(window.add(MAX_WINDOW + 60)).toBe(true)
    expect(window.credit).toBe(MAX_WINDOW)
    expect(window.add(1)).toBe(false)
  })
})

describe('receive window', () => {
  it('gives back what was consumed, half a window at a time', () => {
    const window = new ReceiveWindow(1_000, 1_000, { left: 0 }, () => 1_000)
    expect(window.receive(1_000)).toBe(true)
    expect(window.consume(499)).toBe(0)
    expect(window.consume(1)).toBe(500)
    expect(window.receive(500)).toBe(true)
    expect(window.receive(1)).toBe(false)
  })

  it('grows while its reader is fast, as far as the session allows, and gives that back at the end', () => {
    let now = 10_000
    const budget: GrowthBudget = { left: 5_000 }
    const window = new ReceiveWindow(1_000, 64_000, budget, () => now)
    for (let round = 0; round < 20; round++) {
      now += 1
      const size = window.size
      window.receive(size / 2)
      window.consume(size / 2)
    }
    expect(window.size).toBe(6_000)
    expect(budget.left).toBe(0)
    window.release()
    expect(budget.left).toBe(5_000)
  })

  it('shrinks again when its reader is slow', () => {
    let now = 10_000
    const budget: GrowthBudget = { left: 100_000 }
    const window = new ReceiveWindow(1_000, 8_000, budget, () => now)
    const turn = (elapsedMs: number): void => {
      now += elapsedMs
      const half = Math.ceil(window.size / 2)
      window.receive(half)
      window.consume(half)
    }
    for (let round = 0; round < 10; round++) turn(1)
    expect(window.size).toBe(8_000)
    for (let round = 0; round < 10; round++) turn(2_000)
    expect(window.size).toBe(1_000)
    expect(budget.left).toBe(100_000)
  })

  it('keeps credit and held bytes within its size, for any reader (model)', () => {
    const random = seededRandom(69)
    for (let round = 0; round < 200; round++) {
      let now = 0
      const budget: GrowthBudget = { left: 50_000 }
      const window = new ReceiveWindow(1_000, 16_000, budget, () => now)
      let credit = 1_000
      let held = 0
      for (let step = 0; step < 200; step++) {
        now += Math.floor(random() * (random() < 0.1 ? 3_000 : 40))
        const sent = Math.floor(random() * (credit + 1))
        expect(window.receive(sent)).toBe(true)
        credit -= sent
        held += sent
        const read = random() < 0.3 ? held : Math.floor(random() * (held + 1))
        held -= read
        credit += window.consume(read)
        expect(credit + held).toBeLessThanOrEqual(window.size)
        expect(window.size + budget.left).toBe(51_000)
      }
      // A reader that takes everything always lets the peer go on.
      credit += window.consume(held)
      expect(credit).toBeGreaterThan(0)
    }
  })
})

describe('inbox', () => {
  it('returns the bytes in order, whatever the pieces', () => {
    const random = seededRandom(5)
    const inbox = new Inbox()
    const sent: number[] = []
    const got: number[] = []
    for (let step = 0; step < 2_000; step++) {
      if (random() < 0.6) {
        const length = 1 + Math.floor(random() * (random() < 0.1 ? 9_000 : 300))
        const piece = new Uint8Array(length).map(() => Math.floor(random() * 256))
        sent.push(...piece)
        // Small pieces were copied, so that their memory may be used again.
        if (inbox.push(piece)) piece.fill(0)
      } else got.push(...(inbox.shift() ?? []))
      expect(inbox.bytes).toBe(sent.length - got.length)
    }
    for (let piece = inbox.shift(); piece !== undefined; piece = inbox.shift()) got.push(...piece)
    expect(Buffer.from(got).equals(Buffer.from(sent))).toBe(true)
  })

  it('joins small pieces instead of keeping their chunks alive', () => {
    const inbox = new Inbox()
    for (let count = 0; count < 64; count++) inbox.push(Uint8Array.of(count))
    expect(inbox.shift()).toHaveLength(64)
    expect(inbox.shift()).toBeUndefined()
  })

  it('does not touch a piece that it has handed out', () => {
    const inbox = new Inbox()
    inbox.push(Uint8Array.of(1))
    inbox.push(new Uint8Array(5_000))
    const first = inbox.shift()
    inbox.push(Uint8Array.of(2))
    expect(first).toEqual(Uint8Array.of(1))
    inbox.clear()
    expect(inbox.bytes).toBe(0)
    expect(inbox.shift()).toBeUndefined()
  })
})

describe('budget', () => {
  it('allows a burst, then a rate', () => {
    const clock = createManualClock()
    const budget = new Budget('things', 3, 10, clock)
    for (let count = 0; count < 3; count++) budget.spend()
    expect(() => budget.spend()).toThrow('too many things')
    clock.advance(100)
    budget.spend()
    expect(() => budget.spend()).toThrow('too many things')
    clock.advance(60_000)
    for (let count = 0; count < 3; count++) budget.spend()
    expect(() => budget.spend()).toThrow('too many things')
  })
})

describe('closed streams', () => {
  it('are remembered, but not all of them for ever', () => {
    const closed = new ClosedStreams()
    for (let id = 1; id <= 2_048; id++) closed.add(id, id % 2 === 0 ? 'ended' : 'reset')
    expect(closed.get(2_048)).toBe('ended')
    expect(closed.get(2_047)).toBe('reset')
    expect(closed.get(1)).toBeUndefined()
  })
})
