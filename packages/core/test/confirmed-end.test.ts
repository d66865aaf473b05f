/** A peer that resets while bytes are unread: the reader must see the reset, whoever ended first. */
import type { Socket } from 'node:net'
import { socketChannel } from '@ambient/core/node'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Recorder } from '../../../test/contracts/channel.ts'
import { allowStaticReads, proveStaticReads } from '../src/node/static-reads.ts'
import { socketPair } from './socket-pair.ts'

async function withPair(run: (writer: Socket, reader: Socket) => Promise<void>): Promise<void> {
  const pair = await socketPair()
  try {
    await run(pair.dialled, pair.accepted)
  } finally {
    await pair.close()
  }
}

describe.each(['static reads', 'events'])('a reset that finds unread bytes, read by %s', how => {
  beforeEach(async () => {
    await proveStaticReads()
    allowStaticReads(how === 'static reads')
  })
  afterEach(() => allowStaticReads(true))

  for (const halfClosed of [false, true]) {
    it(`is a reset, not an end${halfClosed ? ', also after the reader ended its own direction' : ''}`, async () => {
      await withPair(async (writer, reader) => {
        const channel = socketChannel(reader)
        const events = new Recorder()
        channel.start(events)
        if (halfClosed) channel.end()
        channel.pause()
        const chunk = Buffer.alloc(65_536)
        for (let i = 0; i < 200 && writer.writableLength === 0; i++) {
          writer.write(chunk)
          await new Promise(resolve => setImmediate(resolve))
        }
        writer.resetAndDestroy()
        channel.resume()
        await events.seen('reset')
        expect(events.log).not.toContain('end')
        expect(events.received).toBeGreaterThan(0)
      })
    })
  }

  it('leaves a true end an end', async () => {
    await withPair(async (writer, reader) => {
      const channel = socketChannel(reader)
      const events = new Recorder()
      channel.start(events)
      writer.end(Buffer.alloc(100_000))
      await events.seen('end')
      expect(events.received).toBe(100_000)
      channel.end()
      await events.seen('finished')
      expect(events.log).not.toContain('reset')
    })
  })
})
