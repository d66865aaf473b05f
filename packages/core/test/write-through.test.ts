/** Writes past the queue of a socket's stream: their order, their end, and a reset over them. */
import { once } from 'node:events'
import { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import type { Channel } from '@ambient/core'
import { socketChannel } from '@ambient/core/node'
import { afterEach, describe, expect, it } from 'vitest'
import { Recorder } from '../../../test/contracts/channel.ts'
import { canWriteThrough } from '../src/node/write-through.ts'
import { type SocketPair, socketPair } from './socket-pair.ts'

const PIECE = Buffer.alloc(65_536, 'seven bytes are no power of two')
/** More than a kernel takes of a connection that nobody reads. */
const MOST_PIECES = 1_000

const pairs: SocketPair[] = []

afterEach(async () => {
  for (const pair of pairs.splice(0)) await pair.close()
})

async function newPair(): Promise<SocketPair> {
  const pair = await socketPair()
  pairs.push(pair)
  return pair
}

/** Writes until the kernel takes no more. @returns how many pieces there were */
function fill(channel: Channel): number {
  for (let pieces = 1; pieces <= MOST_PIECES; pieces++) if (!channel.write(PIECE)) return pieces
  throw new Error('the kernel took everything')
}

describe('a socket that is written to past its queue', () => {
  it('takes a message at once, and its stream has nothing to do', async () => {
    const { dialled, accepted } = await newPair()
    const near = new Recorder()
    const far = new Recorder()
    const channel = socketChannel(dialled)
    channel.start(near)
    socketChannel(accepted).start(far)
    const memory = Buffer.from('first')
    expect(channel.write(memory)).toBe(true)
    memory.fill('x')
    expect(dialled.bytesWritten).toBe(5)
    await far.until(() => far.received === 5)
    expect(String(far.bytes)).toBe('first')
    expect(near.log).toEqual([])
  })

  it('keeps the order of what was written to the stream before, and ends after all of it', async () => {
    const { dialled, accepted } = await newPair()
    let earlier = 0
    while (dialled.write(PIECE) && earlier < MOST_PIECES) earlier++
    // The one before is under way, this one waits behind it in the stream.
    dialled.write(PIECE)
    const near = new Recorder()
    const channel = socketChannel(dialled)
    channel.start(near)
    for (const text of ['a', 'b', 'c']) channel.write(Buffer.from(text))
    channel.end()
    const far = new Recorder()
    socketChannel(accepted).start(far)
    await far.seen('end')
    await near.seen('finished')
    expect(far.received).toBe((earlier + 2) * PIECE.length + 3)
    expect(String(far.bytes.subarray(-3))).toBe('abc')
  })

  it('says `drained` once and ends when a reader takes what was held', async () => {
    const { dialled, accepted } = await newPair()
    const near = new Recorder()
    const channel = socketChannel(dialled)
    channel.start(near)
    const pieces = fill(channel)
    expect(channel.write(Buffer.from('one more'))).toBe(false)
    channel.end()
    const far = new Recorder()
    socketChannel(accepted).start(far)
    await far.seen('end')
    await near.seen('finished')
    expect(far.received).toBe(pieces * PIECE.length + 8)
    expect(near.log).toEqual(['drained', 'finished'])
  })

  it('is reset at once over bytes that nobody reads, even when it was ended', async () => {
    const { dialled, accepted } = await newPair()
    const channel = socketChannel(dialled)
    channel.start(new Recorder())
    fill(channel)
    channel.end()
    // An end that was begun is under way in a turn of its own.
    await new Promise(resolve => setImmediate(resolve))
    const closed = once(dialled, 'close')
    channel.reset('INTERNAL_ERROR', 'test')
    await closed
    const far = new Recorder()
    socketChannel(accepted).start(far)
    await far.seen('reset')
    expect(far.log).not.toContain('end')
  })

  it('is no TLS socket, which has room for one write at a time', () => {
    const inner = new Socket()
    const secure = new TLSSocket(inner)
    expect(canWriteThrough(inner)).toBe(true)
    expect(canWriteThrough(secure)).toBe(false)
    secure.destroy()
    inner.destroy()
  })
})
