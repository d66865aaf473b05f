/** Peers that leave while a header is read from them, or behind it: who reads on hears how they left, and at once. */
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { type FirstBytesOptions, readFirstBytes, socketChannel } from '@ambient/core/node'
import { createManualClock } from '@ambient/core/testing'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { Recorder } from '../../../test/contracts/channel.ts'
import { allowStaticReads, proveStaticReads } from '../src/node/static-reads.ts'
import { type SocketPair, socketPair } from './socket-pair.ts'

/** Nobody turns this clock: what waits for it waits for ever. */
const clock = createManualClock(0)

const oneLetter: FirstBytesOptions<string> = {
  parse: bytes => ({ kind: 'done', value: bytes.toString('latin1', 0, 1), length: 1 }),
  clock,
  timeoutMs: 1,
  timeoutError: () => new Error('late'),
  endError: () => new Error('left'),
}

let pair: SocketPair
beforeEach(async () => {
  pair = await socketPair()
})
afterEach(() => pair.close())

/** Data and reset reach the reader in one turn of the loop, where the reset is easily lost. */
function sayAndReset(socket: Socket, bytes: string): void {
  socket.write(bytes)
  socket.resetAndDestroy()
}

describe('a header', () => {
  it('that follows another is not waited for from a peer that ended in between', async () => {
    const { dialled, accepted } = pair
    const ended = once(accepted, 'end')
    const first = readFirstBytes(accepted, oneLetter)
    dialled.end('a')
    expect(await first).toBe('a')
    await ended
    await expect(readFirstBytes(accepted, oneLetter)).rejects.toThrow('left')
  })

  it('that follows another is read from what a peer that ended has sent', async () => {
    const { dialled, accepted } = pair
    const first = readFirstBytes(accepted, oneLetter)
    dialled.end('ab')
    expect(await first).toBe('a')
    expect(await readFirstBytes(accepted, oneLetter)).toBe('b')
    await expect(readFirstBytes(accepted, oneLetter)).rejects.toThrow('left')
  })
})

describe.each(['static reads', 'events'])('behind a header, read by %s', how => {
  beforeEach(async () => {
    await proveStaticReads()
    allowStaticReads(how === 'static reads')
  })
  afterEach(() => allowStaticReads(true))

  it('a reset before there is a channel is a reset, not an end', async () => {
    const { dialled, accepted } = pair
    const header = readFirstBytes(accepted, oneLetter)
    sayAndReset(dialled, 'a and the half of what was meant')
    expect(await header).toBe('a')
    const events = new Recorder()
    // What the kernel has said of the connection is known by then.
    for (let turn = 0; turn < 3; turn++) await new Promise(resolve => setImmediate(resolve))
    socketChannel(accepted).start(events)
    await events.until(() => events.log.includes('reset') || events.log.includes('end'))
    expect(events.log).not.toContain('end')
  })

  it('what was sent before an end comes whole, then the end', async () => {
    const { dialled, accepted } = pair
    const header = readFirstBytes(accepted, oneLetter)
    dialled.end(`a${'b'.repeat(200_000)}`)
    expect(await header).toBe('a')
    const events = new Recorder()
    socketChannel(accepted).start(events)
    await events.seen('end')
    expect(events.received).toBe(200_000)
    expect(events.log).not.toContain('reset')
  })

  it('a write that fails after an end is told at once', async () => {
    const { dialled, accepted } = pair
    const ended = once(accepted, 'end')
    const header = readFirstBytes(accepted, oneLetter)
    dialled.end('a')
    expect(await header).toBe('a')
    await ended
    const events = new Recorder()
    const channel = socketChannel(accepted)
    channel.start(events)
    await events.seen('end')
    // Only the failure itself can tell then, no time limit.
    vi.useFakeTimers({ toFake: ['setTimeout'] })
    try {
      dialled.resetAndDestroy()
      await once(dialled, 'close')
      channel.write(Buffer.from('into the void'))
      await events.seen('reset')
    } finally {
      vi.useRealTimers()
    }
  })
})
