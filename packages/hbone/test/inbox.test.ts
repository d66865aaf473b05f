/** What waits for a reader holds about as much memory as it has bytes, however it arrived. */
import { describe, expect, it } from 'vitest'
import { Inbox } from '../src/http2/inbox.ts'

/** Bytes of all buffers that the pieces of an inbox keep alive. */
function held(inbox: Inbox): number {
  const buffers = new Set<ArrayBufferLike>()
  for (let piece = inbox.shift(); piece !== undefined; piece = inbox.shift()) buffers.add(piece.buffer)
  return [...buffers].reduce((sum, buffer) => sum + buffer.byteLength, 0)
}

describe('an inbox', () => {
  it('keeps a view of a read buffer that is its own', () => {
    const inbox = new Inbox()
    expect(inbox.push(new Uint8Array(16_384))).toBe(false)
    expect(held(inbox)).toBe(16_384)
  })

  it('copies out of a read buffer that is mostly somebody else’s', () => {
    const inbox = new Inbox()
    for (let i = 0; i < 64; i++) expect(inbox.push(new Uint8Array(65_536).subarray(100, 8_292))).toBe(true)
    expect(inbox.bytes).toBe(64 * 8_192)
    expect(held(inbox)).toBeLessThanOrEqual(2 * 64 * 8_192)
  })

  it('packs small pieces', () => {
    const inbox = new Inbox()
    for (let i = 0; i < 10_000; i++) inbox.push(new Uint8Array(10))
    expect(inbox.bytes).toBe(100_000)
    expect(held(inbox)).toBeLessThanOrEqual(200_000)
  })

  it('gives bytes back in order whichever way they were kept', () => {
    const inbox = new Inbox()
    const sent: number[] = []
    for (let i = 0; i < 50; i++) {
      const length = [10, 5_000, 300, 20_000][i % 4] ?? 0
      const piece = new Uint8Array(i % 3 === 0 ? length : length * 3).fill(i).subarray(0, length)
      sent.push(...piece)
      inbox.push(piece)
    }
    const got: number[] = []
    for (let piece = inbox.shift(); piece !== undefined; piece = inbox.shift()) got.push(...piece)
    expect(got).toEqual(sent)
    expect(inbox.bytes).toBe(0)
  })
})
