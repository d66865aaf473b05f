/** A write that fails: what was received before it is delivered, then the failure is told, and never an end. */
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { socketChannel } from '@ambient/core/node'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Recorder } from '../../../test/contracts/channel.ts'
import { readOutFirst } from '../src/node/failed-write.ts'
import { allowStaticReads, proveStaticReads } from '../src/node/static-reads.ts'
import { type SocketPair, socketPair } from './socket-pair.ts'

const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve))
let pair: SocketPair
beforeEach(async () => {
  pair = await socketPair()
})
afterEach(() => pair.close())

/** Says something, says the rest and closes over what it was sent; then a write is what hears of that first. */
async function failWrite(writer: Socket, reader: Socket, arrived: () => boolean): Promise<void> {
  writer.write('early ')
  while (!arrived()) await turn()
  writer.write('answer')
  writer.resetAndDestroy()
  const written = new Promise<unknown>(resolve => reader.write('late', resolve))
  // Kept back: whoever wrote is not told here.
  expect((await written) ?? undefined).toBeUndefined()
  // Reading goes on to the end meanwhile.
  for (let turns = 0; turns < 20; turns++) await turn()
}

describe('a write that fails while received bytes wait in the stream', () => {
  it('is told after a paused reader has had them', async () => {
    const { dialled, accepted } = pair
    readOutFirst(accepted)
    const log: unknown[] = []
    accepted.on('data', (chunk: Buffer) => log.push(chunk.toString()))
    accepted.on('end', () => log.push('end'))
    accepted.on('error', (error: NodeJS.ErrnoException) => log.push(error.syscall))
    accepted.resume()
    accepted.pause()
    accepted.read(0)
    await failWrite(dialled, accepted, () => accepted.readableLength === 6)
    expect([log, accepted.readableLength, accepted.destroyed]).toEqual([[], 12, false])
    // One at a time: the failure does not come between two of them.
    accepted.once('data', () => accepted.pause())
    accepted.resume()
    while (log.length === 0) await turn()
    await turn()
    expect(log).toEqual(['early '])
    const closed = once(accepted, 'close').catch(() => {})
    accepted.resume()
    await closed
    expect(log).toEqual(['early ', 'answer', 'write'])
  })

  it('is told at once when nobody reads', async () => {
    const { dialled, accepted } = pair
    readOutFirst(accepted)
    accepted.pause()
    accepted.read(0)
    const failed = new Promise<NodeJS.ErrnoException>(resolve => accepted.once('error', resolve))
    await failWrite(dialled, accepted, () => accepted.readableLength === 6)
    expect((await failed).syscall).toBe('write')
  })
})

describe.each(['static reads', 'events'])('a channel that reads by %s and whose write fails', how => {
  beforeEach(async () => {
    await proveStaticReads()
    allowStaticReads(how === 'static reads')
  })
  afterEach(() => allowStaticReads(true))

  it('delivers what was received before, also to a user that has paused, and then a reset', async () => {
    const { dialled, accepted } = pair
    const channel = socketChannel(accepted)
    const events = new Recorder()
    channel.start(events)
    channel.pause()
    // By events the first bytes wait in the stream, else everything in the kernel.
    await failWrite(dialled, accepted, () => how === 'static reads' || accepted.readableLength === 6)
    expect(events.log.filter(event => event !== 'drained')).toEqual([])
    channel.resume()
    await events.seen('reset')
    expect(events.bytes.toString()).toBe('early answer')
    expect(events.log).not.toContain('end')
    expect(events.resetWith?.code).toBe('CONNECT_ERROR')
  })
})
