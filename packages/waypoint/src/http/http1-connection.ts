/** One HTTP/1.1 connection: requests wait their turn, and every way in which it can end is in here. */
import { type IncomingMessage, type Server, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Timer } from '@ambient/core'
import type { InboundStream } from '../stream.ts'
import { discard } from './body.ts'
import type { HttpConnection, RoomFacts } from './connection.ts'
import { runExchange } from './exchange.ts'
import { readHttp1Request } from './http1-request.ts'
import { http1Downstream } from './http1-response.ts'
import { isH2cOffer, withoutH2cOffer } from './h2c-offer.ts'
import { type CodecReply, codecOutcome, codecReply, isEarlyEnd, writeCodecReply } from './codec-error.ts'
import { endSoon, forgetParser, readsUpgradeBodies } from './node-types.ts'
import { hold, letGo, reset } from './upgrade.ts'

export interface Http1Exchange {
  readonly message: IncomingMessage
  readonly response: ServerResponse
  /** It waits for `100 Continue`. */
  readonly isExpecting: boolean
  /** Lower case. The parser has let go of the socket. */
  readonly upgrade?: string
}

export class Http1Connection implements HttpConnection {
  readonly closed: Promise<void>
  readonly #socket: Duplex
  readonly #stream: InboundStream
  readonly #facts: RoomFacts
  readonly #server: Server
  readonly #waiting: Http1Exchange[] = []
  #active: Http1Exchange | undefined
  #timer: Timer | undefined
  /** Of the idle time, of a head that has begun, of a caller that has ended. */
  #timerKind: 'idle' | 'head' | 'half-closed' | undefined
  #isDraining = false
  /** The connection is not read any more, and ends with this. */
  #broken: CodecReply | undefined
  #isBrokenTold = false
  /** What comes behind it is not read: an offer of h2c, where its head cannot be read anew. */
  #last: Http1Exchange | undefined
  #aborter: AbortController | undefined

