/**
 * Mutated sessions against our server and client, over transports in memory. Whatever comes: no exception escapes, nothing
 * hangs or piles up, a session that ends says GOAWAY with a code, nothing is left of it, and a neighbour goes on.
 * `AMBIENT_FUZZ_SECONDS` is how long; a failure writes its input to `corpus/`, where it stays once it is mended.
 */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { createManualClock } from '@ambient/core/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Http2Stream } from '../src/http2/stream.ts'
import { mutate } from './fuzz-mutate.ts'
import {
  madeSeeds,
  readCorpus,
  recordedClient,
  saveSeed,
  type Seed,
  type Victim,
  VICTIMS,
} from './fuzz-seeds.ts'
import { Random } from './property.ts'
import { CONNECT, TYPE } from './raw-peer.ts'
import { end, type End, readFrames, turn } from './session-pair.ts'

const SECONDS = Number(process.env.AMBIENT_FUZZ_SECONDS ?? 5)
/** One input, however the machine is loaded; 50 ms would be ours. */
const HANG_MS = 2_000
/** Answers may be longer than questions, within reason. */
const MAX_OUTPUT_BYTES = 4 << 20
const MAX_GROWTH_BYTES = 64 << 20

const escaped: unknown[] = []
const onEscaped = (error: unknown): void => void escaped.push(error)
beforeAll(() => {
  process.on('uncaughtException', onEscaped).on('unhandledRejection', onEscaped)
})
afterAll(() => {
  process.off('uncaughtException', onEscaped).off('unhandledRejection', onEscaped)
})

interface Run {
  readonly session: End
  readonly sent: readonly Buffer[]
}

/** A user of a stream: answers, echoes, stops reading, gives up, as chance has it. */
function use(stream: Http2Stream, random: Random): void {
  const habit = random.int(0, 5)
  stream.start({
    data: bytes => {
      if (habit === 1) stream.pause()
      if (habit === 2) return true
      return stream.write(bytes) && habit === 3
    },
    end: () => {
      if (habit !== 4) stream.end()
    },
    drained: () => stream.resume(),
    finished() {},
    reset() {},
  })
  if (habit === 5) stream.reset('INTERNAL_ERROR', 'given up')
}

function serve(stream: Http2Stream, random: Random): void {
  if (random.chance(0.1)) return
  stream.sendHeaders([[':status', random.chance(0.8) ? '200' : '503']], random.chance(0.1))
  if (stream.isEnding) stream.discard()
  else use(stream, random)
}

function begin(
  victim: Victim,
  random: Random,
  sent: Buffer[],
  clock: ReturnType<typeof createManualClock>,
): End {
  const isSlow = random.chance(0.1)
  const take = (bytes: Buffer, done: () => void): void => {
    sent.push(bytes)
    // A peer that does not read.
    if (!isSlow || sent.length < 3) done()
  }
  const session = end(victim, take, { clock, onRequest: stream => serve(stream, random) })
  if (victim === 'server') return session
  for (let streams = 2; streams > 0; streams--) {
    const stream = session.connection.open(CONNECT)
    if (stream === undefined) continue
    stream.observer = { headers: () => use(stream, random), gone() {} }
    if (random.chance(0.3)) use(stream, random)
  }
  return session
}

async function feed(
  victim: Victim,
  bytes: Buffer,
  random: Random,
): Promise<Run & { readonly pending: number }> {
  const clock = createManualClock()
  const sent: Buffer[] = []
  const session = begin(victim, random, sent, clock)
  const pieces = random.chance(0.5) ? [bytes] : random.split(bytes, random.pick([9, 100, 20_000]))
  const turnEvery = random.pick([1, 10, 1_000])
  for (const [index, piece] of pieces.entries()) {
    session.transport.give(piece)
    if (index % turnEvery === 0 && index < 100) await turn()
  }
  await turn()
  if (random.chance(0.2)) clock.advance(random.pick([1, 2_000, 10_000, 40_000]))
  await turn()
  judge(session, sent)
  if (random.chance(0.3)) session.connection.drain()
  if (random.chance(0.5)) session.transport.push(null)
  else session.transport.destroy()
  for (let turns = 0; !session.isGone; turns++) {
    await turn()
    // Those who wait for a peer to read are cut in time.
    if (turns > 5) clock.advance(100_000)
    if (turns > 50) throw new Error('the session never ends')
  }
  await turn()
  clock.advance(100_000)
  return { session, sent, pending: clock.pending }
}

