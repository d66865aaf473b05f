/**
 * One HTTP/2 stream as a core `Channel`. END_STREAM is an end and nothing else is; what arrived before an end or a
 * reset is delivered first; a session that dies resets every stream that was owed something.
 */
import type { Channel, ChannelEvents, ChannelReset, ResetCode, Timer } from '@ambient/core'
import { HboneError } from '../errors.ts'
import type { HeaderList } from './hpack.ts'
import type { ReceiveWindow, SendWindow } from './flow.ts'
import { Inbox } from './inbox.ts'
import type { Flushable } from './output.ts'
import { guarded, throwLater } from './user-errors.ts'

/** What a stream needs of its session. */
export interface StreamHost {
  /** Copies the bytes into what goes out next; `false` when windows, socket or fairness want them later. */
  sendData(stream: Http2Stream, bytes: Uint8Array): boolean
  /** The stream has bytes or an end to send when windows and socket allow. */
  ready(stream: Http2Stream): void
  sendHeaders(stream: Http2Stream, headers: HeaderList, endStream: boolean): void
  sendEnd(stream: Http2Stream): void
  sendReset(stream: Http2Stream, code: string): void
  sendWindowUpdate(stream: Http2Stream, increment: number): void
  /** Both directions are over on the wire. */
  closed(stream: Http2Stream): void
  /** A closed stream still holds bytes for its reader, or no longer does. */
  lingering(delta: 1 | -1): void
  /** Runs after the time that a reader has left to take what came before a reset. */
  afterFlush(run: () => void): Timer
}

/** Follows a stream before it is used as a channel. */
export interface StreamObserver {
  headers(headers: HeaderList, endStream: boolean): void
  /** Reset or lost. */
  gone(reset: ChannelReset): void
}

/** Nothing waits to be sent; shared by all streams, so it is never added to. */
const none: Uint8Array[] = []

export class Http2Stream implements Channel, Flushable {
  readonly id: number
  readonly send: SendWindow
  readonly receive: ReceiveWindow
  observer: StreamObserver | undefined
  /** In the session's queue of streams that have something to send. */
  queued = false
  /** The head of the peer was seen (client: its answer). */
  headSeen = false
  /** Our head was sent. */
  headSent = false
  /** What a declared content-length still owes; such a body is counted and dropped. */
  bodyLeft: number | undefined
  readonly #host: StreamHost
  /** Only there while bytes wait in it: an idle tunnel has none. */
  #inbox: Inbox | undefined
  #events: ChannelEvents | undefined
  #started = false
  #paused = false
  #delivering = false
  /** The peer's direction: END_STREAM arrived; the reader was told. */
  #readEnded = false
  #endDelivered = false
  /** Our direction: `end()` was called; END_STREAM was sent; it was flushed. */
  #ending = false
  #endSent = false
  #finished = false
  /** Nothing moves on the wire any more; the inbox may still be delivered. */
  #wireDead = false
  #isLingering = false
  /** To be delivered after the inbox. */
  #reset: ChannelReset | undefined
  /** Told only if the user wants to send more: its reading side ended cleanly. */
  #lateReset: ChannelReset | undefined
  /** Nothing is delivered any more. */
  #dead = false
  #flushTimer: Timer | undefined
  #outbox = none
  #endUnflushed = false
  #held = false

  constructor(id: number, host: StreamHost, send: SendWindow, receive: ReceiveWindow) {
    this.id = id
    this.#host = host
    this.send = send
    this.receive = receive
  }

  // The channel: what the user calls.

