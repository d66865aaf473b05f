/** A body that providers see before it goes on: every byte once, in order, and a bound for all together. */
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { describe, expect, it } from 'vitest'
import { HeldBody, Holding } from '../src/ext-authz/held-body.ts'

const chunks = (...parts: readonly string[]): Readable =>
  Readable.from(
    parts.map(part => Buffer.from(part)),
    { objectMode: false },
  )

describe('a held body', () => {
  it.each([0, 1, 3, 4, 100])('goes on whole after %i bytes were asked for', async limit => {
    const holding = new Holding(1_000)
    const body = new HeldBody(chunks('abc', 'def', 'ghi'), holding)
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
    const first = new HeldBody(chunks('abcd'), holding)
    expect(await first.readBeyond(100)).toBe('read')
    const second = new HeldBody(chunks('ef'), holding)
    expect(await second.readBeyond(100)).toBe('full')
    second.release().destroy()
    first.release().destroy()
    expect(holding.take(5)).toBe(true)
  })

  it('that is cut says so, before and after', async () => {
    const source = new Readable({ read() {} })
    const body = new HeldBody(source, new Holding(100))
    const reading = body.readBeyond(10)
    source.destroy(new Error('gone'))
    expect(await reading).toBe('cut')
    expect(await body.readBeyond(10)).toBe('cut')

    const other = new Readable({ read() {} })
    const rest = new HeldBody(other, new Holding(100))
    const begun = rest.readBeyond(0)
    other.push('a')
    expect(await begun).toBe('read')
    const read = text(rest.release())
    other.destroy()
    await expect(read).rejects.toThrow('cut')
  })
})