function judge(session: End, sent: readonly Buffer[]): void {
  const { connection, over } = session
  const output = Buffer.concat(sent)
  if (output.length > MAX_OUTPUT_BYTES) throw new Error(`${output.length} bytes were answered`)
  if (connection.streams.size > 200) throw new Error(`${connection.streams.size} streams are open`)
  const error = over?.error
  if (error === undefined) return
  if (error.code === 'AMBIENT_E_HBONE_SESSION_LOST') return
  // Anything but a rule that the peer broke is our own mistake.
  if (error.h2Code === 'INTERNAL_ERROR' || error.cause !== undefined) throw error
  const start = connection.role === 'client' ? 24 : 0
  const isRead = sent.length < 3
  if (!isRead && !readFrames(output.subarray(start)).some(({ type }) => type === TYPE.goaway)) {
    if (!session.transport.writableNeedDrain && session.transport.writableLength === 0)
      throw new Error(`the session ended without GOAWAY: ${error.message}`)
  }
}

async function one(victim: Victim, bytes: Buffer, random: Random): Promise<void> {
  const since = performance.now()
  const { session, pending } = await feed(victim, bytes, random)
  const took = performance.now() - since
  if (took > HANG_MS) throw new Error(`took ${Math.round(took)} ms`)
  if (escaped.length > 0) throw escaped.splice(0)[0]
  if (session.connection.streams.size > 0) throw new Error('streams are left of a session that has gone')
  if (session.over === undefined) throw new Error('nobody was told of the end')
  if (pending > 0) throw new Error(`${pending} timers are left of a session that has gone`)
}

/** A session that lives through it all. */
async function neighbour(): Promise<() => Promise<void>> {
  const carry =
    (to: () => End) =>
    (bytes: Buffer, done: () => void): void => {
      to().transport.give(bytes)
      done()
    }
  const server: End = end(
    'server',
    carry(() => client),
    {
      onRequest: stream => {
        stream.sendHeaders([[':status', '200']])
        stream.start({
          data: bytes => stream.write(bytes),
          end() {},
          drained() {},
          finished() {},
          reset() {},
        })
      },
    },
  )
  const client: End = end(
    'client',
    carry(() => server),
  )
  await turn()
  const stream = client.connection.open(CONNECT)
  let echoed = 0
  stream?.start({
    data: bytes => {
      echoed += bytes.length
      return true
    },
    end() {},
    drained() {},
    finished() {},
    reset() {},
  })
  return async () => {
    const wanted = echoed + 5
    stream?.write(Buffer.from('alive'))
    for (let turns = 0; echoed < wanted; turns++) {
      if (turns > 100) throw new Error('the neighbour does not answer')
      await turn()
    }
  }
}

function heldBytes(): number {
  setFlagsFromString('--expose-gc')
  const collect: unknown = runInNewContext('gc')
  if (typeof collect === 'function') collect()
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return heapUsed + arrayBuffers
}

async function fuzz(
  victim: Victim,
  seeds: readonly Seed[],
  firstSeed: number,
  seconds: number,
): Promise<number> {
  const check = await neighbour()
  const others = seeds.map(seed => seed.bytes)
  const until = performance.now() + seconds * 1_000
  const before = heldBytes()
  let seed = firstSeed
  for (; performance.now() < until; seed++) {
    const random = new Random(seed)
    const input = mutate(random, random.pick(others), others)
    try {
      await one(victim, input, random)
      if (seed % 50 === 0) await check()
    } catch (error) {
      const file = saveSeed(victim, `crash-${seed}`, input)
      throw new Error(`AMBIENT_SEED=${seed}, saved as ${file}: ${String(error)}`, { cause: error })
    }
    if (process.env.AMBIENT_SEED !== undefined) return 1
  }
  expect(heldBytes() - before, 'bytes that are still held').toBeLessThan(MAX_GROWTH_BYTES)
  return seed - firstSeed
}

describe.each(VICTIMS)('the corpus of the %s', victim => {
  if (process.env.AMBIENT_CORPUS === 'write')
    it('is written', async () => {
      for (const [name, bytes] of Object.entries(madeSeeds()[victim])) saveSeed(victim, name, bytes)
      if (victim === 'server') saveSeed(victim, 'nghttp2-three-tunnels', await recordedClient())
    })

  it('holds what its maker makes', () => {
    const seeds = new Map(readCorpus(victim).map(seed => [seed.name, seed.bytes]))
    for (const [name, bytes] of Object.entries(madeSeeds()[victim]))
      expect(seeds.get(`${name}.hex`), `${name}: AMBIENT_CORPUS=write`).toEqual(bytes)
  })

  for (const { name, bytes } of readCorpus(victim))
    it(`is survived: ${name}`, async () => {
      for (let seed = 0; seed < 20; seed++) await one(victim, bytes, new Random(seed))
    })

  const seconds = SECONDS / VICTIMS.length
  it(`is survived with mutations for ${seconds} s`, { timeout: seconds * 1_000 + 60_000 }, async () => {
    const { AMBIENT_SEED } = process.env
    const first = AMBIENT_SEED === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(AMBIENT_SEED)
    const inputs = await fuzz(victim, readCorpus(victim), first, seconds)
    expect(inputs).toBeGreaterThan(0)
    process.stdout.write(`fuzz ${victim}: ${inputs} inputs, ${Math.round(inputs / seconds)} a second\n`)
  })
})
