/** Two ends of a session over transports in memory, for tests of what no socket would do on request. */
import { Duplex } from 'node:stream'
import type { Channel, ChannelEvents, ChannelReset } from '@ambient/core'
import { createManualClock, type ManualClock } from '@ambient/core/testing'
import type { HboneError } from '@ambient/hbone'
import { type ConnectionHandlers, Http2Connection, PREFACE } from '../src/http2/connection.ts'
import type { Http2Stream } from '../src/http2/stream.ts'
import { type HboneLimits, resolveLimits } from '../src/limits.ts'
import type { Random } from './property.ts'
import { type Frame, frame, TYPE } from './raw-peer.ts'

/** What a client says first, our SETTINGS acknowledged. */
export const PREFACE_AND_SETTINGS = Buffer.concat([
  PREFACE,
  frame(TYPE.settings, 0, 0),
  frame(TYPE.settings, 1, 0),
])

/** Whole frames of what a session wrote. */
export function readFrames(bytes: Buffer): readonly Frame[] {
  const frames: Frame[] = []
  for (let at = 0; at + 9 <= bytes.length; ) {
    const next = at + 9 + bytes.readUIntBE(at, 3)
    const [type = 0, flags = 0] = bytes.subarray(at + 3, at + 5)
    const id = bytes.readUInt32BE(at + 5) & 0x7fff_ffff
    frames.push({ type, flags, id, payload: bytes.subarray(at + 9, next) })
    at = next
  }
  return frames
}

/** A transport whose other end is the test: what is written to it is kept, what it reads is given by hand. */
export class FakeTransport extends Duplex {
  /** Takes what was written; the bytes are its own from then on. */
  readonly #taker: (bytes: Buffer, done: () => void) => void

  constructor(taker: (bytes: Buffer, done: () => void) => void) {
    super({ allowHalfOpen: true, emitClose: true, autoDestroy: true })
    this.#taker = taker
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.#taker(Buffer.from(chunk), done)
  }

  override _final(done: () => void): void {
    done()
  }

  give(bytes: Uint8Array): void {
    if (!this.destroyed && !this.readableEnded) this.push(Buffer.from(bytes))
  }
}

export interface End {
  readonly connection: Http2Connection
  readonly transport: FakeTransport
  /** Streams that the peer opened. */
  readonly opened: Http2Stream[]
  /** Set when the session is over. */
  over: { readonly error: HboneError | undefined } | undefined
  isGone: boolean
}

export function end(
  role: 'client' | 'server',
  taker: (bytes: Buffer, done: () => void) => void,
  options: {
    readonly limits?: Partial<HboneLimits>
    readonly clock?: ManualClock
    readonly onRequest?: ConnectionHandlers['onRequest']
  } = {},
): End {
  const transport = new FakeTransport(taker)
  const opened: Http2Stream[] = []
  const connection = new Http2Connection({
    role,
    transport,
    peer: 'peer',
    limits: resolveLimits(options.limits),
    clock: options.clock ?? createManualClock(),
    handlers: {
      onRequest: (stream, head) => {
        opened.push(stream)
        options.onRequest?.(stream, head)
      },
      onClosed: error => {
        made.over = { error }
      },
      onGone: () => {
        made.isGone = true
      },
    },
  })
  const made: End = { connection, transport, opened, over: undefined, isGone: false }
  connection.start()
  return made
}

/** Sends `bytes` in random pieces, reads with random pauses; done when both directions ended. */
class Party implements ChannelEvents {
  received = 0
  hasEnded = false
  hasFinished = false
  resetWith: ChannelReset | undefined
  readonly #channel: Channel
  readonly #random: Random
  #left: number
  #held = false
  #paused = false

  constructor(channel: Channel, bytes: number, random: Random) {
    this.#channel = channel
    this.#left = bytes
    this.#random = random
    channel.start(this)
  }

  get isDone(): boolean {
    return this.hasEnded && this.hasFinished
  }

