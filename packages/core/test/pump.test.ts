/** The conveyor, over channels in memory and over real sockets: nothing lost, nothing added, one ending. */
import { createHash, randomBytes } from 'node:crypto'
import { type ByteCounts, type Channel, pump, type PumpResult } from '@ambient/core'
import { socketChannel } from '@ambient/core/node'
import { channelPair, createManualClock } from '@ambient/core/testing'
import { afterEach, describe, expect, it } from 'vitest'
import { Recorder } from '../../../test/contracts/channel.ts'
import { socketPair } from './socket-pair.ts'

/** `client ⇄ a` and `b ⇄ server`; a pump joins `a` and `b`. */
interface Line {
  readonly client: Channel
  readonly a: Channel
  readonly b: Channel
  readonly server: Channel
  readonly dispose: () => Promise<void>
}

const text = (value: string): Uint8Array => new TextEncoder().encode(value)
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')
const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve))

async function memoryLine(): Promise<Line> {
  const [client, a] = channelPair()
  const [b, server] = channelPair()
  return { client, a, b, server, dispose: async () => {} }
}

async function socketLine(): Promise<Line> {
  const [left, right] = await Promise.all([socketPair(), socketPair()])
  return {
    client: socketChannel(left.dialled),
    a: socketChannel(left.accepted),
    b: socketChannel(right.dialled),
    server: socketChannel(right.accepted),
    dispose: async () => {
      await Promise.all([left.close(), right.close()])
    },
  }
}

/** Sends all of it, as fast as the channel lets it, then ends. */
function sendAll(channel: Channel, events: Recorder, bytes: Uint8Array): void {
  let offset = 0
  const feed = (): void => {
    while (offset < bytes.length) {
      const chunk = bytes.subarray(offset, offset + 50_000)
      offset += chunk.length
      if (!channel.write(chunk)) return
    }
    channel.end()
  }
  const drained = events.drained.bind(events)
  events.drained = () => {
    drained()
    feed()
  }
  feed()
}

