/** One exchange over a connection of HTTP/1.1, by node:http; upgrades hand the connection over. */
import { type ClientRequest, type IncomingMessage, request as openRequest } from 'node:http'
import type { Duplex } from 'node:stream'
import { HeaderFields } from '../http/header-fields.ts'
import { cleanTrailers } from '../http/hygiene.ts'
import { upstreamLimits } from '../limits.ts'
import type { ExchangeOutcome, ExchangeRequest } from './exchange.ts'
import { type AttemptFailure, attemptFailure, type FailureReason } from './failure.ts'
import { endToEnd, http1Fields, pairsOf } from './fields.ts'
import type { Http1Connection } from './http1-connections.ts'
import { type Framing, frameRequest } from './http1-framing.ts'
import type { BodyReader } from './request-body.ts'
import { ResponseBody } from './response-body.ts'
import { askForUpgrade, switchProblem, type Upgrade, upgradeOf } from './upgrade.ts'

/** Never rejects. The connection is in use until its agent frees it. */
export function exchangeHttp1(
  connection: Http1Connection,
  request: ExchangeRequest,
): Promise<ExchangeOutcome> {
  return new Promise(resolve => new Http1Exchange(connection, request, resolve).start())
}

class Http1Exchange {
  readonly #connection: Http1Connection
  readonly #order: ExchangeRequest
  readonly #resolve: (outcome: ExchangeOutcome) => void
  readonly #bytesBefore: number
  readonly #upgrade: Upgrade | undefined
  #request: ClientRequest | undefined
  #body: BodyReader | undefined
  #isAnswered = false
  #isOver = false

  constructor(
    connection: Http1Connection,
    order: ExchangeRequest,
    resolve: (outcome: ExchangeOutcome) => void,
  ) {
    this.#connection = connection
    this.#order = order
    this.#resolve = resolve
    this.#bytesBefore = connection.socket.bytesRead
    this.#upgrade = upgradeOf(order)
  }

