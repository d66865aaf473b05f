/** A CONNECT that waits for its answer: what servers with and without a proven peer hand out. */
import type { Channel, Logger } from '@ambient/core'
import { messageOf } from '@ambient/core'
import { HboneError } from './errors.ts'
import { headerValue } from './headers.ts'
import type { HeaderList } from './http2/hpack.ts'
import { headerProblem, type RequestHead } from './http2/message.ts'
import type { Http2Stream } from './http2/stream.ts'
import type { SocketAddress } from './tunnel.ts'

export type ConnectHead = Extract<RequestHead, { kind: 'connect' }>

/** Answered once; unanswered ones are refused with 503 when their handler has returned. */
export class AnswerableRequest {
  readonly authority: string
  readonly headers: HeaderList
  readonly local: SocketAddress
  readonly #stream: Http2Stream
  /** Made when somebody asks for it, let go with the answer: an idle tunnel keeps none. */
  #abort: AbortController | undefined
  #gone: HboneError | undefined
  #isAnswered = false

  constructor(head: ConnectHead, stream: Http2Stream, local: SocketAddress) {
    this.#stream = stream
    this.authority = head.authority
    this.headers = head.headers
    this.local = local
    stream.observer = {
      headers: () => {},
      gone: reset => {
        this.#gone = new HboneError('AMBIENT_E_HBONE_RESET', `the caller gave up: ${reset.reason}`, {
          h2Code: reset.code,
        })
        this.#abort?.abort(this.#gone)
      },
    }
  }

  get signal(): AbortSignal {
    this.#abort ??= new AbortController()
    if (this.#gone !== undefined) this.#abort.abort(this.#gone)
    return this.#abort.signal
  }

  header(name: string): string | undefined {
    return headerValue(this.headers, name)
  }

  accept(headers: HeaderList = []): Channel {
    this.#answer(headers)
    this.#stream.sendHeaders([[':status', '200'], ...headers])
    return this.#stream
  }

  refuse(status: number, headers: HeaderList = []): void {
    // A refusal with 200 would be a tunnel to whoever asked for one.
    if (!Number.isInteger(status) || status < 300 || status > 599)
      throw new HboneError('AMBIENT_E_HBONE_OPTION', `a refusal has a status from 300 to 599, not ${status}`)
    this.#answer(headers)
    refuseStream(this.#stream, status, headers)
  }

  /** The handler has returned: nobody will answer any more. */
  giveUp(): void {
    if (!this.#isAnswered) this.refuse(503)
  }

  #answer(headers: HeaderList): void {
    if (this.#isAnswered) throw new HboneError('AMBIENT_E_CLOSED', 'the tunnel request was answered already')
    const problem = headerProblem(headers)
    if (problem !== undefined) throw new HboneError('AMBIENT_E_HBONE_OPTION', `headers: ${problem}`)
    this.#isAnswered = true
    this.#abort = undefined
    this.#stream.observer = undefined
  }
}

/** Gives a request to its handler, which is its owner until it is answered. Never throws. */
export function handOut<T extends AnswerableRequest>(
  request: T,
  handler: (request: T) => void | Promise<void>,
  logger: Logger,
): void {
  // Not from within the reading of frames.
  queueMicrotask(() => call(request, handler, logger))
}

/** Without `async`: a handler may return when its tunnel ends, and what waits for it is there for as long. */
function call<T extends AnswerableRequest>(
  request: T,
  handler: (request: T) => void | Promise<void>,
  logger: Logger,
): void {
  const failed = (error: unknown): void => {
    logger.error({ error: messageOf(error), authority: request.authority }, 'tunnel handler failed')
    request.giveUp()
  }
  try {
    // A handler that hands the request on is answered for a moment later.
    Promise.resolve(handler(request)).then(() => request.giveUp(), failed)
  } catch (error) {
    failed(error)
  }
}

/** END_STREAM on the headers, then nobody reads: RST_STREAM(NO_ERROR) tells the peer to stop sending (RFC 9113 §8.1). */
function refuseStream(stream: Http2Stream, status: number, headers: HeaderList): void {
  stream.sendHeaders([[':status', String(status)], ...headers], true)
  stream.discard()
}
