/** Reads into memory that is used again: what a reader keeps stays as it was, what was read before is not lost. */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { pump } from '@ambient/core'
import { socketChannel } from '@ambient/core/node'
import { beforeAll, describe, expect, it } from 'vitest'
import { Recorder } from '../../../test/contracts/channel.ts'
import { Choosy, sha256 } from '../../../test/contracts/choosy.ts'
import { proveStaticReads, readStatically } from '../src/node/static-reads.ts'
import { socketPair } from './socket-pair.ts'

beforeAll(async () => {
  await proveStaticReads()
})

async function withPair(run: (writer: Socket, reader: Socket) => Promise<void>): Promise<void> {
  const pair = await socketPair()
  try {
    await run(pair.dialled, pair.accepted)
  } finally {
    await pair.close()
  }
}

describe('static reads', () => {
  it.skipIf(process.platform === 'win32')('work on this Node', async () => {
    expect(await proveStaticReads()).toBe(true)
    await withPair(async (_writer, reader) => {
      expect(readStatically(reader, { take: () => true, wantsMore: true })).toBeDefined()
    })
  })

  it('never overwrite what a reader keeps, whatever it consumes in between', async () => {
    await withPair(async (writer, reader) => {
      const sent = randomBytes(24 << 20)
      const channel = socketChannel(reader)
      const choosy = new Choosy(channel)
      channel.start(choosy)
      for (let at = 0; at < sent.length; ) {
        // Small pieces and large ones, so that buffers come and go.
        const size = at % 7 === 0 ? 3_000 : 400_001
        if (!writer.write(sent.subarray(at, at + size))) await once(writer, 'drain')
        at += size
      }
      writer.end()
      await choosy.ended
      expect(choosy.hash.digest('hex')).toBe(sha256(sent))
      expect(choosy.kept.length).toBeGreaterThan(10)
      for (const { view, digest } of choosy.kept) expect(sha256(view)).toBe(digest)
    })
  })

  it('of two sockets do not meet, though idle ones share their memory', async () => {
    await withPair(async (writer, reader) => {
      await withPair(async (otherWriter, otherReader) => {
        const [one, other] = [new Recorder(), new Recorder()]
        socketChannel(reader).start(one)
        socketChannel(otherReader).start(other)
        for (let i = 0; i < 100; i++) {
          writer.write(`one ${i} `)
          otherWriter.write(`other ${i} `)
        }
        writer.end()
        otherWriter.end()
        await Promise.all([one.seen('end'), other.seen('end')])
        const said = (who: string): string => Array.from({ length: 100 }, (_, i) => `${who} ${i} `).join('')
        expect(one.bytes.toString()).toBe(said('one'))
        expect(other.bytes.toString()).toBe(said('other'))
      })
    })
  })

  it('follow what the socket had read before it became a channel', async () => {
    await withPair(async (writer, reader) => {
      writer.write('early, ')
      reader.read(0)
      await once(reader, 'readable')
      expect(reader.readableLength).toBeGreaterThan(0)
      const events = new Recorder()
      socketChannel(reader).start(events)
      writer.end('late')
      await events.seen('end')
      expect(events.bytes.toString()).toBe('early, late')
    })
  })

  it('stop at a pause from outside, and at an end that comes meanwhile everything was delivered', async () => {
    await withPair(async (writer, reader) => {
      const events = new Recorder()
      const channel = socketChannel(reader)
      channel.start(events)
      channel.pause()
      writer.end(Buffer.alloc(300_000))
      await once(writer, 'finish')
      for (let turn = 0; turn < 20; turn++) await new Promise(resolve => setImmediate(resolve))
      expect(events.log).toEqual([])
      channel.resume()
      await events.seen('end')
      expect(events.received).toBe(300_000)
    })
  })

  it('through a pump, towards a sink that is slow', async () => {
    await withPair(async (writer, reader) => {
      await withPair(async (sink, far) => {
        const sent = randomBytes(16 << 20)
        const channel = socketChannel(far)
        const events = new Choosy(channel)
        channel.start(events)
        const done = pump(socketChannel(reader), socketChannel(sink))
        writer.end(sent)
        far.end()
        await events.ended
        expect(events.hash.digest('hex')).toBe(sha256(sent))
        writer.resume()
        expect((await done).ending.kind).toBe('ended')
      })
    })
  })
})

describe('memory that was left behind', () => {
  it('is read into again when it is free', async () => {
    await withPair(async (writer, reader) => {
      const seen: ArrayBufferLike[] = []
      const arrived: Uint8Array[] = []
      let received = 0
      const buffer = readStatically(reader, {
        wantsMore: true,
        take(bytes) {
          received += bytes.length
          seen.push(bytes.buffer)
          arrived.push(bytes)
          return false
        },
      })
      reader.on('data', () => {})
      reader.resume()
      writer.end(Buffer.alloc(8 * 1024 * 1024))
      const free = setInterval(() => {
        for (const bytes of arrived.splice(0)) buffer?.free?.(bytes)
      })
      await once(reader, 'end')
      clearInterval(free)
      buffer?.release()
      expect(received).toBe(8 * 1024 * 1024)
      expect(new Set(seen).size).toBeLessThan(seen.length)
    })
  })
})
