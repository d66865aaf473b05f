/**
 * The channel over a Node stream, shared by the socket and the Duplex adapter. The two differ in how a reset is sent, and
 * in how bytes are read: a socket reads statically where that works. Everything else reads by `'data'` events, with
 * chunks of the stream's own, so nothing is ever overwritten and the answer of `events.data` is not needed.
 */
import type { Duplex } from 'node:stream'
import type { Channel, ChannelEvents, ResetCode } from '../channel.ts'
import { CoreError, messageOf } from '../errors.ts'
import type { ReadBuffer, StaticUser } from './static-reads.ts'

/** What sockets and other streams do in ways of their own. One object for all channels of a kind. */
export interface StreamMeans<S extends Duplex> {
  sendReset(stream: S, code: ResetCode, reason: string): void
  /** Bytes that `write` has taken are not referred to any more; other streams may pass them on as they are. */
  takesBytes(stream: S): boolean
  /**
   * Writes past the queue of the stream, and calls `done` before it returns when all bytes have left; what is written afterwards,
   * in either way, follows them. `undefined`: such streams can only be written to as streams.
   */
  readonly writeThrough: ((stream: S, bytes: Uint8Array, done: WriteDone) => void) | undefined
  /** `undefined`: by `'data'` events. */
  readStatically(stream: S, user: StaticUser): ReadBuffer | undefined
}

export type WriteDone = (error?: Error | null) => void

const CHANNEL = Symbol('channel')

/** A stream that is a channel. Its listeners find the channel here: they are the same functions for all streams. */
interface Carrying extends Duplex {
  [CHANNEL]?: StreamUser
}

/** What a channel hears of its stream. */
interface StreamUser {
  onData(chunk: Buffer): void
  onEnd(): void
  onFinish(): void
  onError(error: Error): void
  onClose(): void
}

export class StreamChannel<S extends Duplex> implements Channel, StaticUser, StreamUser {
  readonly #stream: S
  readonly #means: StreamMeans<S>
  readonly #takesBytes: boolean
  /** What a socket reads into. */
  #buffer: ReadBuffer | undefined
  #paused = false
  /** The user is being given bytes that were read statically. */
  #taking = false
  /** Read although paused, which Node does when a pause follows a resume in one turn. */
  #stash: Uint8Array | undefined
  #events: ChannelEvents | undefined
  #readEnded = false
  #ending = false
  #finished = false
  #dead = false
  #held = false
  /** Writes whose callback has not come. */
  #underWay = 0
  #failure: unknown

  constructor(stream: S & Carrying, means: StreamMeans<S>) {
    this.#stream = stream
    stream[CHANNEL] = this
    this.#means = means
    this.#takesBytes = means.takesBytes(stream)
    stream.on('error', onError)
    stream.on('close', onClose)
  }