  constructor(socket: Duplex, stream: InboundStream, facts: RoomFacts, server: Server) {
    this.#socket = socket
    this.#stream = stream
    this.#facts = facts
    this.#server = server
    this.closed = new Promise(resolve => {
      if (socket.destroyed) resolve()
      else socket.once('close', () => resolve())
    })
    void this.closed.then(() => this.#onClosed())
  }

  start(): void {
    this.#socket.on('error', ignore)
    this.#listen()
    this.#rest()
  }

  take(exchange: Http1Exchange): void {
    if (this.#broken !== undefined || this.#last !== undefined) return
    if (readsUpgradeBodies && isH2cOffer(exchange.message)) this.#last = exchange
    this.#waiting.push(exchange)
    if (this.#active === undefined) return this.#next()
    if (this.#waiting.length > this.#facts.limits.pipelinedRequests) return this.destroy()
    // After Node's own resume, which comes at the end of the message.
    process.nextTick(() => {
      if (this.#waiting.length > 0) this.#socket.pause()
    })
  }

  /** An `Upgrade` or a CONNECT: the parser has stopped; `head` are bytes that came after. */
  upgrade(message: IncomingMessage, head: Buffer): void {
    this.#socket.off('data', this.#onData).off('end', this.#onEnd)
    if (this.#broken !== undefined) return
    hold(this.#socket)
    if (head.length > 0) this.#socket.unshift(head)
    const response = new ServerResponse(message)
    const named = (message.headers.upgrade ?? '').toLowerCase()
    const upgrade = message.method === 'CONNECT' ? 'connect' : isH2cOffer(message) ? 'h2c' : named
    this.take({ message, response, isExpecting: false, upgrade })
  }

  /** The parser gave up, or the socket broke. Requests that came whole are answered first. */
  malformed(error: Error): void {
    if (this.#broken !== undefined || this.#last?.message.complete === true) return
    // Half a request, and no more to come: what was written already still goes out.
    if (isEarlyEnd(error)) return endSoon(this.#socket)
    const reply = codecReply(error)
    if (reply === undefined || this.#socket.destroyed || !this.#socket.writable) return this.destroy()
    this.#broken = reply
    this.#socket.off('data', this.#onData)
    const active = this.#active
    if (active === undefined) return this.#refuse(reply)
    if (active.message.complete) return
    if (active.response.headersSent) return this.destroy()
    this.#aborter?.abort()
    this.#answerBroken(reply)
  }

  drain(): void {
    this.#isDraining = true
    if (this.#timerKind === 'idle') this.#rest()
  }

  destroy(): void {
    reset(this.#socket, 'the connection is over')
  }

  #listen(): void {
    this.#server.emit('connection', this.#socket)
    // After the parser's own, so that a whole head is a request already.
    this.#socket.on('data', this.#onData).on('end', this.#onEnd)
  }

  #next(): void {
    const exchange = this.#waiting.shift()
    this.#active = exchange
    if (exchange === undefined) return this.#onQuiet()
    if (exchange.upgrade === 'h2c') return this.#decline(exchange.message)
    this.#arm(undefined)
    if (this.#waiting.length === 0) this.#socket.resume()
    void this.#run(exchange).then(
      () => this.#next(),
      () => this.destroy(),
    )
  }

  /** The offer is left lying; the rest of its request comes by a new parser, which has to be the only one. */
  #decline(offer: IncomingMessage): void {
    this.#active = undefined
    forgetParser(this.#socket)
    this.#socket.unshift(withoutH2cOffer(offer))
    letGo(this.#socket)
    this.#rest()
    this.#listen()
    this.#socket.resume()
  }

  async #run(exchange: Http1Exchange): Promise<void> {
    const { message, response } = exchange
    const aborter = new AbortController()
    this.#aborter = aborter
    const onClose = (): void => aborter.abort()
    this.#socket.once('close', onClose)
    const request = readHttp1Request(message, {
      signal: aborter.signal,
      upgrade: exchange.upgrade,
      limits: this.#facts.limits,
      onFirstRead: () => {
        if (exchange.isExpecting && !response.headersSent) response.writeContinue()
      },
      brokenBy: () => (message.complete ? undefined : this.#broken),
    })
    // The rest of what has arrived is parsed before anything is decided: a small body is then complete.
    if (request.body !== undefined) await undefined
    const downstream = http1Downstream({
      message,
      response,
      socket: this.#socket,
      clock: this.#facts.desk.clock,
      limits: this.#facts.limits,
      isUpgrade: exchange.upgrade !== undefined,
      isLast: () => request.problem !== undefined || exchange === this.#last || this.#isLastRequest(),
      isBroken: () => this.#broken !== undefined && !message.complete,
      onHead: () => this.#arm(undefined),
    })
    if (!this.#socket.destroyed) await runExchange(request, downstream, this.#stream, this.#facts.desk)
    this.#socket.off('close', onClose)
    if (exchange.upgrade !== undefined) endSoon(this.#socket)
  }

  #isLastRequest(): boolean {
    return (this.#isDraining || this.#socket.readableEnded) && this.#waiting.length === 0
  }

  /** Bytes that never became a request. */
  #refuse(reply: CodecReply): void {
    this.#facts.desk.observe(this.#stream).done(codecOutcome(reply))
    this.#answerBroken(reply)
  }

  #answerBroken(reply: CodecReply): void {
    const { desk, limits } = this.#facts
    this.#isBrokenTold = true
    writeCodecReply(this.#socket, reply)
    this.#socket.removeAllListeners('data')
    const bound = { bytes: limits.drainBytes, ms: limits.drainMs, clock: desk.clock }
    void discard(this.#socket, bound).then(() => endSoon(this.#socket))
  }

  /** Nothing is under way. */
  #onQuiet(): void {
    if (this.#broken === undefined) this.#rest()
    else if (!this.#isBrokenTold) this.#refuse(this.#broken)
  }

  #rest(): void {
    if (this.#socket.destroyed) return
    this.#arm('idle')
  }

  #arm(kind: 'idle' | 'head' | 'half-closed' | undefined): void {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#timerKind = kind
    if (kind === undefined) return
    const { limits, desk } = this.#facts
    const idleMs = this.#isDraining ? limits.drainIdleMs : limits.idleMs
    const ms = kind === 'idle' ? idleMs : kind === 'head' ? limits.headMs : limits.halfCloseMs
    this.#timer = desk.clock.after(ms, () => this.#onTimer(kind))
  }

  #onTimer(kind: 'idle' | 'head' | 'half-closed'): void {
    if (kind === 'idle') endSoon(this.#socket)
    else if (kind === 'head')
      this.malformed(Object.assign(new Error('slow head'), { code: 'ERR_HTTP_REQUEST_TIMEOUT' }))
    else this.destroy()
  }

  readonly #onData = (): void => {
    if (this.#active === undefined && this.#timerKind === 'idle') this.#arm('head')
  }

  /** The caller has ended its direction. Whether it still listens shows when it is answered. */
  readonly #onEnd = (): void => {
    if (this.#active !== undefined && !this.#active.response.headersSent) this.#arm('half-closed')
  }

  #onClosed(): void {
    this.#arm(undefined)
    this.#waiting.length = 0
  }
}

function ignore(): void {}