for (const { name, setup, resetCode } of [
  { name: 'memory', setup: memoryLine, resetCode: 'INTERNAL_ERROR' },
  // A TCP reset carries no code: on a tunnel it becomes what HTTP/2 has for it.
  { name: 'sockets', setup: socketLine, resetCode: 'CONNECT_ERROR' },
] as const) {
  describe(`pump over ${name}`, () => {
    let line: Line
    const start = async (
      options: { signal?: AbortSignal; counts?: ByteCounts } = {},
    ): Promise<{ client: Recorder; server: Recorder; done: Promise<PumpResult> }> => {
      line = await setup()
      const client = new Recorder()
      const server = new Recorder()
      line.client.start(client)
      line.server.start(server)
      return { client, server, done: pump(line.a, line.b, options) }
    }
    afterEach(() => line.dispose())

    it('passes a half-close on: the client ends first and gets the whole answer', async () => {
      const { client, server, done } = await start()
      line.client.write(text('question'))
      line.client.end()
      await server.seen('end')
      expect(server.bytes.toString()).toBe('question')
      expect(client.log).not.toContain('end')
      line.server.write(text('a long answer'))
      line.server.end()
      await client.seen('end')
      expect(client.bytes.toString()).toBe('a long answer')
      expect(await done).toEqual({ aToB: 8, bToA: 13, ending: { kind: 'ended' } })
      expect([...client.log, ...server.log]).not.toContain('reset')
    })

    it('passes a half-close on: the server speaks and ends first', async () => {
      const { client, server, done } = await start()
      line.server.write(text('greeting'))
      line.server.end()
      await client.seen('end')
      expect(client.bytes.toString()).toBe('greeting')
      line.client.write(text('late question'))
      line.client.end()
      await server.seen('end')
      expect(server.bytes.toString()).toBe('late question')
      expect(await done).toEqual({ aToB: 13, bToA: 8, ending: { kind: 'ended' } })
    })

    it('ends when both ended without a byte', async () => {
      const { client, server, done } = await start()
      line.client.end()
      line.server.end()
      expect(await done).toEqual({ aToB: 0, bToA: 0, ending: { kind: 'ended' } })
      await Promise.all([client.seen('end'), server.seen('end')])
    })

    it('carries 8 MiB each way at once, unchanged, while both readers stop and go', async () => {
      const { client, server, done } = await start()
      const up = randomBytes(8 << 20)
      const down = randomBytes(8 << 20)
      stutter(line.client, client)
      stutter(line.server, server)
      sendAll(line.client, client, up)
      sendAll(line.server, server, down)
      await Promise.all([client.seen('end'), server.seen('end')])
      expect(sha256(server.bytes)).toBe(sha256(up))
      expect(sha256(client.bytes)).toBe(sha256(down))
      expect(await done).toEqual({ aToB: up.length, bToA: down.length, ending: { kind: 'ended' } })
    })

    it('counts while it runs', async () => {
      const counts = { aToB: 0, bToA: 0 }
      const { client, server, done } = await start({ counts })
      line.client.write(text('12345'))
      await server.until(() => server.received === 5)
      expect(counts).toEqual({ aToB: 5, bToA: 0 })
      line.server.write(text('123'))
      await client.until(() => client.received === 3)
      expect(counts).toEqual({ aToB: 5, bToA: 3 })
      line.client.end()
      line.server.end()
      expect(await done).toMatchObject(counts)
    })

    it('stops a sender whose receiver does not read: what is on its way stays bounded', async () => {
      const counts = { aToB: 0, bToA: 0 }
      const { server, done } = await start({ counts })
      line.server.pause()
      const chunk = new Uint8Array(65_536)
      let sent = 0
      while (sent < 64 << 20 && line.client.write(chunk)) {
        sent += chunk.length
        await turn()
      }
      expect(sent).toBeLessThan(64 << 20)
      expect(counts.aToB).toBeLessThan(64 << 20)
      line.server.resume()
      await server.until(() => server.received >= sent)
      line.client.end()
      line.server.end()
      expect((await done).ending).toEqual({ kind: 'ended' })
    })

    for (const from of ['client', 'server'] as const) {
      const to = from === 'client' ? 'server' : 'client'
      const side = from === 'client' ? 'a' : 'b'

      it(`passes a reset of the ${from} on as a reset`, async () => {
        const { client, server, done } = await start()
        const far = from === 'client' ? server : client
        line[from].write(text('some bytes'))
        await far.until(() => far.received === 10)
        line[from].reset('INTERNAL_ERROR', 'gone')
        await far.seen('reset')
        expect(far.log).not.toContain('end')
        expect(far.resetWith).toMatchObject({ by: 'peer', code: resetCode })
        expect((await done).ending).toMatchObject({
          kind: 'reset',
          side,
          reset: { by: 'peer', code: resetCode },
        })
        expect(line[to].write(text('into the void'))).toBe(true)
      })

      it(`passes a reset of the ${from} on after the ${to} ended`, async () => {
        const { client, server, done } = await start()
        const [near, far] = from === 'client' ? [client, server] : [server, client]
        line[to].end()
        await near.seen('end')
        line[from].reset('INTERNAL_ERROR', 'gone')
        await far.seen('reset')
        expect(far.log).not.toContain('end')
        expect((await done).ending).toMatchObject({ kind: 'reset', side })
      })

      it(`a reset of the ${from} after its own end is still a reset, at the latest with the next write`, async () => {
        const { client, server, done } = await start()
        const far = from === 'client' ? server : client
        line[from].end()
        await far.seen('end')
        line[from].reset('INTERNAL_ERROR', 'gone')
        // Node does not watch a socket that it has read to its end, so a silent TCP peer's reset shows on a write.
        while (!far.log.includes('reset')) {
          line[to].write(text('are you there?'))
          await turn()
        }
        expect((await done).ending).toMatchObject({ kind: 'reset', side })
      })
    }

    it('an abort cuts both sides with a reset and gives the reason', async () => {
      const controller = new AbortController()
      const { client, server, done } = await start({ signal: controller.signal })
      line.client.write(text('hello'))
      await server.until(() => server.received === 5)
      const reason = new Error('withdrawn by policy')
      controller.abort(reason)
      expect(await done).toEqual({ aToB: 5, bToA: 0, ending: { kind: 'aborted', reason } })
      await Promise.all([client.seen('reset'), server.seen('reset')])
      expect([...client.log, ...server.log]).not.toContain('end')
      expect(client.resetWith).toMatchObject({ by: 'peer', code: resetCode })
    })

    it('an abort frees a connection that is stuck on a reader that never reads', async () => {
      const controller = new AbortController()
      const { client, done } = await start({ signal: controller.signal })
      line.server.pause()
      const chunk = new Uint8Array(1 << 20)
      while (line.client.write(chunk)) await turn()
      controller.abort('drained')
      expect((await done).ending).toEqual({ kind: 'aborted', reason: 'drained' })
      await client.seen('reset')
    })

    it('a signal that was aborted before cuts both at once', async () => {
      const { client, server, done } = await start({ signal: AbortSignal.abort('too late') })
      expect(await done).toEqual({ aToB: 0, bToA: 0, ending: { kind: 'aborted', reason: 'too late' } })
      await Promise.all([client.seen('reset'), server.seen('reset')])
    })
  })
}

/** Pauses at every tenth chunk for one turn of the loop. */
function stutter(channel: Channel, events: Recorder): void {
  let chunks = 0
  const data = events.data.bind(events)
  events.data = bytes => {
    if (++chunks % 10 === 0) {
      channel.pause()
      setImmediate(() => channel.resume())
    }
    return data(bytes)
  }
}

it('a reset is passed on even when the bytes before it find a reader that has stopped', async () => {
  const { client, a, b, server } = await memoryLine()
  const clock = createManualClock()
  const [left, right] = [new Recorder(), new Recorder()]
  const result = pump(a, b, { clock })
  client.start(left)
  server.start(right)
  // Both directions are stuck: neither end reads.
  client.pause()
  server.pause()
  const chunk = new Uint8Array(60_000)
  for (let i = 0; i < 10; i++) {
    client.write(chunk)
    server.write(chunk)
    await turn()
  }
  client.reset('INTERNAL_ERROR', 'gone')
  await turn()
  await turn()
  clock.advance(2_000)
  server.resume()
  await right.seen('reset')
  expect((await result).ending).toMatchObject({ kind: 'reset', side: 'a' })
  expect(clock.pending).toBe(0)
})