  start(events: ChannelEvents): void {
    if (this.#events !== undefined)
      throw new HboneError('AMBIENT_E_CLOSED', 'the channel was started already')
    this.#events = events
    queueMicrotask(() => {
      this.#started = true
      this.#deliver()
    })
  }

  pause(): void {
    this.#paused = true
  }

  resume(): void {
    if (!this.#paused) return
    this.#paused = false
    if (this.#started) this.#deliver()
  }

  write(bytes: Uint8Array): boolean {
    if (bytes.length === 0 || this.#ending || this.#dead) return true
    if (this.#wireDead) {
      this.#becomeLate()
      return true
    }
    if (this.#outbox.length === 0 && this.#host.sendData(this, bytes)) return true
    if (this.#outbox === none) this.#outbox = [bytes]
    else this.#outbox.push(bytes)
    this.#held = true
    this.#host.ready(this)
    return false
  }

  end(): void {
    if (this.#ending || this.#dead) return
    this.#ending = true
    if (this.#wireDead) return this.#endLate()
    if (this.#outbox.length > 0) return
    this.#host.sendEnd(this)
    this.endWasSent()
  }

  reset(code: ResetCode, _reason: string): void {
    if (this.#dead || (this.#endDelivered && this.#finished)) return
    this.#die()
    this.#inbox = undefined
    this.#endLingering()
    if (this.#wireDead) return
    this.#host.sendReset(this, code)
    this.#closeWire()
  }

  /** Our head ended the stream and nobody reads it: asks the peer to stop sending (RFC 9113 §8.1), drops what came. */
  discard(): void {
    this.#die()
    this.#inbox = undefined
    this.#endLingering()
    if (this.#wireDead) return
    if (!this.#readEnded) this.#host.sendReset(this, 'NO_ERROR')
    this.#closeWire()
  }

  // The sending side: what the session calls.

  get pending(): Uint8Array | undefined {
    return this.#outbox[0]
  }

  get isEnding(): boolean {
    return this.#ending
  }

  get hasMorePending(): boolean {
    return this.#outbox.length > 1
  }

  /** `bytes` of the first pending piece went out. */
  advance(bytes: number): void {
    const first = this.#outbox[0]
    if (first === undefined) return
    if (bytes >= first.length) {
      this.#outbox.shift()
      if (this.#outbox.length === 0) this.#outbox = none
    } else this.#outbox[0] = first.subarray(bytes)
  }

  /** END_STREAM is on its way; `flushed` tells when it left. */
  endWasSent(): void {
    this.#endSent = true
    this.#endUnflushed = true
    this.#maybeClose()
  }

  flushed(): void {
    this.#endUnflushed = false
    this.settle()
  }

  /** Tells the user what the sending side has reached. */
  settle(): void {
    const events = this.#events
    if (events === undefined || !this.#started || this.#dead || this.#reset !== undefined) return
    if (this.#held && this.#outbox.length === 0) {
      this.#held = false
      guarded(() => events.drained())
    }
    if (!this.#endSent || this.#endUnflushed || this.#finished || this.#dead) return
    this.#finished = true
    guarded(() => events.finished())
  }

  flushFailed(): void {
    this.lost({ by: 'peer', code: 'CONNECT_ERROR', reason: 'the session ended before everything was sent' })
  }

  // The receiving side: what the session calls.

  /** END_STREAM arrived. */
  get hasEnded(): boolean {
    return this.#readEnded
  }

  /** The peer still may send. */
  get isReadable(): boolean {
    return !this.#readEnded && !this.#wireDead
  }

  /** `false` when the view is kept. */
  receiveData(bytes: Uint8Array): boolean {
    if (this.#started && !this.#paused && !this.#delivering && this.#inbox === undefined && !this.#dead) {
      this.#consume(bytes.length)
      return this.#hand(this.#events, bytes)
    }
    if (this.#dead || bytes.length === 0) return true
    this.#inbox ??= new Inbox()
    return this.#inbox.push(bytes)
  }

  /** Padding is consumed by nobody. */
  receivePadding(bytes: number): void {
    this.#consume(bytes)
  }

  receiveEnd(): void {
    this.#readEnded = true
    this.#maybeClose()
    this.#deliver()
  }

  receiveHeaders(headers: HeaderList, endStream: boolean): void {
    this.headSeen = true
    if (endStream) this.#readEnded = true
    this.observer?.headers(headers, endStream)
    if (endStream) {
      this.#maybeClose()
      this.#deliver()
    }
  }

  /** RST_STREAM arrived. */
  receiveReset(code: string): void {
    if (this.#wireDead) return
    // After its END_STREAM a peer may ask us to stop sending, which is no failure until there is more to send.
    const benign = code === 'NO_ERROR' || code === 'CANCEL'
    this.#gone({ by: 'peer', code, reason: `the peer reset the stream with ${code}` }, benign)
  }

  /** The session is gone. */
  lost(reset: ChannelReset): void {
    this.#gone(reset, reset.by === 'peer')
  }

  /** The peer broke a rule of this stream: we reset it on the wire, and its user hears `reset`. */
  abort(code: string, reset: ChannelReset): void {
    if (this.#wireDead) return
    this.#host.sendReset(this, code)
    this.#gone(reset, false)
  }

  sendHeaders(headers: HeaderList, endStream = false): void {
    if (this.#wireDead) return
    this.headSent = true
    if (endStream) this.#ending = true
    this.#host.sendHeaders(this, headers, endStream)
    if (endStream) this.endWasSent()
  }

  #deliver(): void {
    const events = this.#events
    if (events === undefined || !this.#started || this.#delivering) return
    this.#delivering = true
    while (!this.#paused && !this.#dead) {
      const piece = this.#nextPiece()
      if (piece === undefined) break
      this.#consume(piece.length)
      this.#hand(events, piece)
    }
    this.#delivering = false
    if (this.#inbox !== undefined) return
    this.#endLingering()
    if (this.#readEnded && !this.#endDelivered && !this.#dead) {
      this.#endDelivered = true
      guarded(() => events.end())
    }
    const reset = this.#reset
    if (reset !== undefined && !this.#dead) {
      this.#die()
      guarded(() => events.reset(reset))
    } else this.settle()
  }

  #nextPiece(): Uint8Array | undefined {
    const piece = this.#inbox?.shift()
    if (this.#inbox?.bytes === 0) this.#inbox = undefined
    return piece
  }

  /** An exception of the user is the user's: it must not end the session and everybody else's streams. */
  #hand(events: ChannelEvents | undefined, bytes: Uint8Array): boolean {
    try {
      return events?.data(bytes) ?? true
    } catch (error) {
      throwLater(error)
      return false
    }
  }

  #consume(bytes: number): void {
    if (this.#readEnded || this.#wireDead) return
    const increment = this.receive.consume(bytes)
    if (increment > 0) this.#host.sendWindowUpdate(this, increment)
  }

  /**
   * Nothing moves on the wire any more. `benign`: a user who read a clean end and owes nothing hears of it only when it
   * wants to send more, so that what it read is not cut on its way onwards.
   */
  #gone(reset: ChannelReset, benign: boolean): void {
    const owed = this.#outbox.length > 0 || this.#endUnflushed
    if (!this.#wireDead) this.#closeWire()
    const observer = this.observer
    this.observer = undefined
    observer?.gone(reset)
    if (this.#dead || this.#reset !== undefined || (this.#finished && this.#readEnded)) return
    this.#outbox = none
    if (benign && this.#readEnded && !owed) {
      this.#lateReset = reset
      return
    }
    this.#reset = reset
    this.#deliver()
    if (!this.#dead) this.#flushTimer = this.#host.afterFlush(() => this.#dropInbox())
  }

  /** The reader has stopped: it hears of the reset all the same. */
  #dropInbox(): void {
    this.#inbox = undefined
    this.#deliver()
  }

  /** The user wants to send on a stream whose peer has gone after its own clean end. */
  #becomeLate(): void {
    const reset = this.#lateReset
    if (reset === undefined || this.#reset !== undefined) return
    this.#lateReset = undefined
    this.#reset = reset
    queueMicrotask(() => this.#deliver())
  }

  #endLate(): void {
    const code = this.#lateReset?.code
    if (code !== 'NO_ERROR' && code !== 'CANCEL') return this.#becomeLate()
    this.#endSent = true
    queueMicrotask(() => this.settle())
  }

  #maybeClose(): void {
    if (this.#readEnded && this.#endSent && !this.#wireDead) this.#closeWire()
  }

  #closeWire(): void {
    this.#wireDead = true
    if (this.#inbox !== undefined && !this.#dead) {
      this.#isLingering = true
      this.#host.lingering(1)
    } else this.receive.release()
    this.#host.closed(this)
  }

  #die(): void {
    this.#dead = true
    this.#flushTimer?.cancel()
    this.#outbox = none
    this.#held = false
  }

  #endLingering(): void {
    if (!this.#isLingering) return
    this.#isLingering = false
    this.receive.release()
    this.#host.lingering(-1)
  }
}