  start(events: ChannelEvents): void {
    if (this.#events !== undefined) throw new CoreError('AMBIENT_E_CLOSED', 'the channel was started already')
    this.#events = events
    const stream = this.#stream
    if (stream.destroyed) {
      queueMicrotask(() => this.onClose())
      return
    }
    this.#buffer = this.#means.readStatically(stream, this)
    stream.on('data', onData)
    stream.on('end', onEnd)
    // Whoever read a header off it may have met the end behind it.
    if (stream.readableEnded) queueMicrotask(() => this.onEnd())
    stream.on('finish', onFinish)
    stream.resume()
  }

  free(bytes: Uint8Array): void {
    this.#buffer?.free?.(bytes)
  }

  pause(): void {
    this.#paused = true
    if (!this.#taking) this.#stream.pause()
  }

  resume(): void {
    this.#paused = false
    if (this.#dead) return
    if (this.#stash !== undefined) this.#unstash()
    if (this.#paused) return
    const stream = this.#stream
    // Without `flow`, whose work is done by the reads themselves.
    if (this.#buffer !== undefined && stream.readableLength === 0) stream.read(0)
    else stream.resume()
  }

  write(bytes: Uint8Array): boolean {
    if (bytes.length === 0 || this.#ending || this.#dead || this.#stream.destroyed) return true
    this.#underWay++
    if (this.#passOn(bytes)) return true
    this.#held = true
    return false
  }

  /** `true`: the bytes have left. */
  #passOn(bytes: Uint8Array): boolean {
    const stream = this.#stream
    const { writeThrough } = this.#means
    if (writeThrough !== undefined && stream.writableLength === 0) {
      writeThrough(stream, bytes, this.#onWritten)
      return this.#underWay === 0
    }
    // The callback, not 'drain': that event only follows a `write` that crossed the high-water mark.
    stream.write(this.#takesBytes ? bytes : Buffer.from(bytes), this.#onWritten)
    return stream.writableLength === 0
  }

  end(): void {
    if (this.#ending || this.#dead) return
    this.#ending = true
    // A stream that knows nothing of a write must not be shut down over it: it could not be reset meanwhile.
    if (this.#underWay === 0 || this.#means.writeThrough === undefined) this.#stream.end()
  }

  reset(code: ResetCode, reason: string): void {
    if (this.#dead || (this.#readEnded && this.#finished)) return
    this.#dead = true
    this.#means.sendReset(this.#stream, code, reason)
  }

  get wantsMore(): boolean {
    return !this.#paused
  }

  take(bytes: Uint8Array): boolean {
    if (this.#dead) return true
    if (this.#paused) {
      this.#stash = this.#stash === undefined ? bytes : Buffer.concat([this.#stash, bytes])
      return false
    }
    this.#taking = true
    const isFree = this.#events?.data(bytes) ?? true
    this.#taking = false
    return isFree
  }

  #unstash(): void {
    const bytes = this.#stash
    this.#stash = undefined
    if (bytes !== undefined) this.#events?.data(bytes)
    if (this.#readEnded && !this.#dead) this.#events?.end()
  }

  onData(chunk: Buffer): void {
    if (!this.#dead) this.#events?.data(chunk)
  }

  onEnd(): void {
    this.#readEnded = true
    if (!this.#dead && this.#stash === undefined) this.#events?.end()
  }

  onFinish(): void {
    this.#finished = true
    if (!this.#dead) this.#events?.finished()
  }

  readonly #onWritten = (error?: Error | null): void => {
    this.#underWay--
    const stream = this.#stream
    // A stream knows by itself what went wrong in its own queue.
    if (error != null && this.#means.writeThrough !== undefined) stream.destroy(error)
    if (this.#underWay > 0) return
    if (this.#ending && !stream.writableEnded && !stream.destroyed) stream.end()
    if (!this.#held) return
    this.#held = false
    if (!this.#dead) this.#events?.drained()
  }

  onError(error: Error): void {
    this.#failure ??= error
  }

  /** Follows every other event of a stream, so what arrived before a failure has been delivered. */
  onClose(): void {
    this.#buffer?.release()
    this.#buffer = undefined
    if (this.#dead || this.#events === undefined || (this.#readEnded && this.#finished)) return
    if (this.#stash !== undefined) this.#unstash()
    this.#dead = true
    const cause = this.#failure
    const reason = cause === undefined ? 'closed before both directions ended' : messageOf(cause)
    this.#events.reset({
      by: 'peer',
      code: 'CONNECT_ERROR',
      reason,
      ...(cause === undefined ? {} : { cause }),
    })
  }
}

function onData(this: Carrying, chunk: Buffer): void {
  this[CHANNEL]?.onData(chunk)
}

function onEnd(this: Carrying): void {
  this[CHANNEL]?.onEnd()
}

function onFinish(this: Carrying): void {
  this[CHANNEL]?.onFinish()
}

function onError(this: Carrying, error: Error): void {
  this[CHANNEL]?.onError(error)
}

function onClose(this: Carrying): void {
  this[CHANNEL]?.onClose()
}
