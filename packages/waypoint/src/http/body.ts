/** Bodies on their way: a caller's as a stream that room 10 may drop, an upstream's copied to the caller. */
import { Readable, type Writable } from 'node:stream'
import type { Clock } from '@ambient/core'

/** How a caller's body ended; asked when its source says `end`. */
type EndProblem = () => Error | undefined

/**
 * A request's body. Nothing is read before the first reader asks; destroying it leaves the connection beneath alone, so
 * that an answer can still be written. An end is an end, everything else an error.
 */
export class CallerBody extends Readable {
  readonly #source: Readable
  readonly #endProblem: EndProblem
  readonly #onFirstRead: () => void
  #isAttached = false
  #bytes = 0
  readonly #onData = (bytes: Buffer): void => {
    this.#bytes += bytes.length
    if (!this.push(bytes)) this.#source.pause()
  }
  readonly #onEnd = (): void => {
    const problem = this.#endProblem()
    if (problem !== undefined) this.destroy(problem)
    else this.push(null)
  }
  readonly #onCut = (): void => {
    if (!this.#source.readableEnded) this.destroy(callerGone())
  }

  constructor(source: Readable, options: { endProblem: EndProblem; onFirstRead?: () => void }) {
    super()
    this.#source = source
    this.#endProblem = options.endProblem
    this.#onFirstRead = options.onFirstRead ?? (() => {})
    // Whoever reads attaches its own; an error before that must not end the process.
    this.on('error', () => {})
  }

  /** Read from the caller so far. */
  get bytes(): number {
    return this.#bytes
  }

  override _read(): void {
    if (this.#isAttached) return void this.#source.resume()
    this.#isAttached = true
    this.#onFirstRead()
    this.#source.on('data', this.#onData).on('end', this.#onEnd)
    this.#source.on('error', this.#onCut).on('aborted', this.#onCut).on('close', this.#onCut)
    if (this.#source.destroyed) this.#onCut()
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    const source = this.#source
    source.off('data', this.#onData).off('end', this.#onEnd)
    source.off('error', this.#onCut).off('aborted', this.#onCut).off('close', this.#onCut)
    if (this.#isAttached) source.on('error', () => {}).pause()
    done(error)
  }
}

export interface Copied {
  readonly bytes: number
  /** `source`: it was cut, and so must the sink be. `sink`: it has gone; the source is destroyed. */
  readonly end: 'complete' | 'source' | 'sink'
}

/** Copies with back-pressure until one of them is over. The sink is not ended, so that trailers can follow. */
export function copyBody(source: Readable, sink: Writable): Promise<Copied> {
  return new Promise(resolve => {
    let bytes = 0
    const settle = (end: Copied['end']): void => {
      source.off('data', onData).off('end', onEnd).off('error', onCut).off('close', onCut)
      source.on('error', () => {})
      sink.off('drain', onDrain).off('close', onGone).off('error', onGone)
      if (end === 'sink') source.destroy()
      resolve({ bytes, end })
    }
    const onData = (chunk: Buffer): void => {
      bytes += chunk.length
      if (!sink.write(chunk)) source.pause()
    }
    const onDrain = (): void => void source.resume()
    const onEnd = (): void => settle('complete')
    const onCut = (): void => settle('source')
    const onGone = (): void => settle('sink')
    sink.on('drain', onDrain).on('close', onGone).on('error', onGone)
    source.on('end', onEnd).on('error', onCut).on('close', onCut)
    if (sink.destroyed) onGone()
    else if (source.destroyed) onCut()
    else source.on('data', onData).resume()
  })
}

/** Throws away what nobody wants, up to a bound; `false`: there is more. */
export function discard(
  source: Readable,
  bound: { readonly bytes: number; readonly ms: number; readonly clock: Clock },
): Promise<boolean> {
  return new Promise(resolve => {
    let bytes = 0
    const settle = (isAll: boolean): void => {
      timer.cancel()
      source.off('data', onData).off('end', onEnd).off('close', onClose)
      resolve(isAll)
    }
    const onData = (chunk: Buffer): void => {
      bytes += chunk.length
      if (bytes > bound.bytes) settle(false)
    }
    const onEnd = (): void => settle(true)
    const onClose = (): void => settle(false)
    const timer = bound.clock.after(bound.ms, () => settle(false))
    if (source.readableEnded) return settle(true)
    if (source.destroyed) return settle(false)
    source.on('error', () => {})
    source.on('end', onEnd).on('close', onClose).on('data', onData).resume()
  })
}

export function callerGone(): Error {
  return Object.assign(new Error('the caller has gone'), { code: 'ECONNRESET' })
}
