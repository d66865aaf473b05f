/** What the scale tests move: bytes without end from one small block, hashed on both ends; and what is left in memory. */
import { createHash, randomBytes } from 'node:crypto'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { Channel, ChannelEvents, ChannelReset } from '@ambient/core'

/** AMBIENT_SOAK=1 runs the scale tests at their full size. */
export const isSoak = process.env['AMBIENT_SOAK'] === '1'

/** Odd, so that no frame, record or window boundary repeats. */
const BLOCK = randomBytes(1_000_003)

/** Sends `total` bytes with back-pressure, hashes what it sends and what arrives. `done` settles when both directions ended. */
export class Carrier implements ChannelEvents {
  readonly done: Promise<void>
  readonly sentHash = createHash('sha256')
  readonly receivedHash = createHash('sha256')
  sent = 0
  received = 0
  isHeld = false
  readonly #channel: Channel
  readonly #total: number
  readonly #onData: () => void
  #isEnded = false
  #isFinished = false
  #resolve: () => void = () => {}
  #reject: (reason: unknown) => void = () => {}

  /** `onData` is told after each piece that arrived. */
  constructor(channel: Channel, total: number, onData: () => void = () => {}) {
    this.#channel = channel
    this.#total = total
    this.#onData = onData
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    // Not everybody waits for the end; whoever does hears of it.
    this.done.catch(() => {})
    channel.start(this)
    this.#send()
  }

  data(bytes: Uint8Array): boolean {
    this.received += bytes.length
    this.receivedHash.update(bytes)
    this.#onData()
    return true
  }

  end(): void {
    this.#isEnded = true
    this.#settle()
  }

  drained(): void {
    this.isHeld = false
    this.#send()
  }

  finished(): void {
    this.#isFinished = true
    this.#settle()
  }

  reset(reset: ChannelReset): void {
    this.#reject(new Error(reset.reason))
  }

  #send(): void {
    while (!this.isHeld && this.sent < this.#total) {
      const start = (this.sent * 31) % BLOCK.length
      const size = Math.min(1 + ((this.sent * 7_919) % 200_000), this.#total - this.sent)
      const piece = BLOCK.subarray(start, start + size)
      this.sent += piece.length
      this.sentHash.update(piece)
      this.isHeld = !this.#channel.write(piece)
    }
    if (!this.isHeld) this.#channel.end()
  }

  #settle(): void {
    if (this.#isFinished && this.#isEnded) this.#resolve()
  }
}

/** Longest piece that a `Carrier` writes. */
export const PIECE_BYTES = 200_000

/** Gives back what arrives; paused while the caller does not read. */
export function echo(channel: Channel): void {
  channel.start({
    data: bytes => {
      const isTaken = channel.write(bytes)
      if (!isTaken) channel.pause()
      return isTaken
    },
    end: () => channel.end(),
    drained: () => channel.resume(),
    finished() {},
    reset() {},
  })
}

export interface Caller {
  /** Sends the message and resolves when as many bytes came back. */
  call(): Promise<void>
  /** Ends our direction and resolves when the other one has ended as well. */
  end(): Promise<void>
}

export function caller(channel: Channel, message: Uint8Array): Caller {
  let left = 0
  let answered = (): void => {}
  let failed: (reason: unknown) => void = () => {}
  let onEnd = (): void => {}
  const ended = new Promise<void>(resolve => {
    onEnd = resolve
  })
  channel.start({
    data: bytes => {
      left -= bytes.length
      if (left === 0) answered()
      return true
    },
    end: () => onEnd(),
    drained() {},
    finished() {},
    reset: ({ reason }) => failed(new Error(reason)),
  })
  return {
    call: () =>
      new Promise((resolve, reject) => {
        left = message.length
        answered = resolve
        failed = reject
        channel.write(message)
      }),
    end: () => {
      channel.end()
      return ended
    },
  }
}

/** Bytes in use when garbage is gone: heap and buffers. */
export async function memoryInUse(): Promise<number> {
  setFlagsFromString('--expose-gc')
  const collect: unknown = runInNewContext('gc')
  for (let i = 0; i < 4; i++) {
    if (typeof collect === 'function') collect()
    // Finalizers run in turns of their own.
    await new Promise(resolve => setImmediate(resolve))
  }
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return heapUsed + arrayBuffers
}
