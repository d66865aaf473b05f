/** A body that providers see before it goes on: every byte once, in order, and a bound for all together. */
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { systemClock } from '@ambient/core'
import { createManualClock } from '@ambient/core/testing'
import { describe, expect, it } from 'vitest'
import { HeldBody, Holding } from '../src/ext-authz/held-body.ts'

const chunks = (...parts: readonly string[]): Readable =>
  Readable.from(
    parts.map(part => Buffer.from(part)),
    { objectMode: false },
  )

const held = (source: Readable, holding: Holding): HeldBody =>
  new HeldBody(source, { holding, clock: systemClock, limitMs: 60_000 })

describe('a held body', () => {
  it.each([0, 1, 3, 4, 100])('goes on whole after %i bytes were asked for', async limit => {
    const holding = new Holding(1_000)
    const body = held(chunks('abc', 'def', 'ghi'), holding)
    expect(await body.readBeyond(limit)).toBe('read')
    expect(String(body.head(limit))).toBe('abcdefghi'.slice(0, limit))
    // More may be asked for by the next provider.
    expect(await body.readBeyond(5)).toBe('read')
    expect(String(body.head(5))).toBe('abcde')
    expect(body.isWhole).toBe(limit === 100)
    expect(await text(body.release())).toBe('abcdefghi')
    expect(holding.take(1_000)).toBe(true)
  })

  it('takes no more than there is room for, and gives it back', async () => {
    const holding = new Holding(5)
    const first = held(chunks('abcd'), holding)
    expect(await first.readBeyond(100)).toBe('read')
    const second = held(chunks('ef'), holding)
    expect(await second.readBeyond(100)).toBe('full')
    second.release().destroy()
    first.release().destroy()
    expect(holding.take(5)).toBe(true)
  })

  it('that is cut says so, before and after', async () => {
    const source = new Readable({ read() {} })
    const body = held(source, new Holding(100))
    const reading = body.readBeyond(10)
    source.destroy(new Error('gone'))
    expect(await reading).toBe('cut')
    expect(await body.readBeyond(10)).toBe('cut')

    const other = new Readable({ read() {} })
    const rest = held(other, new Holding(100))
    const begun = rest.readBeyond(0)
    other.push('a')
    expect(await begun).toBe('read')
    const read = text(rest.release())
    other.destroy()
    await expect(read).rejects.toThrow('cut')
  })

  it('has one time for all reading, and none for what is between', async () => {
    const clock = createManualClock()
    const source = new Readable({ read() {} })
    const body = new HeldBody(source, { holding: new Holding(100), clock, limitMs: 1_000 })
    const first = body.readBeyond(0)
    clock.advance(600)
    source.push('a')
    expect([await first, clock.pending]).toEqual(['read', 0])
    clock.advance(10_000)
    const second = body.readBeyond(1)
    clock.advance(399)
    source.push('b')
    expect([await second, clock.pending]).toEqual(['read', 0])
    const third = body.readBeyond(2)
    clock.advance(1)
    expect([await third, clock.pending]).toEqual(['late', 0])
    body.release().destroy()
  })
})
