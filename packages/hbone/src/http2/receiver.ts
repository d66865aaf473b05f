/** What each received frame means for a session (RFC 9113 §5.1, §6): the rules that peers may break, in one place. */
import { LAST_USABLE_ID } from './closed-streams.ts'
import { errorName, FLAG, FRAME, violation } from './codes.ts'
import type { Http2Connection } from './connection.ts'
import { type FrameSink, readUint31, readUint32 } from './frame.ts'
import { type HeaderBlock, HeaderBlocks } from './header-block.ts'
import { readRequestHead, readResponseHead, trailerProblem } from './message.ts'
import { readSettings } from './settings.ts'
import type { Http2Stream } from './stream.ts'

/** WINDOW_UPDATE frames that our own DATA explains are remembered up to here. */
const MAX_EXPLAINED = 10_000

export class FrameReceiver implements FrameSink {
  readonly #connection: Http2Connection
  readonly #blocks: HeaderBlocks
  /** What the peer may still send on the session. */
  #credit: number
  #received = 0
  #sawSettings = false
  /** Where the DATA frame being read goes; `undefined` drops it. */
  #dataStream: Http2Stream | undefined
  /** Whose body that frame is, when it is only counted. */
  #bodyStream: Http2Stream | undefined
  /** Flow-controlled length of that frame. */
  #dataBytes = 0
  #explained = 0

