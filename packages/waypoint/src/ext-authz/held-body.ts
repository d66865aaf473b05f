/**
 * A request's body of which providers see the beginning before anybody else does: what was read is held and goes on
 * first, so that the upstream gets every byte once and in order.
 */
import { Readable } from 'node:stream'
import type { Clock, Timer } from '@ambient/core'

/** How much all requests together hold for their providers. */
export class Holding {
  readonly #maxBytes: number
  #bytes = 0

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  /** `false`: there is no room for so much more; nothing was taken. */
  take(bytes: number): boolean {
    if (this.#bytes + bytes > this.#maxBytes) return false
    this.#bytes += bytes
    return true
  }

  giveBack(bytes: number): void {
    this.#bytes -= bytes
  }
}

export interface HeldBodyOptions {
  readonly holding: Holding
  readonly clock: Clock
  /** For all reading together; the time in which nobody waits for the source does not count. */
  readonly limitMs: number
}

export class HeldBody {
  readonly #source: Readable
  readonly #holding: Holding
  readonly #clock: Clock
  #leftMs: number
  #chunks: Buffer[] = []
  #bytes = 0
  #isEnded = false
  #error: Error | undefined

  constructor(source: Readable, { holding, clock, limitMs }: HeldBodyOptions) {
    this.#source = source
    this.#holding = holding
    this.#clock = clock
    this.#leftMs = limitMs
  }

  /** Everything was read, and there is no more. */
  get isWhole(): boolean {
    return this.#isEnded
  }

  /** Held so far. */
  get bytes(): number {
    return this.#bytes
  }

  /**
   * Reads until more than `limit` bytes are held, or the body is over. `full`: all requests together hold too much;
   * `late`: the caller has taken all the time that it has.
   */
  readBeyond(limit: number): Promise<'read' | 'cut' | 'full' | 'late'> {
    return new Promise(resolve => {
      const source = this.#source
      const startedAt = this.#clock.monotonic()
      let timer: Timer | undefined
      const settle = (why?: 'full' | 'late'): void => {
        timer?.cancel()
        this.#leftMs -= this.#clock.monotonic() - startedAt
        source.off('data', onData).off('end', onEnd).off('error', onError).off('close', onClose)
        source.on('error', ignore).pause()
        resolve(why ?? (this.#error === undefined ? 'read' : 'cut'))
      }
      const onData = (chunk: Buffer): void => {
        if (!this.#holding.take(chunk.length)) return settle('full')
        this.#chunks.push(chunk)
        this.#bytes += chunk.length
        if (this.#bytes > limit) settle()
      }
      const onEnd = (): void => {
        this.#isEnded = true
        settle()
      }
      const onError = (error: Error): void => {
        this.#error = error
        settle()
      }
      const onClose = (): void => onError(new Error('the body was cut'))
      if (this.#isEnded || this.#error !== undefined || this.#bytes > limit) return settle()
      if (source.destroyed) return onClose()
      timer = this.#clock.after(this.#leftMs, () => settle('late'))
      source.on('end', onEnd).on('error', onError).on('close', onClose).on('data', onData).resume()
    })
  }

  /** The first bytes, up to `limit`. */
  head(limit: number): Buffer {
    const all = this.#chunks.length === 1 ? this.#chunks[0] : Buffer.concat(this.#chunks)
    if (all === undefined) return Buffer.alloc(0)
    this.#chunks = [all]
    return all.subarray(0, limit)
  }

  /** The whole body, for whoever is next; to be called once. Destroying it destroys the source. */
  release(): Readable {
    this.#holding.giveBack(this.#bytes)
    return new Replayed(this.#source, this.#chunks, this.#isEnded)
  }
}

class Replayed extends Readable {
  readonly #source: Readable
  readonly #held: Buffer[]
  readonly #isEnded: boolean
  #isAttached = false

  constructor(source: Readable, held: readonly Buffer[], isEnded: boolean) {
    super()
    this.#source = source
    this.#held = [...held]
    this.#isEnded = isEnded
    // Whoever reads attaches its own; an error before that must not end the process.
    this.on('error', ignore)
  }

  override _read(): void {
    const next = this.#held.shift()
    if (next !== undefined) this.push(next)
    else if (this.#isEnded) this.push(null)
    else if (this.#isAttached) this.#source.resume()
    else this.#attach()
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#source.destroy(error ?? undefined)
    done(error)
  }

  #attach(): void {
    this.#isAttached = true
    const source = this.#source
    source.on('error', error => this.destroy(error))
    source.on('end', () => this.push(null))
    source.on('close', () => {
      if (!source.readableEnded) this.destroy(new Error('the body was cut'))
    })
    source.on('data', (chunk: Buffer) => {
      if (!this.push(chunk)) source.pause()
    })
    if (source.destroyed) this.destroy(new Error('the body was cut'))
    else source.resume()
  }
}

function ignore(): void {}
