/** A response's body as a stream of its own: an end means that all of it arrived, everything else is an error. */
import { Readable } from 'node:stream'

export interface ResponseBodyOptions {
  readonly source: Readable
  /** Asked when the source ends: why this end is none. */
  readonly endProblem: () => Error | undefined
  /** Once: read to its end, failed, or no longer wanted. `isComplete`: the connection may be used again. */
  readonly onOver: (isComplete: boolean) => void
}

export class ResponseBody extends Readable {
  readonly #options: ResponseBodyOptions
  #isComplete = false

  constructor(options: ResponseBodyOptions) {
    super({ autoDestroy: true })
    this.#options = options
    const { source } = options
    // Whoever reads attaches its own; an error before that must not end the process.
    this.on('error', () => {})
    source.on('data', (bytes: Buffer) => {
      if (!this.push(bytes)) source.pause()
    })
    source.on('end', () => this.#onEnd())
    source.on('error', error => this.destroy(cut(error)))
    source.on('close', () => {
      if (!this.#isComplete) this.destroy(cut(undefined))
    })
    source.pause()
  }

  override _read(): void {
    this.#options.source.resume()
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#over()
    done(error)
  }

  #onEnd(): void {
    const problem = this.#options.endProblem()
    if (problem !== undefined) {
      this.destroy(cut(problem))
      return
    }
    this.#isComplete = true
    this.push(null)
    this.#over()
  }

  #isOver = false

  #over(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#options.onOver(this.#isComplete)
  }
}

function cut(cause: Error | undefined): Error {
  const error = new Error('the upstream cut its response', cause === undefined ? undefined : { cause })
  return Object.assign(error, { code: 'ECONNRESET' })
}
