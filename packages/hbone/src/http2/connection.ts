/**
 * One HTTP/2 session over any Duplex, either role: opens and accepts streams, moves frames between them and the
 * transport, and ends: gracefully (GOAWAY), by the peer's fault (GOAWAY with the code), or because the transport died.
 *
 * Why so long: the states that decide how a session ends (draining, announced, closed, gone) must be seen together.
 */
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { type ChannelReset, type Clock, messageOf, type Timer } from '@ambient/core'
import { keepFailedWrites } from '@ambient/core/node'
import { HboneError } from '../errors.ts'
import type { HboneLimits } from '../limits.ts'
import { ClosedStreams, LAST_USABLE_ID } from './closed-streams.ts'
import { codeOf, errorNumber, errorName, FLAG, FRAME, type H2Code, violation } from './codes.ts'
import { sayFarewell } from './farewell.ts'
import { DEFAULT_WINDOW, type GrowthBudget, ReceiveWindow, SendWindow } from './flow.ts'
import { FrameReader, writeUint32 } from './frame.ts'
import { encodeHeaders, type HeaderList } from './hpack.ts'
import { Keepalive } from './keepalive.ts'
import { createFloodGuard, type FloodGuard } from './limits.ts'
import type { RequestHead } from './message.ts'
import { Output } from './output.ts'
import { FrameReceiver } from './receiver.ts'
import { Sender, TURN_BYTES } from './sender.ts'
import { readTransport } from '../tls-static.ts'
import { initialPeerSettings, ownSettings, type PeerSettings } from './settings.ts'
import { StallWatch } from './stall.ts'
import { Http2Stream, type StreamHost } from './stream.ts'

export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1')
const LAST_ID = 0x7fff_ffff

export interface ConnectionHandlers {
  /** Server: a request's head arrived on a new stream. `refused` heads want an answer; malformed ones never get here. */
  onRequest?(stream: Http2Stream, head: Exclude<RequestHead, { kind: 'malformed' }>): void
  /** The peer's first SETTINGS arrived. */
  onReady?(): void
  /** A stream ended, or the peer changed how many it allows. */
  onCapacity?(): void
  /** The peer said GOAWAY, or we did: no new streams. */
  onDraining?(): void
  /** Once: no stream is left and none comes. `undefined` after a graceful end. */
  onClosed(error: HboneError | undefined): void
  /** Once, last of all: the transport is closed. */
  onGone?(): void
}

export interface ConnectionOptions {
  readonly role: 'client' | 'server'
  readonly transport: Duplex
  /** For messages: `10.0.0.2:15008`. */
  readonly peer: string
  readonly limits: HboneLimits
  readonly clock: Clock
  readonly handlers: ConnectionHandlers
}

export class Http2Connection implements StreamHost {
  readonly role: 'client' | 'server'
  readonly limits: HboneLimits
  readonly guard: FloodGuard
  readonly keepalive: Keepalive
  readonly streams = new Map<number, Http2Stream>()
  readonly closedStreams = new ClosedStreams()
  readonly handlers: ConnectionHandlers
  peer: PeerSettings = initialPeerSettings
  /** Client: the id of the next stream that we open. */
  nextId: number
  /** Highest stream that the peer opened. */
  lastPeerId = 0
  /** Streams that we reset. */
  resetsSent = 0
  readonly #transport: Duplex
  readonly #peerName: string
  readonly #clock: Clock
  readonly #now = (): number => this.#clock.monotonic()
  readonly #output: Output
  readonly #reader: FrameReader
  readonly #receiver: FrameReceiver
  readonly #growth: GrowthBudget
  readonly #sender: Sender
  readonly #stalls: StallWatch
  #preface = 0
  #prefaceTimer: Timer | undefined
  /** Runs while the peer owes the rest of a header block or of a control frame. */
  #frameTimer: Timer | undefined
  #framesAtTimer = 0
  #isReady = false
  /** The peer has acknowledged our SETTINGS. */
  #isAcknowledged = false
  /** No streams are opened any more. */
  #draining = false
  /** Server: streams above this were never looked at; set by the second GOAWAY. */
  #lastAccepted = LAST_ID
  /** Server: the first GOAWAY is out, the second is not. */
  #isAnnouncing = false
  #closed = false
  /** A write has failed: what was received before is read, then the session is lost. */
  #failure: Error | undefined
  #readOutTimer: Timer | undefined
  #tableUpdate = false
  /** Frames that we owe while the peer does not read. */
  #owedFrames = 0
  /** Streams that are over on the wire and still hold bytes for their readers. */
  #lingering = 0
  /** Why the peer said GOAWAY, for the message when it cuts the session afterwards. */
  #peerFarewell = ''

