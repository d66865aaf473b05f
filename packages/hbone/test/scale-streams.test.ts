/** Many streams on one session: slow readers hold their own window and nobody else, and a big transfer starves no small one. */
import type { Channel } from '@ambient/core'
import { defaultLimits, type HboneLimits } from '@ambient/hbone'
import { describe, expect, it } from 'vitest'
import { deferred, harness } from './harness.ts'
import { caller, Carrier, echo, memoryInUse, PIECE_BYTES } from './scale-load.ts'

const MIB = 1 << 20
/** All streams of a test on one session. */
const oneSession: Partial<HboneLimits> = { poolStreams: 128 }
const { streamWindowBytes, maxStreamWindowBytes, connectionWindowBytes } = defaultLimits

describe('many streams on one session', () => {
  it('a slow reader among 100 fast streams: they finish, it holds one window, and gets all its bytes in the end', {
    timeout: 60_000,
  }, async () => {
    const slow = deferred<{ readonly carrier: Carrier; readonly channel: Channel }>()
    const { connect, pool } = await harness(
      {
        onTunnel: request => {
          const channel = request.accept()
          if (request.header('pace') === 'fast') return void new Carrier(channel, 0)
          slow.resolve({ channel, carrier: new Carrier(channel, 0, () => channel.pause()) })
        },
      },
      { limits: oneSession },
    )
    const tortoise = new Carrier((await connect({ headers: [['pace', 'slow']] })).channel, 4 * MIB)
    const hares = await Promise.all(
      Array.from({ length: 100 }, async () => (await connect({ headers: [['pace', 'fast']] })).channel),
    )
    expect(pool.sessions).toBe(1)
    const { channel, carrier } = await slow.promise
    // It reads one piece whenever another stream is through: slower than all of them, without a clock.
    await Promise.all(hares.map(hare => new Carrier(hare, 2 * MIB).done.then(() => channel.resume())))
    expect(tortoise.isHeld).toBe(true)
    expect(tortoise.sent - carrier.received).toBeLessThanOrEqual(maxStreamWindowBytes + PIECE_BYTES)
    const rest = setInterval(() => channel.resume(), 0) // the slow one goes on reading piece by piece
    await Promise.all([tortoise.done, carrier.done])
    clearInterval(rest)
    expect(carrier.receivedHash.digest('hex')).toBe(tortoise.sentHash.digest('hex'))
  })

  it('100 readers that were fast and stop hold the session window and their first windows, no more', {
    timeout: 60_000,
  }, async () => {
    const channels: Channel[] = []
    const readers: Carrier[] = []
    const { connect, pool } = await harness(
      {
        onTunnel: request => {
          const channel = request.accept()
          channels.push(channel)
          const reader = new Carrier(channel, 0, () => {
            if (reader.received >= MIB) channel.pause()
          })
          readers.push(reader)
        },
      },
      { limits: oneSession },
    )
    const before = await memoryInUse()
    const writers: Carrier[] = []
    for (let i = 0; i < 100; i++) writers.push(new Carrier((await connect()).channel, 8 * MIB))
    await until(() => readers.length === 100 && readers.every(reader => reader.received >= MIB))
    await until(() => writers.every(writer => writer.isHeld))
    expect(pool.sessions).toBe(1)
    const bound = 100 * streamWindowBytes + connectionWindowBytes
    const inFlight = sum(writers, writer => writer.sent) - sum(readers, reader => reader.received)
    expect(inFlight).toBeLessThanOrEqual(bound + 100 * PIECE_BYTES)
    expect((await memoryInUse()) - before).toBeLessThanOrEqual(bound + 8 * MIB)
    for (const channel of channels) channel.reset('CANCEL', 'seen enough')
    await Promise.allSettled(writers.map(writer => writer.done))
  })

  it('a transfer without end lets 50 conversations through, with a bounded lead for each answer', {
    timeout: 60_000,
  }, async () => {
    let bulk: Carrier | undefined
    const { connect, pool } = await harness(
      {
        onTunnel: request => {
          const channel = request.accept()
          if (request.header('kind') === 'talk') return echo(channel)
          bulk = new Carrier(channel, 0)
        },
      },
      { limits: oneSession },
    )
    const flood = (await connect({ headers: [['kind', 'bulk']] })).channel
    void new Carrier(flood, Number.MAX_SAFE_INTEGER)
    const talks = await Promise.all(
      Array.from({ length: 50 }, async () =>
        caller((await connect({ headers: [['kind', 'talk']] })).channel, Buffer.alloc(1_024)),
      ),
    )
    expect(pool.sessions).toBe(1)
    await until(() => (bulk?.received ?? 0) > 8 * MIB)
    const leads: number[] = []
    await Promise.all(
      talks.map(async talk => {
        for (let i = 0; i < 20; i++) {
          const lead = bulk?.received ?? 0
          await talk.call()
          leads.push((bulk?.received ?? 0) - lead)
        }
      }),
    )
    leads.sort((a, b) => a - b)
    expect(leads).toHaveLength(1_000)
    // What was on its way before the question and its answer: windows and sockets. Without turns it would be everything.
    expect(leads[990]).toBeLessThan(2 * maxStreamWindowBytes)
    flood.reset('CANCEL', 'seen enough')
    await Promise.allSettled([bulk?.done])
  })

  it('8 equal transfers advance together', { timeout: 60_000 }, async () => {
    const readers: Carrier[] = []
    const { connect, pool } = await harness({
      onTunnel: request => void readers.push(new Carrier(request.accept(), 0)),
    })
    const channels = await Promise.all(Array.from({ length: 8 }, async () => (await connect()).channel))
    expect(pool.sessions).toBe(1)
    const writers = channels.map(channel => new Carrier(channel, 16 * MIB))
    await until(() => readers.some(reader => reader.received > 12 * MIB))
    const slowest = Math.min(...readers.map(reader => reader.received))
    expect(slowest).toBeGreaterThan(6 * MIB)
    await Promise.all([...writers, ...readers].map(carrier => carrier.done))
  })
})

/** Turns of the event loop until something holds. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise(resolve => setImmediate(resolve))
}

function sum(carriers: readonly Carrier[], of: (carrier: Carrier) => number): number {
  return carriers.reduce((total, carrier) => total + of(carrier), 0)
}
