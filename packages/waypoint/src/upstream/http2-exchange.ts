/** One exchange as a stream of HTTP/2, by node:http2: trailers both ways, resets with their codes. */
import { type ClientHttp2Stream, constants, type IncomingHttpHeaders } from 'node:http2'
import { HeaderFields } from '../http/header-fields.ts'
import { cleanTrailers, isGrpc } from '../http/hygiene.ts'
import type { ExchangeOutcome, ExchangeRequest } from './exchange.ts'
import { attemptFailure, type FailureReason } from './failure.ts'
import { endToEnd, http2Fields, pairsOfRecord, recordOf } from './fields.ts'
import type { Http2Session } from './http2-sessions.ts'
import type { BodyReader } from './request-body.ts'
import { ResponseBody } from './response-body.ts'

/** Never rejects. The session is released when the exchange is over. */
export function exchangeHttp2(session: Http2Session, request: ExchangeRequest): Promise<ExchangeOutcome> {
  return new Promise(resolve => new Http2Exchange(session, request, resolve).start())
}

class Http2Exchange {
  readonly #session: Http2Session
  readonly #order: ExchangeRequest
  readonly #resolve: (outcome: ExchangeOutcome) => void
  readonly #isReused: boolean
  /** Node's `close(code)` ends the request cleanly before it resets; only an abort is a bare reset with CANCEL. */
  readonly #cut = new AbortController()
  /** END_STREAM arrived. */
  #isEnded = false
  #stream: ClientHttp2Stream | undefined
  #body: BodyReader | undefined
  #trailers: HeaderFields | undefined
  #isAnswered = false
  #isOver = false

  constructor(session: Http2Session, order: ExchangeRequest, resolve: (outcome: ExchangeOutcome) => void) {
    this.#session = session
    this.#order = order
    this.#resolve = resolve
    this.#isReused = session.uses > 1
  }

  start(): void {
    const { signal, head, fields, body } = this.#order
    if (signal.aborted) return this.#fail('remote-reset', signal.reason)
    let stream: ClientHttp2Stream
    try {
      stream = this.#session.node.request(http2Fields(head, fields), {
        endStream: body.isEmpty,
        waitForTrailers: !body.isEmpty,
        signal: this.#cut.signal,
      })
    } catch (error) {
      // A session may have ended between being chosen and being used; otherwise it is the request.
      const { node } = this.#session
      return this.#fail(node.closed || node.destroyed ? 'refused-stream' : 'unsendable', error)
    }
    this.#stream = stream
    this.#watchEnd(stream)
    signal.addEventListener('abort', this.#onAbort)
    stream.on('response', headers => this.#onResponse(stream, headers))
    stream.on('trailers', headers => {
      this.#trailers = cleanTrailers(new HeaderFields(pairsOfRecord(headers)))
    })
    stream.on('error', error => this.#onEnd(error))
    stream.on('close', () => this.#onEnd(undefined))
    if (!body.isEmpty) this.#send(stream)
  }

  #send(stream: ClientHttp2Stream): void {
    let trailers: HeaderFields | undefined
    stream.on('wantTrailers', () => sendTrailers(stream, trailers))
    const reader = this.#order.body.read({
      data: bytes => stream.write(bytes),
      end: last => {
        trailers = last
        stream.end()
      },
    })
    stream.on('drain', () => reader.resume())
    this.#body = reader
  }

  #onResponse(stream: ClientHttp2Stream, headers: IncomingHttpHeaders): void {
    if (this.#isAnswered || this.#isOver) return
    this.#isAnswered = true
    const status = Number(headers[':status'] ?? 0)
    const fields = endToEnd(pairsOfRecord(headers))
    let received = 0
    stream.on('data', (bytes: Buffer) => {
      received += bytes.length
    })
    const body = new ResponseBody({
      source: stream,
      endProblem: () => this.#endProblem(stream, fields, received),
      onOver: isComplete => this.#over(stream, isComplete),
    })
    const hasBody = this.#order.head.method !== 'HEAD' && status !== 204 && status !== 304
    if (!hasBody) body.resume()
    this.#resolve({
      kind: 'response',
      response: { status, headers: fields, body: hasBody ? body : undefined, trailers: () => this.#trailers },
    })
  }

  /**
   * Node tells a reader of a reset with NO_ERROR or CANCEL that the stream has ended. When its end really arrived the
   * stream is not closed yet at that moment.
   */
  #watchEnd(stream: ClientHttp2Stream): void {
    const push = stream.push.bind(stream)
    stream.push = (chunk: unknown, encoding?: BufferEncoding): boolean => {
      if (chunk === null && !stream.closed) this.#isEnded = true
      return push(chunk, encoding)
    }
  }

  #endProblem(stream: ClientHttp2Stream, fields: HeaderFields, received: number): Error | undefined {
    if (!this.#isEnded) return new Error(`reset with ${stream.rstCode}`)
    const length = fields.get('content-length')
    if (this.#order.head.method !== 'HEAD' && length !== undefined && Number(length) !== received)
      return new Error(`${received} bytes arrived of ${length}`)
    const hasStatus = fields.has('grpc-status') || this.#trailers?.has('grpc-status') === true
    return isGrpc(fields) && !hasStatus ? new Error('the call ended without a status') : undefined
  }

  /** Of the stream, before its response. */
  #onEnd(error: Error | undefined): void {
    if (this.#isAnswered || this.#isOver) return
    const { signal } = this.#order
    this.#fail(this.#reason(), signal.aborted ? signal.reason : error)
  }

  #reason(): FailureReason {
    const { node } = this.#session
    switch (this.#stream?.rstCode) {
      case constants.NGHTTP2_REFUSED_STREAM:
        return 'refused-stream'
      case constants.NGHTTP2_PROTOCOL_ERROR:
        return 'protocol-error'
      default:
        return node.destroyed || node.closed ? 'connection-termination' : 'remote-reset'
    }
  }

  readonly #onAbort = (): void => {
    const { reason } = this.#order.signal
    const error = reason instanceof Error ? reason : new Error('cancelled')
    if (!this.#isAnswered) this.#fail('remote-reset', error)
    this.#reset(error)
  }

  #reset(error?: Error): void {
    if (this.#stream?.closed === false) this.#session.countReset()
    this.#cut.abort(error)
  }

  #fail(reason: FailureReason, cause: unknown): void {
    if (this.#isOver) return
    const hasDied = reason === 'connection-termination' || reason === 'refused-stream'
    const failure = attemptFailure(reason, cause, { isStale: this.#isReused && hasDied })
    this.#finish()
    this.#resolve({ kind: 'failed', failure })
  }

  /** The response is complete, or its body was given up. */
  #over(stream: ClientHttp2Stream, isComplete: boolean): void {
    // A server that has answered in full without reading all of the request gets no more of it.
    if (!isComplete || !stream.writableFinished) this.#reset()
    this.#finish()
  }

  #finish(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#body?.detach()
    this.#order.signal.removeEventListener('abort', this.#onAbort)
    this.#session.release()
    if (this.#isAnswered) this.#order.onOver()
  }
}

function sendTrailers(stream: ClientHttp2Stream, trailers: HeaderFields | undefined): void {
  if (stream.destroyed || stream.closed) return
  try {
    stream.sendTrailers(trailers === undefined ? {} : recordOf(cleanTrailers(trailers)))
  } catch {
    // Fields that Node does not take are left out; without this the request would never end.
    stream.sendTrailers({})
  }
}
