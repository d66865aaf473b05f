/**
 * HTTP/2 with prior knowledge from a caller, gRPC included, through Node's `http2` over any Duplex. What it does not do by
 * itself is done here: time limits, a cut that looks like a cut, an upload that ended in a reset.
 */
import {
  constants,
  type IncomingHttpHeaders,
  performServerHandshake,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2'
import type { Duplex } from 'node:stream'
import type { Timer } from '@ambient/core'
import type { InboundStream } from '../stream.ts'
import { codecOutcome } from './codec-error.ts'
import type { HttpConnection, RoomFacts } from './connection.ts'
import { runExchange } from './exchange.ts'
import { HeadBlocks } from './http2-heads.ts'
import { readHttp2Request } from './http2-request.ts'
import { http2Downstream } from './http2-response.ts'
import type { HttpLimits } from '../limits.ts'

/** RFC 9113 §6.8: the notice that a GOAWAY with the true last stream will follow. */
const ANY_STREAM = 2 ** 31 - 1

/** Owns the socket from now on. */
export function serveHttp2(socket: Duplex, stream: InboundStream, facts: RoomFacts): HttpConnection {
  const connection = new Http2Connection(socket, stream, facts)
  connection.start()
  return connection
}

class Http2Connection implements HttpConnection {
  readonly closed: Promise<void>
  readonly #socket: Duplex
  readonly #session: ServerHttp2Session
  readonly #stream: InboundStream
  readonly #facts: RoomFacts
  #exchanges = 0
  readonly #heads = new HeadBlocks()
  #timer: Timer | undefined
  /** Of a header block that has begun. */
  #headTimer: Timer | undefined
  #isDraining = false

  constructor(socket: Duplex, stream: InboundStream, facts: RoomFacts) {
    this.#socket = socket
    this.#stream = stream
    this.#facts = facts
    this.closed = new Promise(resolve => {
      if (socket.destroyed) resolve()
      else socket.once('close', () => resolve())
    })
    void this.closed.then(() => {
      this.#timer?.cancel()
      this.#headTimer?.cancel()
    })
    this.#session = openSession(socket, facts.limits)
  }

  start(): void {
    const session = this.#session
    this.#socket.on('error', ignore)
    session.on('error', ignore)
    session.on('close', () => this.#socket.destroy())
    // There is no half of an HTTP/2 connection that would be of use.
    this.#socket.on('end', () => session.destroy())
    session.on(
      'stream',
      (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, flags: number, raw: string[]) =>
        this.#onStream(stream, headers, flags, raw),
    )
    this.#socket.on('data', (bytes: Buffer) => this.#followHeads(bytes))
    this.#rest()
  }

  drain(): void {
    if (this.#isDraining || this.#session.destroyed) return
    this.#isDraining = true
    // First the notice, so that requests that are under way to us are still taken.
    this.#session.goaway(constants.NGHTTP2_NO_ERROR, ANY_STREAM)
    this.#rest()
  }

  destroy(): void {
    // Its streams have not ended, so nothing of it looks complete. The socket goes with it.
    this.#session.destroy()
  }

  /** The timer of a session without streams, and of the notice of a drain. */
  #rest(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    const { limits, desk } = this.#facts
    if (this.#isDraining) this.#timer = desk.clock.after(limits.drainIdleMs, () => this.#session.close())
    else if (this.#exchanges === 0) this.#timer = desk.clock.after(limits.idleMs, () => this.#session.close())
  }

  #followHeads(bytes: Buffer): void {
    if (!this.#heads.take(bytes)) {
      this.#headTimer?.cancel()
      this.#headTimer = undefined
      return
    }
    if (this.#headTimer !== undefined || this.#socket.destroyed) return
    const { desk, limits } = this.#facts
    this.#headTimer = desk.clock.after(limits.headMs, () => {
      const slow = codecOutcome({ status: 0, detail: 'request_header_timeout' })
      desk.observe(this.#stream).done({ ...slow, isComplete: false })
      this.destroy()
    })
  }

  #onStream(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, flags: number, raw: string[]): void {
    stream.on('error', ignore)
    this.#exchanges++
    if (!this.#isDraining) this.#timer?.cancel()
    void this.#run(stream, headers, flags, raw).catch(() => stream.destroy(new Error('the exchange failed')))
  }

  async #run(
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    flags: number,
    raw: string[],
  ): Promise<void> {
    const aborter = new AbortController()
    const onGone = (): void => aborter.abort()
    stream.on('aborted', onGone).on('close', onGone)
    const request = readHttp2Request(stream, {
      headers,
      raw,
      isEnded: (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0,
      signal: aborter.signal,
      limits: this.#facts.limits,
    })
    try {
      const { desk, limits } = this.#facts
      const downstream = http2Downstream(stream, { clock: desk.clock, limits })
      await runExchange(request, downstream, this.#stream, desk)
    } finally {
      stream.off('aborted', onGone).off('close', onGone)
      this.#exchanges--
      if (!this.#isDraining && !this.#session.destroyed) this.#rest()
    }
  }
}

function openSession(socket: Duplex, limits: HttpLimits): ServerHttp2Session {
  const session = performServerHandshake(socket, {
    // Beyond the limit there is still room for an answer; beyond that room, a reset.
    maxHeaderListPairs: limits.headerFields * 2,
    settings: {
      enableConnectProtocol: true,
      enablePush: false,
      initialWindowSize: limits.http2WindowBytes,
      maxConcurrentStreams: limits.http2Streams,
      maxHeaderListSize: limits.headerBytes * 2,
    },
  })
  session.setLocalWindowSize(limits.http2ConnectionWindowBytes)
  return session
}

function ignore(): void {}
