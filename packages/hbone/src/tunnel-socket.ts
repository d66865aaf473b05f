/**
 * A tunnel as a stream: a Duplex with the surface of `net.Socket`, so that HTTP clients, servers and database drivers take it.
 * Ends are ends, resets are `ECONNRESET`; writes are Buffers, empty ones are skipped.
 */
import { Duplex } from 'node:stream'
import type { Channel, ChannelReset, SpiffeId } from '@ambient/core'

export interface TunnelSocketFacts {
  readonly remoteAddress: string
  readonly remotePort: number
  readonly localAddress: string
  readonly localPort: number
  /** The proven peer. */
  readonly peer?: SpiffeId
}

/** The stream over a channel, which it owns from now on. */
export function createTunnelSocket(channel: Channel, facts: TunnelSocketFacts): TunnelSocket {
  return new TunnelSocket(channel, facts)
}

/** A socket that was destroyed after its end waits this long for the peer's, as a kernel does (FIN_WAIT_2). */
const CLOSE_WAIT_MS = 60_000

type Done = (error?: Error | null) => void

export class TunnelSocket extends Duplex {
  readonly remoteAddress: string
  readonly remotePort: number
  readonly remoteFamily: 'IPv4' | 'IPv6'
  readonly localAddress: string
  readonly localPort: number
  readonly localFamily: 'IPv4' | 'IPv6'
  /** The proven identity of the other end, `undefined` when the channel has none. */
  readonly peer: SpiffeId | undefined
  readonly connecting = false
  readonly pending = false
  /** The tunnel is encrypted beneath; to the application it is a plain socket. */
  readonly encrypted = false
  readonly authorized = false
  readonly alpnProtocol = false
  timeout = 0
  bytesRead = 0
  bytesWritten = 0
  readonly #channel: Channel
  #written: Done | undefined
  #ended: Done | undefined
  #readEnded = false
  #over = false
  #timer: NodeJS.Timeout | undefined
  #closeTimer: NodeJS.Timeout | undefined

  constructor(channel: Channel, facts: TunnelSocketFacts) {
    super({ allowHalfOpen: true, emitClose: true, autoDestroy: true })
    this.#channel = channel
    this.remoteAddress = facts.remoteAddress
    this.remotePort = facts.remotePort
    this.remoteFamily = familyOf(facts.remoteAddress)
    this.localAddress = facts.localAddress
    this.localPort = facts.localPort
    this.localFamily = familyOf(facts.localAddress)
    this.peer = facts.peer
    channel.start({
      data: bytes => this.#onData(bytes),
      end: () => this.#onEnd(),
      drained: () => this.#onDrained(),
      finished: () => this.#onFinished(),
      reset: reset => this.#onReset(reset),
    })
  }

  /** The tunnel is connected already; drivers that dial the stream they are given hear so. */
  connect(...given: readonly unknown[]): this {
    const listener = given.at(-1)
    if (typeof listener === 'function') this.once('connect', () => listener())
    process.nextTick(() => {
      if (this.destroyed) return
      this.emit('connect')
      this.emit('ready')
    })
    return this
  }

  get readyState(): 'open' | 'readOnly' | 'writeOnly' | 'closed' {
    if (this.destroyed) return 'closed'
    if (this.writableEnded) return this.#readEnded ? 'closed' : 'readOnly'
    return this.#readEnded ? 'writeOnly' : 'open'
  }

  address(): { address: string; port: number; family: string } {
    return { address: this.localAddress, port: this.localPort, family: this.localFamily }
  }

  setNoDelay(): this {
    return this
  }

  setKeepAlive(): this {
    return this
  }

  /** The session beneath decides what keeps the process alive. */
  ref(): this {
    return this
  }

  unref(): this {
    return this
  }

  /** Emits `'timeout'` after `timeoutMs` without activity; 0 turns it off. */
  setTimeout(timeoutMs: number, listener?: () => void): this {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.timeout = timeoutMs
    if (timeoutMs === 0) {
      if (listener !== undefined) this.off('timeout', listener)
      return this
    }
    if (listener !== undefined) this.once('timeout', listener)
    this.#timer = setTimeout(() => this.emit('timeout'), timeoutMs)
    this.#timer.unref()
    return this
  }

  destroySoon(): void {
    if (!this.writableEnded) this.end()
    if (this.writableFinished) this.destroy()
    else this.once('finish', () => this.destroy())
  }

  /** Cuts the tunnel: the other end sees a reset. */
  resetAndDestroy(): this {
    this.#over = true
    this.#channel.reset('INTERNAL_ERROR', 'reset by the user of the socket')
    return this.destroy()
  }

  // The stream's own methods.

  override _read(): void {
    this.#channel.resume()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: Done): void {
    this.#send(chunk, done)
  }

  override _writev(chunks: { chunk: Buffer }[], done: Done): void {
    this.#send(Buffer.concat(chunks.map(entry => entry.chunk)), done)
  }

  override _final(done: Done): void {
    this.#ended = done
    this.#channel.end()
  }

  override _destroy(error: Error | null, done: Done): void {
    clearTimeout(this.#timer)
    if (!this.#over) this.#close(error)
    const [written, ended] = [this.#written, this.#ended]
    this.#written = undefined
    this.#ended = undefined
    done(error)
    const lost = error ?? new Error('the socket was destroyed before its bytes were sent')
    written?.(lost)
    ended?.(lost)
  }

  /** As a kernel closes a socket: an end when all is sent, a reset when not, and for whatever still arrives. */
  #close(error: Error | null): void {
    this.#over = true
    if (error !== null || this.#written !== undefined || this.writableLength > 0)
      return this.#channel.reset(
        'INTERNAL_ERROR',
        error?.message ?? 'the socket was destroyed with unsent bytes',
      )
    this.#channel.end()
    if (this.#readEnded) return
    this.#closeTimer = setTimeout(() => this.#stopPeer(), CLOSE_WAIT_MS)
    this.#closeTimer.unref()
    this.#channel.resume()
  }

  /** Nobody reads any more and our own direction is complete. */
  #stopPeer(): void {
    clearTimeout(this.#closeTimer)
    this.#channel.reset('CANCEL', 'the socket is closed')
  }

  #onData(bytes: Uint8Array): boolean {
    if (this.#over) {
      this.#stopPeer()
      return true
    }
    this.#timer?.refresh()
    this.bytesRead += bytes.length
    // The stream's queue keeps the view for as long as its reader likes.
    if (!this.push(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length))) this.#channel.pause()
    return false
  }

  #onEnd(): void {
    this.#readEnded = true
    clearTimeout(this.#closeTimer)
    if (this.#over) return
    this.push(null)
    // A reader that never looks must still see the end, as with a socket.
    if (this.readableLength === 0) this.read(0)
  }

  #onDrained(): void {
    const done = this.#written
    this.#written = undefined
    done?.()
  }

  #onFinished(): void {
    const done = this.#ended
    this.#ended = undefined
    done?.()
  }

  #onReset(reset: ChannelReset): void {
    clearTimeout(this.#closeTimer)
    this.#over = true
    const error = new Error(`read ECONNRESET: ${reset.reason}`, { cause: reset.cause })
    this.destroy(Object.assign(error, { code: 'ECONNRESET', syscall: 'read' }))
  }

  #send(bytes: Buffer, done: Done): void {
    this.#timer?.refresh()
    this.bytesWritten += bytes.length
    if (bytes.length === 0 || this.#channel.write(bytes)) return done()
    this.#written = done
  }
}

function familyOf(address: string): 'IPv4' | 'IPv6' {
  return address.includes(':') ? 'IPv6' : 'IPv4'
}
