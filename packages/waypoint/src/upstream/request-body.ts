/**
 * A request's body, read once and sent as often as needed: what was read is remembered up to a bound, so that a further
 * attempt can begin at its first byte. The attempt that reads decides the pace; copies for mirrors just get what passes.
 */
import type { Readable } from 'node:stream'
import type { HeaderFields } from '../http/header-fields.ts'

/** Where an attempt sends the body to. */
export interface BodySink {
  /** `false`: wait until {@link BodyReader.resume}. */
  data(bytes: Buffer): boolean
  /** The body is complete. */
  end(trailers: HeaderFields | undefined): void
}

export interface BodyReader {
  /** The sink has room again. */
  resume(): void
  /** No more for this sink. The next one begins at the first byte. */
  detach(): void
}

/** What follows the body without slowing it down. */
export interface BodyObserver {
  data(bytes: Buffer): void
  end(trailers: HeaderFields | undefined): void
  cut(): void
}

export interface RequestBodyOptions {
  readonly source: Readable | undefined
  readonly trailers: () => HeaderFields | undefined
  readonly replayBytes: number
  /** The body was read to its end, or there is none. */
  readonly onComplete: () => void
  /** The body ended in an error: it will never be complete. */
  readonly onCut: (error: Error) => void
}

export class RequestBody {
  readonly #source: Readable | undefined
  readonly #options: RequestBodyOptions
  readonly #observers = new Set<BodyObserver>()
  /** Everything that was read, until that is too much or no longer needed. */
  #chunks: Buffer[] | undefined = []
  #bytes = 0
  #isComplete = false
  #isCut = false
  #isStarted = false
  #isForgotten = false
  #reader: Reader | undefined

  constructor(options: RequestBodyOptions) {
    this.#options = options
    this.#source = options.source
    if (this.#source === undefined) this.#complete()
  }

  get isEmpty(): boolean {
    return this.#source === undefined
  }

  get isComplete(): boolean {
    return this.#isComplete
  }

  /** A new reader would get all of it. */
  get isReplayable(): boolean {
    return this.#chunks !== undefined && !this.#isCut && !this.#isForgotten
  }

  observe(observer: BodyObserver): void {
    if (this.#isComplete) observer.end(undefined)
    else this.#observers.add(observer)
  }

  ignore(observer: BodyObserver): void {
    this.#observers.delete(observer)
  }

  /** One reader at a time. Nothing is delivered before the caller's turn of the loop has ended. */
  read(sink: BodySink): BodyReader {
    const reader = new Reader(sink, () => this.#pull())
    this.#reader = reader
    queueMicrotask(() => {
      this.#start()
      reader.resume()
    })
    return reader
  }

  /** There will be no further attempt. */
  forget(): void {
    this.#isForgotten = true
    if (this.#reader === undefined || this.#reader.sent >= this.#bytes) this.#chunks = undefined
  }

  /** Nobody needs any of it any more. */
  close(): void {
    this.#reader?.detach()
    this.#chunks = undefined
    for (const observer of this.#observers) observer.cut()
    this.#observers.clear()
    this.#source?.pause()
  }

  #start(): void {
    const source = this.#source
    if (this.#isStarted || source === undefined) return
    this.#isStarted = true
    source.on('data', (bytes: Buffer) => this.#onData(bytes))
    source.on('end', () => this.#complete())
    source.on('error', error => this.#cut(error))
    source.on('close', () => this.#cut(new Error('the request was cut')))
    if (source.destroyed && !source.readableEnded) this.#cut(new Error('the request was cut'))
  }

  #onData(bytes: Buffer): void {
    this.#bytes += bytes.length
    if (this.#bytes > this.#options.replayBytes) this.#chunks = undefined
    this.#chunks?.push(bytes)
    for (const observer of this.#observers) observer.data(bytes)
    const reader = this.#reader
    // A reader that is still being told what was before gets this later, in its turn.
    const isLive = reader !== undefined && reader.sent === this.#bytes - bytes.length
    if (!isLive || !reader.take(bytes)) this.#source?.pause()
    if (this.#isForgotten) this.forget()
  }

  #complete(): void {
    this.#isComplete = true
    const trailers = this.#source === undefined ? undefined : this.#options.trailers()
    for (const observer of this.#observers) observer.end(trailers)
    this.#observers.clear()
    this.#options.onComplete()
    this.#pull()
  }

  #cut(error: Error): void {
    if (this.#isComplete || this.#isCut) return
    this.#isCut = true
    for (const observer of this.#observers) observer.cut()
    this.#observers.clear()
    this.#options.onCut(error)
  }

  /** The reader wants more: what is remembered first, then what comes. */
  #pull(): void {
    const reader = this.#reader
    if (reader === undefined || reader.isOver) return
    while (reader.sent < this.#bytes && this.#chunks !== undefined) {
      const chunk = this.#chunks[reader.chunks]
      if (chunk === undefined) break
      if (!reader.take(chunk)) return
    }
    if (this.#isComplete) reader.end(this.#source === undefined ? undefined : this.#options.trailers())
    else this.#source?.resume()
  }
}

class Reader implements BodyReader {
  sent = 0
  chunks = 0
  isOver = false
  readonly #sink: BodySink
  readonly #pull: () => void

  constructor(sink: BodySink, pull: () => void) {
    this.#sink = sink
    this.#pull = pull
  }

  take(bytes: Buffer): boolean {
    if (this.isOver) return false
    this.sent += bytes.length
    this.chunks++
    return this.#sink.data(bytes)
  }

  end(trailers: HeaderFields | undefined): void {
    this.isOver = true
    this.#sink.end(trailers)
  }

  resume(): void {
    if (!this.isOver) this.#pull()
  }

  detach(): void {
    this.isOver = true
  }
}