  start(): void {
    const { signal } = this.#order
    if (signal.aborted) {
      this.#connection.rest()
      return this.#fail('remote-reset', signal.reason)
    }
    let request: ClientRequest
    let framing: Framing
    try {
      framing = frameRequest(this.#order)
      request = this.#open(framing)
    } catch (error) {
      this.#connection.cut()
      return this.#fail('unsendable', error)
    }
    this.#request = request
    // Whether a server that does not switch has read on as something else, nobody knows.
    if (this.#upgrade !== undefined) this.#connection.retire()
    signal.addEventListener('abort', this.#onAbort)
    request.on('response', message => this.#onResponse(message))
    request.on('upgrade', (message, socket, head) => this.#onUpgrade(message, socket, head))
    request.on('error', error => this.#onError(error))
    request.on('close', () => this.#onError(undefined))
    if (framing.body === 'none') request.end()
    else this.#send(request, framing.body)
  }

  #open(framing: Framing): ClientRequest {
    const { head } = this.#order
    const upgrade = this.#upgrade
    if (upgrade !== undefined) askForUpgrade(framing.fields, upgrade)
    const headers: string[] = http1Fields(head, framing.fields)
    if (upgrade !== undefined) headers.push('connection', 'Upgrade', 'upgrade', upgrade.protocol)
    if (framing.body === 'chunked') headers.push('transfer-encoding', 'chunked')
    return openRequest({
      agent: this.#connection.agent,
      method: head.method,
      path: head.path,
      headers,
      setHost: false,
      maxHeaderSize: upstreamLimits.maxHeaderBytes,
      // A connection of its own for each agent: the name only has to be the same each time.
      host: 'upstream',
    })
  }

  #send(request: ClientRequest, length: 'chunked' | { readonly bytes: number }): void {
    let left = length === 'chunked' ? Number.POSITIVE_INFINITY : length.bytes
    // What waits for the body's first byte may wait for the response to begin.
    request.flushHeaders()
    const reader = this.#order.body.read({
      data: bytes => {
        left -= bytes.length
        if (left >= 0) return request.write(bytes)
        this.#cut('unsendable', new Error('the body is longer than its content-length'))
        return false
      },
      end: trailers => {
        if (length !== 'chunked' && left > 0)
          return this.#cut('unsendable', new Error('the body is shorter than its content-length'))
        if (length === 'chunked' && trailers !== undefined) addTrailers(request, trailers)
        request.end()
      },
    })
    request.on('drain', () => reader.resume())
    this.#body = reader
  }

  #onResponse(message: IncomingMessage): void {
    const { socket } = this.#connection
    if (this.#isAnswered || this.#isOver) return
    // A 101 that names no protocol is an answer like any other to Node.
    if (message.statusCode === 101) return this.#cut('protocol-error', new Error('it switches to nothing'))
    const coding = message.headers['transfer-encoding']
    // Nobody behind us would know that the body is still coded.
    if (coding !== undefined && coding.toLowerCase() !== 'chunked')
      return this.#cut('protocol-error', new Error('a transfer coding other than chunked'))
    this.#isAnswered = true
    const kept = /timeout=(\d+)/i.exec(String(message.headers['keep-alive'] ?? ''))?.[1]
    if (kept !== undefined) this.#connection.keepFor(Number(kept) * 1_000)
    const body = new ResponseBody({
      source: message,
      // Without a length the end of the connection is the end of the body, and Node takes a reset for one.
      endProblem: () => (message.complete ? (socket.errored ?? undefined) : new Error('aborted')),
      onOver: isComplete => this.#over(isComplete),
    })
    const hasBody = mayHaveBody(this.#order.head.method, message.statusCode ?? 0)
    if (!hasBody) body.resume()
    this.#resolve({
      kind: 'response',
      response: {
        status: message.statusCode ?? 0,
        headers: endToEnd(pairsOf(message.rawHeaders)),
        body: hasBody ? body : undefined,
        trailers: () =>
          message.rawTrailers.length === 0
            ? undefined
            : cleanTrailers(new HeaderFields(pairsOf(message.rawTrailers))),
      },
    })
  }

  #onUpgrade(message: IncomingMessage, socket: Duplex, first: Buffer): void {
    if (this.#isAnswered || this.#isOver) return this.#connection.cut()
    const problem = switchProblem(message, this.#upgrade)
    if (problem !== undefined) return this.#cut('protocol-error', new Error(problem))
    this.#isAnswered = true
    if (first.length > 0) socket.unshift(first)
    // From now on the stream is the other's; so is its end.
    this.#order.signal.removeEventListener('abort', this.#onAbort)
    this.#body?.detach()
    socket.once('close', () => this.#finish())
    const headers = endToEnd(pairsOf(message.rawHeaders))
    headers.set('upgrade', message.headers.upgrade ?? '')
    // The caller has sent no key that this would be an answer to.
    if (this.#upgrade?.ownKey !== undefined) headers.delete('sec-websocket-accept')
    this.#resolve({
      kind: 'response',
      response: {
        status: message.statusCode ?? 101,
        headers,
        body: undefined,
        trailers: () => undefined,
        upgraded: socket,
      },
    })
  }

  /** Of the request itself; what happens to the response's body is told by the body. */
  #onError(error: Error | undefined): void {
    if (this.#isAnswered || this.#isOver) return
    const { signal } = this.#order
    const cause = signal.aborted ? signal.reason : error
    this.#fail(reasonOf(error), cause)
    this.#connection.cut()
  }

  readonly #onAbort = (): void => {
    const { reason } = this.#order.signal
    this.#cut('remote-reset', reason instanceof Error ? reason : new Error('cancelled'))
  }

  /** The server sees a reset; a response that was handed out ends in an error. */
  #cut(reason: FailureReason, error: Error): void {
    if (!this.#isAnswered) this.#fail(reason, error)
    this.#connection.cut()
    this.#request?.destroy(error)
  }

  #fail(reason: FailureReason, cause: unknown): void {
    if (this.#isOver) return
    const { socket, isReused } = this.#connection
    const isStale = isReused && socket.bytesRead === this.#bytesBefore
    const failure: AttemptFailure = attemptFailure(reason, cause, { isStale })
    this.#finish()
    this.#resolve({ kind: 'failed', failure })
  }

  /** The response is complete, or its body was given up. */
  #over(isComplete: boolean): void {
    // A server that has answered in full without reading all of the request gets no more of it.
    if (!isComplete || this.#request?.writableFinished !== true) this.#connection.cut()
    this.#finish()
  }

  #finish(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#body?.detach()
    this.#order.signal.removeEventListener('abort', this.#onAbort)
    if (this.#isAnswered) this.#order.onOver()
  }
}

function addTrailers(request: ClientRequest, trailers: HeaderFields): void {
  try {
    request.addTrailers([...cleanTrailers(trailers)].map(([name, value]): [string, string] => [name, value]))
  } catch {
    // Fields that HTTP/1.1 cannot carry are left out; the body is complete without them.
  }
}

function reasonOf(error: Error | undefined): FailureReason {
  const code = error !== undefined && 'code' in error ? String(error.code) : ''
  return code.startsWith('HPE_') ? 'protocol-error' : 'connection-termination'
}

function mayHaveBody(method: string, status: number): boolean {
  return method !== 'HEAD' && status !== 204 && status !== 304
}