  /** Does something or other that a user may do. */
  move(): void {
    if (this.#paused && this.#random.chance(0.5)) {
      this.#paused = false
      this.#channel.resume()
    } else if (this.#random.chance(0.2)) {
      this.#paused = true
      this.#channel.pause()
    }
    if (this.#held || this.#left < 0) return
    const piece = Math.min(this.#left, this.#random.int(0, 40_000))
    this.#left -= piece
    if (piece > 0 && !this.#channel.write(Buffer.alloc(piece, 7))) this.#held = true
    if (this.#left === 0 && this.#random.chance(0.5)) {
      this.#left = -1
      this.#channel.end()
    }
  }

  data(bytes: Uint8Array): boolean {
    this.received += bytes.length
    return true
  }

  drained(): void {
    this.#held = false
  }

  end(): void {
    this.hasEnded = true
  }

  finished(): void {
    this.hasFinished = true
  }

  reset(reset: ChannelReset): void {
    this.resetWith = reset
  }
}

export const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve))

/** A session with random windows and limits, random streams on it; fails when something does not arrive or ends too early. */
export async function moveBytes(random: Random): Promise<void> {
  const limits = (): Partial<HboneLimits> => ({
    streamWindowBytes: random.pick([1, 10, 1_000, 16_384, 65_536]),
    maxStreamWindowBytes: random.pick([1, 100_000, 4_194_304]),
    connectionWindowBytes: random.pick([65_535, 65_536, 100_000, 1_000_000]),
    sendBufferBytes: random.pick([16_384, 65_536, 262_144]),
    // Windows of a byte are as many updates as bytes.
    idleFrameBurst: 10_000_000,
  })
  const [clientLimits, serverLimits] = [limits(), limits()]
  const clock = createManualClock()
  const slow = random.chance(0.3)
  const carry =
    (to: () => End) =>
    (bytes: Buffer, done: () => void): void => {
      const give = (): void => {
        for (const piece of random.split(bytes, 20_000)) to().transport.give(piece)
        done()
      }
      if (slow) setImmediate(give)
      else give()
    }
  const parties = new Map<Party, number>()
  const sizes = (window: number | undefined): number => random.int(0, Math.min(300_000, (window ?? 0) * 60))
  const server: End = end(
    'server',
    carry(() => client),
    {
      limits: serverLimits,
      clock,
      onRequest: stream => {
        const bytes = sizes(clientLimits.streamWindowBytes)
        stream.sendHeaders([[':status', '200']])
        const party = new Party(stream, bytes, random)
        const index = (stream.id - 1) / 2
        const other = [...clients][index]
        if (other !== undefined) {
          parties.set(other, bytes)
          parties.set(party, sent[index] ?? -1)
        }
      },
    },
  )
  const client: End = end(
    'client',
    carry(() => server),
    { limits: clientLimits, clock },
  )
  const clients: Party[] = []
  const sent: number[] = []
  for (let streams = random.int(1, 5); streams > 0; streams--) {
    const stream = client.connection.open([
      [':method', 'CONNECT'],
      [':authority', 'a:1'],
    ])
    if (stream === undefined) throw new Error('no stream')
    const bytes = sizes(serverLimits.streamWindowBytes)
    sent.push(bytes)
    clients.push(new Party(stream, bytes, random))
  }
  const everyone = (): Party[] => [...new Set([...clients, ...parties.keys()])]
  for (let turns = 0; ; turns++) {
    for (const party of everyone()) party.move()
    await turn()
    for (const party of everyone())
      if (party.resetWith !== undefined) throw new Error(`reset: ${party.resetWith.reason}`)
    if (parties.size === 2 * clients.length && everyone().every(party => party.isDone)) break
    if (turns > 5_000) throw new Error('nothing moves any more')
  }
  for (const [party, bytes] of parties)
    if (party.received !== bytes) throw new Error(`${party.received} of ${bytes} bytes arrived`)
  await over(client, server)
}

/** Both ends leave nothing behind. */
async function over(...ends: readonly End[]): Promise<void> {
  for (const { connection } of ends) {
    if (connection.streams.size > 0) throw new Error(`${connection.streams.size} streams are left`)
  }
  for (const { transport } of ends) transport.destroy()
  while (!ends.every(one => one.isGone)) await turn()
}
