/**
 * The channel over a Node stream, shared by the socket and the Duplex adapter. The two differ in how a reset is sent.
 *
 * Reads use `'data'` events with chunks of the stream's own, so nothing is ever overwritten and the answer of
 * `events.data` is not needed. (A socket with pooled `onread` buffers can replace this behind the same contract.)
 */
import type { Duplex } from 'node:stream'
import type { Channel, ChannelEvents, ResetCode } from '../channel.ts'
import { CoreError, messageOf } from '../errors.ts'

export class StreamChannel implements Channel {
  readonly #stream: Duplex
  readonly #sendReset: (code: ResetCode, reason: string) => void
  #events: ChannelEvents | undefined
  #readEnded = false
  #ending = false
  #finished = false
  #dead = false
  #held = false
  #failure: unknown

  constructor(stream: Duplex, sendReset: (code: ResetCode, reason: string) => void) {
    this.#stream = stream
    this.#sendReset = sendReset
    stream.on('error', this.#onError)
    stream.on('close', this.#onClose)
  }

  start(events: ChannelEvents): void {
    if (this.#events !== undefined) throw new CoreError('AMBIENT_E_CLOSED', 'the channel was started already')
    this.#events = events
    const stream = this.#stream
    if (stream.destroyed) {
      queueMicrotask(this.#onClose)
      return
    }
    stream.on('data', this.#onData)
    stream.on('end', this.#onEnd)
    stream.on('finish', this.#onFinish)
    stream.resume()
  }

  pause(): void {
    this.#stream.pause()
  }

  resume(): void {
    if (!this.#dead) this.#stream.resume()
  }

  write(bytes: Uint8Array): boolean {
    if (bytes.length === 0 || this.#ending || this.#dead || this.#stream.destroyed) return true
    const stream = this.#stream
    // The callback, not 'drain': that event only follows a `write` that crossed the high-water mark.
    stream.write(bytes, this.#onWritten)
    if (stream.writableLength === 0) return true
    this.#held = true
    return false
  }

  end(): void {
    if (this.#ending || this.#dead) return
    this.#ending = true
    this.#stream.end()
  }

  reset(code: ResetCode, reason: string): void {
    if (this.#dead || (this.#readEnded && this.#finished)) return
    this.#dead = true
    this.#sendReset(code, reason)
  }

  readonly #onData = (chunk: Buffer): void => {
    if (!this.#dead) this.#events?.data(chunk)
  }

  readonly #onEnd = (): void => {
    this.#readEnded = true
    if (!this.#dead) this.#events?.end()
  }

  readonly #onFinish = (): void => {
    this.#finished = true
    if (!this.#dead) this.#events?.finished()
  }

  readonly #onWritten = (): void => {
    if (!this.#held || this.#stream.writableLength > 0) return
    this.#held = false
    if (!this.#dead) this.#events?.drained()
  }

  readonly #onError = (error: Error): void => {
    this.#failure ??= error
  }

  /** Follows every other event of a stream, so what arrived before a failure has been delivered. */
  readonly #onClose = (): void => {
    if (this.#dead || this.#events === undefined || (this.#readEnded && this.#finished)) return
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
