/** A peer that resets while bytes are unread: the reader must see the reset, whoever ended first. */
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { socketChannel } from '@ambient/core/node'
import { describe, expect, it } from 'vitest'
import { Recorder } from '../../../test/contracts/channel.ts'

async function withPair(run: (writer: Socket, reader: Socket) => Promise<void>): Promise<void> {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  const writer = connect({ port: address.port, host: '127.0.0.1', allowHalfOpen: true })
  writer.on('error', () => {})
  const [[reader]] = await Promise.all([
    once(server, 'connection') as Promise<[Socket]>,
    once(writer, 'connect'),
  ])
  try {
    await run(writer, reader)
  } finally {
    writer.destroy()
    reader.destroy()
    server.close()
    await once(server, 'close')
  }
}

describe('a reset that finds unread bytes', () => {
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