  constructor(options: ConnectionOptions) {
    const { role, transport, limits, clock } = options
    this.role = role
    this.nextId = role === 'client' ? 1 : 2
    this.limits = limits
    this.handlers = options.handlers
    this.guard = createFloodGuard(limits, clock)
    this.#transport = transport
    this.#peerName = options.peer
    this.#clock = clock
    this.#growth = { left: limits.connectionWindowBytes }
    this.#output = new Output(transport, limits.sendBufferBytes, () => this.#onWritable())
    this.#receiver = new FrameReceiver(this)
    this.#sender = new Sender(this.#output, () => this.#receiver.explainUpdates())
    const maxHeaderBytes = role === 'server' ? limits.maxRequestHeaderBytes : limits.maxResponseHeaderBytes
    this.#reader = new FrameReader(this.#receiver, { maxFrameBytes: limits.maxFrameBytes, maxHeaderBytes })
    this.#stalls = new StallWatch(this, limits.stalledMs, clock)
    this.keepalive = new Keepalive(
      {
        sendPing: payload => this.#output.small(FRAME.ping, 0, 0, payload),
        peerDead: () => this.#peerDead(),
      },
      limits,
      clock,
    )
  }

  /** Says our preface and begins to read. */
  start(): void {
    const transport = this.#transport
    if (this.role === 'client') this.#output.raw(PREFACE)
    else this.#preface = PREFACE.length
    this.#output.small(FRAME.settings, 0, 0, ownSettings(this.role, this.limits))
    const grow = this.limits.connectionWindowBytes - DEFAULT_WINDOW
    if (grow > 0) this.#windowUpdate(0, grow)
    this.#prefaceTimer = this.#clock.after(this.limits.prefaceMs, () =>
      this.#late(this.#isReady ? 'acknowledgement of SETTINGS' : 'HTTP/2 preface'),
    )
    readTransport(transport, this.#onData)
    transport.on('data', this.#onData)
    transport.on('end', () => this.#lost(undefined))
    transport.on('error', error => this.#lost(error))
    if (transport instanceof Socket) keepFailedWrites(transport, error => this.#readOut(error))
    if (transport.destroyed) queueMicrotask(this.#onTransportClosed)
    else transport.once('close', this.#onTransportClosed)
  }

  get isReady(): boolean {
    return this.#isReady
  }

  get isClosed(): boolean {
    return this.#closed
  }

  get isDraining(): boolean {
    return this.#draining || this.#closed || this.#failure !== undefined
  }

  /** Streams that may be opened now. */
  get capacity(): number {
    if (this.isDraining || this.nextId >= LAST_USABLE_ID) return 0
    return Math.max(0, this.peer.maxConcurrentStreams - this.streams.size)
  }

  /** Client: opens a stream with its head, `undefined` when the session takes none. */
  open(headers: HeaderList): Http2Stream | undefined {
    if (this.capacity === 0) return undefined
    const stream = this.createStream(this.nextId)
    this.nextId += 2
    stream.sendHeaders(headers)
    return stream
  }

  createStream(id: number): Http2Stream {
    const { streamWindowBytes, maxStreamWindowBytes } = this.limits
    const receive = new ReceiveWindow(
      streamWindowBytes,
      Math.max(streamWindowBytes, maxStreamWindowBytes),
      this.#growth,
      this.#now,
    )
    const stream = new Http2Stream(id, this, new SendWindow(this.peer.initialWindowSize), receive)
    this.streams.set(id, stream)
    return stream
  }

  /** Until the peer has seen our SETTINGS, a stream's window is what HTTP/2 begins with (RFC 9113 §6.9.2). */
  get earlyBytes(): number {
    return this.#isAcknowledged ? 0 : Math.max(0, DEFAULT_WINDOW - this.limits.streamWindowBytes)
  }

  /** Whether a stream of the peer with this id is still looked at. */
  accepts(id: number): boolean {
    return id <= this.#lastAccepted
  }

  /** Room for one more stream of the peer. Those that are over but hold bytes count on their own, to bound memory. */
  get hasRoom(): boolean {
    const { maxConcurrentStreams } = this.limits
    return this.streams.size < maxConcurrentStreams && this.#lingering < maxConcurrentStreams
  }

  /**
   * No new streams; present ones finish; then the transport is closed. A server says GOAWAY twice, so that streams
   * which are on their way are still served.
   */
  drain(): void {
    if (this.isDraining) return
    this.#draining = true
    this.handlers.onDraining?.()
    if (this.role === 'client') return this.#closeWhenIdle()
    this.#goaway(LAST_ID, 'NO_ERROR')
    this.#isAnnouncing = true
    this.keepalive.mark(() => {
      this.#isAnnouncing = false
      this.#lastAccepted = this.lastPeerId
      this.#goaway(this.lastPeerId, 'NO_ERROR')
      this.#closeWhenIdle()
    })
    this.#output.flush()
  }

  /** Ends the session now: GOAWAY with the error's code, every stream is lost. */
  fail(error: HboneError): void {
    if (this.#closed) return
    // What a foreign error says may be ours alone to know.
    const debug = error.cause === undefined ? error.message : ''
    this.#goaway(Math.min(this.lastPeerId, this.#lastAccepted), codeOf(error), debug)
    this.#end(this.#named(error))
  }

  /** The peer knows who it is; whoever reads the error does not. */
  #named(error: HboneError): HboneError {
    const { code, message, h2Code, cause } = error
    if (code !== 'AMBIENT_E_HBONE_PROTOCOL' || message.includes(this.#peerName)) return error
    return new HboneError(code, `${this.#peerName} broke a rule of HTTP/2: ${message}`, {
      cause,
      ...(h2Code === undefined ? {} : { h2Code }),
    })
  }

  /**
   * As `fail`, and a session that has ended but still waits for its last bytes to leave waits no longer. The session did
   * nothing wrong, so its GOAWAY says NO_ERROR, which some peers read as a clean end of every stream: those are reset.
   */
  cut(error: HboneError): void {
    if (this.#closed) return void this.#transport.destroy()
    for (const id of this.streams.keys()) this.resetStream(id, 'INTERNAL_ERROR')
    this.fail(error)
  }

  // What streams call.

  sendData(stream: Http2Stream, bytes: Uint8Array): boolean {
    return this.#sender.sendNow(stream, bytes)
  }

  ready(stream: Http2Stream): void {
    this.#sender.ready(stream)
    this.#stalls.note()
  }

  sendHeaders(stream: Http2Stream, headers: HeaderList, endStream: boolean): void {
    this.#owe()
    const block = encodeHeaders(headers, this.#tableUpdate)
    this.#tableUpdate = false
    const max = Math.min(this.peer.maxFrameSize, TURN_BYTES)
    const end = endStream ? FLAG.endStream : 0
    for (let at = 0; at === 0 || at < block.length; at += max) {
      const last = at + max >= block.length
      const flags = (last ? FLAG.endHeaders : 0) | (at === 0 ? end : 0)
      this.#output.small(
        at === 0 ? FRAME.headers : FRAME.continuation,
        flags,
        stream.id,
        block.subarray(at, at + max),
      )
    }
    if (endStream) this.#output.whenFlushed(stream)
  }

  sendEnd(stream: Http2Stream): void {
    this.#output.reserve(0, FRAME.data, FLAG.endStream, stream.id)
    this.#output.whenFlushed(stream)
  }

  sendReset(stream: Http2Stream, code: string): void {
    this.resetsSent++
    this.resetStream(stream.id, code)
  }

  sendWindowUpdate(stream: Http2Stream, increment: number): void {
    this.#windowUpdate(stream.id, increment)
  }

  closed(stream: Http2Stream): void {
    this.streams.delete(stream.id)
    this.closedStreams.add(stream.id, stream.hasEnded ? 'ended' : 'reset')
    if (this.#closed) return
    if (this.#draining) this.#closeWhenIdle()
    this.handlers.onCapacity?.()
  }

  afterFlush(run: () => void): Timer {
    return this.#clock.after(this.limits.resetFlushMs, run)
  }

  stalled(stream: Http2Stream): void {
    const reason = `${this.#peerName} took no byte of the stream for ${this.limits.stalledMs} ms`
    stream.abort('ENHANCE_YOUR_CALM', { by: 'peer', code: 'ENHANCE_YOUR_CALM', reason })
  }

  lingering(delta: 1 | -1): void {
    this.#lingering += delta
  }

  // What the receiver calls.

  resetStream(id: number, code: string): void {
    const payload = new Uint8Array(4)
    const number = errorNumber(isCode(code) ? code : 'INTERNAL_ERROR')
    writeUint32(payload, 0, number)
    this.control(FRAME.rstStream, 0, id, payload)
  }

  /** A frame that the peer makes us send. */
  control(type: number, flags: number, id: number, payload: Uint8Array): void {
    if (this.#closed) return
    this.#owe()
    this.#output.small(type, flags, id, payload)
  }

  /** Gives connection window back: streams bound what is held, so this one only counts. */
  replenish(bytes: number): void {
    this.#windowUpdate(0, bytes)
  }

  applySettings(settings: PeerSettings): void {
    const delta = settings.initialWindowSize - this.peer.initialWindowSize
    if (settings.headerTableSize < this.peer.headerTableSize) this.#tableUpdate = true
    this.peer = settings
    for (const stream of this.streams.values()) {
      if (!stream.send.add(delta)) throw violation('FLOW_CONTROL_ERROR', 'a stream window would pass 2^31-1')
      if (delta > 0 && stream.pending !== undefined) this.#sender.ready(stream)
    }
    this.#sender.maxFrameBytes = settings.maxFrameSize
    this.control(FRAME.settings, FLAG.ack, 0, new Uint8Array(0))
    if (!this.#isReady) {
      this.#isReady = true
      this.#whenGreeted()
      this.keepalive.start()
      this.handlers.onReady?.()
    }
    this.handlers.onCapacity?.()
  }

  settingsAcknowledged(): void {
    this.#isAcknowledged = true
    this.#whenGreeted()
  }

  growSendWindow(increment: number): void {
    if (!this.#sender.grow(increment))
      throw violation('FLOW_CONTROL_ERROR', 'the connection window would pass 2^31-1')
  }

  peerGoaway(lastId: number, code: number, debug: string): void {
    const first = !this.isDraining
    this.#draining = true
    this.#isAnnouncing = false
    this.#peerFarewell = `GOAWAY (${errorName(code)}${debug === '' ? '' : `: ${debug}`})`
    if (first) this.handlers.onDraining?.()
    if (this.role === 'client') {
      const reason = `the peer said ${this.#peerFarewell} before it looked at the stream`
      for (const stream of [...this.streams.values()])
        if (stream.id > lastId) stream.lost({ by: 'peer', code: 'REFUSED_STREAM', reason })
    }
    this.#closeWhenIdle()
  }

  // Reading.

  /** `false` when somebody keeps a view of the chunk. */
  readonly #onData = (chunk: Uint8Array): boolean => {
    if (this.#closed) return true
    this.keepalive.heard = true
    try {
      const isFree = this.#reader.feed(this.#preface > 0 ? this.#readPreface(chunk) : chunk)
      this.#watchFrame()
      return isFree
    } catch (error) {
      this.fail(
        error instanceof HboneError
          ? error
          : new HboneError('AMBIENT_E_HBONE_PROTOCOL', messageOf(error), {
              cause: error,
              h2Code: 'INTERNAL_ERROR',
            }),
      )
      return false
    }
  }

  /** What follows the preface in the chunk. */
  #readPreface(chunk: Uint8Array): Uint8Array {
    const size = Math.min(this.#preface, chunk.length)
    const from = PREFACE.length - this.#preface
    if (PREFACE.compare(chunk, 0, size, from, from + size) !== 0)
      throw violation('PROTOCOL_ERROR', `${this.#peerName} does not speak HTTP/2`)
    this.#preface -= size
    return chunk.subarray(size)
  }

  /** A header block or a control frame that has begun must also end in time; DATA may take as long as it likes. */
  #watchFrame(): void {
    const isOwed = (this.#reader.isGathering || this.#receiver.expectsContinuation) && !this.#closed
    const isNext = this.#reader.frames !== this.#framesAtTimer && !this.#receiver.expectsContinuation
    if (this.#frameTimer !== undefined && (!isOwed || isNext)) {
      this.#frameTimer.cancel()
      this.#frameTimer = undefined
    }
    if (!isOwed || this.#frameTimer !== undefined) return
    this.#framesAtTimer = this.#reader.frames
    this.#frameTimer = this.#clock.after(this.limits.prefaceMs, () => this.#late('end of a frame'))
  }

  #whenGreeted(): void {
    if (this.#isReady && this.#isAcknowledged) this.#prefaceTimer?.cancel()
  }

  #late(what: string): void {
    const { prefaceMs } = this.limits
    this.fail(
      new HboneError('AMBIENT_E_HBONE_TIMEOUT', `${this.#peerName} sent no ${what} within ${prefaceMs} ms`, {
        h2Code: 'SETTINGS_TIMEOUT',
      }),
    )
  }

  // Writing.

  /** Counts what we have to say to a peer that does not read. Ends the session later: callers may be users of streams. */
  #owe(): void {
    if (this.#failure !== undefined || !this.#output.blocked) return
    if (++this.#owedFrames !== this.limits.maxQueuedControlFrames + 1) return
    queueMicrotask(() =>
      this.fail(violation('ENHANCE_YOUR_CALM', `${this.#peerName} does not read its answers`)),
    )
  }

  #onWritable(): void {
    this.#owedFrames = 0
    this.#sender.run()
  }

  #windowUpdate(id: number, increment: number): void {
    this.#owe()
    const payload = new Uint8Array(4)
    writeUint32(payload, 0, increment)
    this.#output.small(FRAME.windowUpdate, 0, id, payload)
  }

  #goaway(lastId: number, code: H2Code, debug = ''): void {
    const text = Buffer.from(debug.slice(0, 256))
    const payload = new Uint8Array(8 + text.length)
    writeUint32(payload, 0, lastId)
    writeUint32(payload, 4, errorNumber(code))
    payload.set(text, 8)
    this.#output.small(FRAME.goaway, 0, 0, payload)
  }

  // The end.

  #closeWhenIdle(): void {
    if (this.streams.size > 0 || this.#closed || this.#isAnnouncing) return
    if (this.role === 'client') this.#goaway(0, 'NO_ERROR')
    this.#end(undefined)
  }

  #peerDead(): void {
    const { pingTimeoutMs } = this.limits
    this.cut(
      new HboneError(
        'AMBIENT_E_HBONE_TIMEOUT',
        `${this.#peerName} answered no PING for ${pingTimeoutMs} ms`,
        { h2Code: 'NO_ERROR' },
      ),
    )
  }

  /** Flushes and ends the transport. After a graceful end the last bytes of streams may still be on their way. */
  #end(error: HboneError | undefined): void {
    this.#closed = true
    this.#output.flush()
    this.#finish(error)
    if (this.#failure !== undefined) return void this.#transport.destroy()
    const { lingerMs, pingTimeoutMs } = this.limits
    sayFarewell(this.#transport, this.#clock, {
      lingerMs,
      stallMs: error === undefined ? pingTimeoutMs : lingerMs,
    })
  }

  /** The transport takes nothing any more; a peer that closed over what we said has said all that it had to. */
  #readOut(error: Error): boolean {
    if (this.#closed) return false
    const wasDraining = this.isDraining
    this.#failure = error
    this.#output.stick()
    this.#readOutTimer = this.#clock.after(this.limits.resetFlushMs, () => this.#lost(error))
    if (!wasDraining) this.handlers.onDraining?.()
    return true
  }

  /** The transport takes or brings nothing any more. */
  #lost(cause = this.#failure): void {
    if (this.#closed) return
    this.#closed = true
    const isExpected = this.#draining && this.streams.size === 0
    const ending = cause === undefined ? 'the peer closed the connection' : messageOf(cause)
    const reason = this.#peerFarewell === '' ? ending : `${ending} after ${this.#peerFarewell}`
    this.#finish(
      isExpected
        ? undefined
        : new HboneError(
            'AMBIENT_E_HBONE_SESSION_LOST',
            `the session with ${this.#peerName} was lost: ${reason}`,
            { cause },
          ),
    )
    this.#transport.destroy()
  }

  readonly #onTransportClosed = (): void => {
    this.#lost(undefined)
    // Ends of streams that are still waiting to be flushed never will be.
    this.#output.fail()
    this.handlers.onGone?.()
  }

  #finish(error: HboneError | undefined): void {
    this.#prefaceTimer?.cancel()
    this.#frameTimer?.cancel()
    this.#readOutTimer?.cancel()
    this.keepalive.stop()
    this.#stalls.stop()
    this.#reader.stop()
    this.#sender.stop()
    const isOurs = error?.code === 'AMBIENT_E_CLOSED' || error?.code === 'AMBIENT_E_PEER_IDENTITY'
    const reset: ChannelReset = {
      by: isOurs ? 'local' : 'peer',
      code: 'INTERNAL_ERROR',
      reason: error?.message ?? 'the session was closed',
      ...(error === undefined ? {} : { cause: error }),
    }
    for (const stream of [...this.streams.values()]) stream.lost(reset)
    if (error?.code === 'AMBIENT_E_HBONE_SESSION_LOST') this.#output.fail()
    this.handlers.onClosed(error)
  }
}

function isCode(code: string): code is H2Code {
  return errorNumber(code as H2Code) >= 0
}