  constructor(connection: Http2Connection) {
    this.#connection = connection
    const { limits, role } = connection
    this.#blocks = new HeaderBlocks(
      role === 'server' ? limits.maxRequestHeaderBytes : limits.maxResponseHeaderBytes,
      limits,
    )
    this.#credit = limits.connectionWindowBytes
  }

  /** The peer owes CONTINUATION frames. */
  get expectsContinuation(): boolean {
    return this.#blocks.expects !== undefined
  }

  /** We sent DATA or have a new stream, so a WINDOW_UPDATE or two will come. */
  explainUpdates(): void {
    if (this.#explained < MAX_EXPLAINED) this.#explained += 2
  }

  dataBegin(streamId: number, _flags: number, length: number): void {
    this.#expect(FRAME.data, streamId)
    this.#takeCredit(length)
    this.#dataBytes = length
    const stream = this.#streamFor(streamId)
    this.#dataStream = stream
    if (stream === undefined) return
    if (!stream.isReadable) throw violation('STREAM_CLOSED', 'DATA after END_STREAM')
    if (!stream.headSeen) {
      this.#dataStream = undefined
      return this.#streamError(stream, 'PROTOCOL_ERROR', 'DATA before the head')
    }
    if (!stream.receive.receive(length, this.#connection.earlyBytes))
      throw violation('FLOW_CONTROL_ERROR', 'DATA beyond the stream window')
    if (stream.bodyLeft === undefined) return
    this.#dataStream = undefined
    this.#bodyStream = stream
  }

  data(bytes: Uint8Array): boolean {
    return this.#dataStream?.receiveData(bytes) ?? true
  }

  dataEnd(flags: number, padding: number): void {
    const { guard } = this.#connection
    if (this.#dataBytes === padding && (flags & FLAG.endStream) === 0) guard.emptyData.spend()
    else if (padding * 2 > this.#dataBytes) guard.paddedData.spend()
    if (this.#bodyStream !== undefined)
      return this.#onBody(this.#bodyStream, this.#dataBytes - padding, (flags & FLAG.endStream) !== 0)
    const stream = this.#dataStream
    this.#dataStream = undefined
    if (stream === undefined) return
    if (padding > 0) stream.receivePadding(padding)
    if ((flags & FLAG.endStream) !== 0 && stream.isReadable) stream.receiveEnd()
  }

  /**
   * DATA of a request whose body nobody wants: it must be as long as it was said to be (RFC 9113 §8.1.1). Its window is
   * not given back, so more than that is not even sent.
   */
  #onBody(stream: Http2Stream, bytes: number, endStream: boolean): void {
    this.#bodyStream = undefined
    stream.bodyLeft = (stream.bodyLeft ?? 0) - bytes
    if (stream.bodyLeft < 0 || (endStream && stream.bodyLeft > 0)) return this.#wrongLength(stream)
    if (endStream && stream.isReadable) stream.receiveEnd()
  }

  #wrongLength(stream: Http2Stream): void {
    this.#streamError(stream, 'PROTOCOL_ERROR', 'the body is not as long as content-length says')
  }

  unknown(type: number, _length: number): void {
    this.#expect(type, 0)
    this.#connection.guard.idleFrame.spend()
  }

  frame(type: number, flags: number, streamId: number, payload: Uint8Array): void {
    this.#expect(type, streamId)
    switch (type) {
      case FRAME.headers:
        return this.#onBlock(this.#blocks.headers(requireStream(streamId), flags, payload))
      case FRAME.continuation:
        return this.#onBlock(this.#blocks.continuation(flags, payload))
      case FRAME.priority:
        return this.#onPriority(streamId, payload)
      case FRAME.rstStream:
        return this.#onReset(streamId, payload)
      case FRAME.settings:
        return this.#onSettings(flags, streamId, payload)
      case FRAME.ping:
        return this.#onPing(flags, streamId, payload)
      case FRAME.goaway:
        return this.#onGoaway(streamId, payload)
      case FRAME.windowUpdate:
        return this.#onWindowUpdate(streamId, payload)
      default:
        throw violation('PROTOCOL_ERROR', 'PUSH_PROMISE was never allowed')
    }
  }

  /** Order: SETTINGS first, nothing between HEADERS and its CONTINUATION. */
  #expect(type: number, streamId: number): void {
    if (!this.#sawSettings && type !== FRAME.settings)
      throw violation('PROTOCOL_ERROR', 'the first frame is not SETTINGS')
    const open = this.#blocks.expects
    if (open !== undefined && (type !== FRAME.continuation || streamId !== open))
      throw violation('PROTOCOL_ERROR', 'a header block was not continued')
  }

  #takeCredit(length: number): void {
    this.#credit -= length
    if (this.#credit < 0) throw violation('FLOW_CONTROL_ERROR', 'DATA beyond the connection window')
    this.#received += length
    if (this.#received * 2 < this.#connection.limits.connectionWindowBytes) return
    this.#connection.replenish(this.#received)
    this.#credit += this.#received
    this.#received = 0
  }

  /** The live stream, or `undefined` when frames for it are dropped. @throws for a stream that never was, or ended. */
  #streamFor(id: number): Http2Stream | undefined {
    const connection = this.#connection
    const stream = connection.streams.get(requireStream(id))
    if (stream !== undefined) return stream
    if (this.#isIdle(id))
      throw violation('PROTOCOL_ERROR', `a frame for stream ${id}, which was never opened`)
    this.#requirePast(id)
    return undefined
  }

  /** A stream that is over, or that we have forgotten. @throws when it has ended, or never was. */
  #requirePast(id: number): void {
    const { closedStreams } = this.#connection
    const state = closedStreams.get(id)
    if (state === 'ended') throw violation('STREAM_CLOSED', `a frame for stream ${id}, which has ended`)
    if (state === undefined && closedStreams.isComplete)
      throw violation('PROTOCOL_ERROR', `stream ${id} was passed over and cannot be used any more`)
  }

  #isIdle(id: number): boolean {
    const { role, lastPeerId, nextId } = this.#connection
    const isOurs = (id % 2 === 1) === (role === 'client')
    return isOurs ? id >= nextId : id > lastPeerId
  }

  #onBlock(block: HeaderBlock | undefined): void {
    if (block === undefined) return
    const connection = this.#connection
    const known = connection.streams.get(block.streamId)
    if (known !== undefined) return this.#onKnown(known, block)
    if (connection.role === 'server' && block.streamId % 2 === 1 && block.streamId > connection.lastPeerId)
      return this.#onNew(block)
    if (this.#isIdle(block.streamId)) throw violation('PROTOCOL_ERROR', `HEADERS on stream ${block.streamId}`)
    this.#requirePast(block.streamId)
    connection.guard.idleFrame.spend()
  }

  #onNew(block: HeaderBlock): void {
    const connection = this.#connection
    const { streamId } = block
    connection.lastPeerId = streamId
    if (!connection.accepts(streamId)) {
      connection.guard.idleFrame.spend()
      return connection.closedStreams.add(streamId, 'reset')
    }
    if (!connection.hasRoom) {
      connection.guard.peerReset.spend()
      return this.#refuse(streamId, 'REFUSED_STREAM')
    }
    const head = block.tooLarge || block.dependsOn === streamId ? undefined : readRequestHead(block.headers)
    const bodyLeft = head?.kind === 'refused' ? head.contentLength : undefined
    const isShort = block.endStream && bodyLeft !== undefined && bodyLeft > 0
    if (head === undefined || head.kind === 'malformed' || isShort) {
      connection.guard.streamError.spend()
      return this.#refuse(streamId, block.tooLarge ? 'ENHANCE_YOUR_CALM' : 'PROTOCOL_ERROR')
    }
    const stream = connection.createStream(streamId)
    this.explainUpdates()
    stream.headSeen = true
    stream.bodyLeft = bodyLeft
    if (block.endStream) stream.receiveEnd()
    connection.handlers.onRequest?.(stream, head)
    if (streamId >= LAST_USABLE_ID) connection.drain()
  }

  #refuse(streamId: number, code: string): void {
    this.#connection.closedStreams.add(streamId, 'reset')
    this.#connection.resetStream(streamId, code)
  }

  /** An answer, or trailers. */
  #onKnown(stream: Http2Stream, block: HeaderBlock): void {
    if (!stream.isReadable) throw violation('STREAM_CLOSED', 'HEADERS after END_STREAM')
    if (stream.headSeen) {
      if (!block.endStream) return this.#streamError(stream, 'PROTOCOL_ERROR', 'trailers without END_STREAM')
      const problem = block.tooLarge ? 'too many trailers' : trailerProblem(block.headers)
      if (problem !== undefined) return this.#streamError(stream, 'PROTOCOL_ERROR', problem)
      if ((stream.bodyLeft ?? 0) > 0) return this.#wrongLength(stream)
      return stream.receiveEnd()
    }
    const head = block.tooLarge ? undefined : readResponseHead(block.headers)
    if (head === undefined || head.kind === 'malformed')
      return this.#streamError(
        stream,
        'PROTOCOL_ERROR',
        head === undefined ? 'the answer has too many headers' : head.reason,
      )
    if (head.status >= 200) return stream.receiveHeaders(block.headers, block.endStream)
    this.#connection.guard.idleFrame.spend()
    if (block.endStream) this.#streamError(stream, 'PROTOCOL_ERROR', `status ${head.status} ended the stream`)
  }

  #streamError(stream: Http2Stream, code: string, reason: string): void {
    this.#connection.guard.streamError.spend()
    stream.abort(code, { by: 'peer', code, reason })
  }

  #onPriority(streamId: number, payload: Uint8Array): void {
    requireStream(streamId)
    this.#connection.guard.idleFrame.spend()
    const isShort = payload.length !== 5
    if (!isShort && readUint31(payload, 0) !== streamId) return
    const code = isShort ? 'FRAME_SIZE_ERROR' : 'PROTOCOL_ERROR'
    const stream = this.#connection.streams.get(streamId)
    // On any other stream there is nothing to reset.
    if (stream === undefined) throw violation(code, 'malformed PRIORITY')
    this.#streamError(stream, code, 'malformed PRIORITY')
  }

  #onReset(streamId: number, payload: Uint8Array): void {
    requireLength(payload, 4, 'RST_STREAM')
    requireStream(streamId)
    if (this.#isIdle(streamId))
      throw violation('PROTOCOL_ERROR', `RST_STREAM for stream ${streamId}, which was never opened`)
    const stream = this.#connection.streams.get(streamId)
    const { guard, role } = this.#connection
    if (role === 'server' && stream !== undefined && !stream.headSent) guard.abortedRequest.spend()
    else guard.peerReset.spend()
    stream?.receiveReset(errorName(readUint32(payload, 0)))
    // Whoever cut the stream first, the peer has no more to say on it.
    this.#connection.closedStreams.add(streamId, 'ended')
  }

  #onSettings(flags: number, streamId: number, payload: Uint8Array): void {
    requireConnection(streamId, 'SETTINGS')
    if ((flags & FLAG.ack) !== 0) {
      if (!this.#sawSettings) throw violation('PROTOCOL_ERROR', 'the first frame is not SETTINGS')
      requireLength(payload, 0, 'SETTINGS acknowledgement')
      this.#connection.guard.settings.spend()
      return this.#connection.settingsAcknowledged()
    }
    this.#sawSettings = true
    this.#connection.guard.settings.spend()
    this.#connection.applySettings(
      readSettings(payload, this.#connection.peer, this.#connection.role === 'client'),
    )
  }

  #onPing(flags: number, streamId: number, payload: Uint8Array): void {
    requireConnection(streamId, 'PING')
    requireLength(payload, 8, 'PING')
    if ((flags & FLAG.ack) !== 0) {
      if (!this.#connection.keepalive.acknowledged(payload)) this.#connection.guard.ping.spend()
      return
    }
    this.#connection.guard.ping.spend()
    this.#connection.control(FRAME.ping, FLAG.ack, 0, payload)
  }

  #onGoaway(streamId: number, payload: Uint8Array): void {
    requireConnection(streamId, 'GOAWAY')
    if (payload.length < 8) throw violation('FRAME_SIZE_ERROR', 'GOAWAY is too short')
    this.#connection.guard.settings.spend()
    const debug = Buffer.from(payload.subarray(8, 264))
      .toString('latin1')
      .replace(/[^ -~]/g, '.')
    this.#connection.peerGoaway(readUint31(payload, 0), readUint32(payload, 4), debug)
  }

  #onWindowUpdate(streamId: number, payload: Uint8Array): void {
    requireLength(payload, 4, 'WINDOW_UPDATE')
    const increment = readUint31(payload, 0)
    if (this.#explained > 0) this.#explained--
    else this.#connection.guard.windowUpdate.spend()
    if (streamId === 0) {
      if (increment === 0) throw violation('PROTOCOL_ERROR', 'WINDOW_UPDATE of 0 on the connection')
      return this.#connection.growSendWindow(increment)
    }
    if (this.#isIdle(streamId))
      throw violation('PROTOCOL_ERROR', `WINDOW_UPDATE for stream ${streamId}, which was never opened`)
    const stream = this.#connection.streams.get(streamId)
    if (stream === undefined) {
      if (increment > 0) return
      this.#connection.guard.streamError.spend()
      return this.#connection.resetStream(streamId, 'PROTOCOL_ERROR')
    }
    if (increment === 0) return this.#streamError(stream, 'PROTOCOL_ERROR', 'WINDOW_UPDATE of 0')
    if (!stream.send.add(increment))
      return this.#streamError(stream, 'FLOW_CONTROL_ERROR', 'the stream window would pass 2^31-1')
    if (stream.pending !== undefined) this.#connection.ready(stream)
  }
}

function requireStream(streamId: number): number {
  if (streamId === 0) throw violation('PROTOCOL_ERROR', 'a frame of a stream came on stream 0')
  return streamId
}

function requireConnection(streamId: number, what: string): void {
  if (streamId !== 0) throw violation('PROTOCOL_ERROR', `${what} on stream ${streamId}`)
}

function requireLength(payload: Uint8Array, length: number, what: string): void {
  if (payload.length !== length) throw violation('FRAME_SIZE_ERROR', `${what} of ${payload.length} bytes`)
}
