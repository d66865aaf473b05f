/**
 * A tunnel as a stream: a Duplex with the surface of `net.Socket`, so that HTTP clients, servers and database drivers take it.
 * Ends are ends, resets are `ECONNRESET`; writes are Buffers, empty ones are skipped.
 *
 * Why so long: the surface of `net.Socket` is wide, and how it ends must be seen in one place.
 */
import { Duplex } from 'node:stream'
import type { Channel, ChannelReset, SpiffeId } from '@ambient/core'
import type { Tunnel } from './tunnel.ts'

export interface TunnelSocketOptions {
  /**
   * `true`: the peer's end leaves our direction open, as tunnels do. `false`: it ends ours as well when all is sent, as
   * `net.connect()` does; drivers that wait for `'close'` need that. Default: `true` for a tunnel that is there, `false` for
   * a socket that stands for `net.connect()` (see {@link createLazyTunnelSocket}).
   */
  readonly allowHalfOpen?: boolean
}

export interface TunnelSocketFacts extends TunnelSocketOptions {
  readonly remoteAddress: string
  readonly remotePort: number
  readonly localAddress: string
  readonly localPort: number
  /** The proven peer. */
  readonly peer?: SpiffeId
}

/** Opens the tunnel of a socket that was handed out already. The signal is aborted when the socket is destroyed first. */
export type OpenSocketTunnel = (signal: AbortSignal) => Promise<Tunnel>

/** The stream over a channel, which it owns from now on. */
export function createTunnelSocket(channel: Channel, facts: TunnelSocketFacts): TunnelSocket {
  return new TunnelSocket(channel, facts)
}

/**
 * A socket at once, for a tunnel that is still to be opened: what `http2.connect`'s `createConnection` and other callers
 * need that cannot wait. `open` is called once, in this call. Until it resolves `connecting` is `true`, the addresses are
 * `undefined`, and writes wait (the first by reference, the others in the stream's own bounded queue); then `'connect'` and
 * `'ready'` follow. It closes when its peer has ended, as `net.connect()`'s does. The rejection of `open` destroys the socket
 * with that error; destroying the socket aborts the signal.
 */
export function createLazyTunnelSocket(
  open: OpenSocketTunnel,
  options: TunnelSocketOptions = {},
): TunnelSocket {
  return new TunnelSocket(open, { allowHalfOpen: false, ...options })
}

/** A socket that was destroyed after its end waits this long for the peer's, as a kernel does (FIN_WAIT_2). */
const CLOSE_WAIT_MS = 60_000
/** As in the pump: bytes that came before a reset wait this long for a reader that has stopped. */
const RESET_WAIT_MS = 2_000
/** With a timeout set, writes go out in pieces of this size, so that a slow one is seen to move. */
const PIECE_BYTES = 65_536
/** What timers take. */
const MAX_TIMEOUT_MS = 2_147_483_647

type Done = (error?: Error | null) => void
type Facts = TunnelSocketOptions & Partial<TunnelSocketFacts>

export class TunnelSocket extends Duplex {
  /** `true` until a tunnel that was asked for late is there. */
  connecting: boolean
  /** The tunnel is encrypted beneath; to the application it is a plain socket. */
  readonly encrypted = false
  readonly authorized = false
  /** As on a plain socket: nothing was negotiated. (`false` would say that TLS did not, and Node's http2 refuses that.) */
  readonly alpnProtocol = undefined
  readonly autoSelectFamilyAttemptedAddresses: string[] = []
  timeout = 0
  bytesRead = 0
  bytesWritten = 0
  #facts: Facts
  /** Absent while connecting. */
  #channel: Channel | undefined
  #opening: AbortController | undefined
  /** Of the write under way: what the channel was not given yet, and whom to tell. */
  #unsent: Buffer | undefined
  #written: Done | undefined
  #ended: Done | undefined
  #readEnded = false
  #over = false
  #timer: NodeJS.Timeout | undefined
  #closeTimer: NodeJS.Timeout | undefined
  #reset: Error | undefined

  constructor(source: Channel | OpenSocketTunnel, facts: Facts) {
    // As `net.Socket`, which emits 'close' itself, with whether there was an error.
    super({ allowHalfOpen: facts.allowHalfOpen ?? true, emitClose: false, autoDestroy: true })
    this.#facts = facts
    this.connecting = typeof source === 'function'
    if (typeof source === 'function') this.#open(source)
    else this.#use(source)
  }

  /** The HBONE peer's address; `undefined` while connecting. */
  get remoteAddress(): string | undefined {
    return this.#facts.remoteAddress
  }

  get remotePort(): number | undefined {
    return this.#facts.remotePort
  }

  get remoteFamily(): 'IPv4' | 'IPv6' | undefined {
    return familyOf(this.#facts.remoteAddress)
  }

  /** Empty while connecting: `net.Socket`'s types know no `undefined` here. */
  get localAddress(): string {
    return this.#facts.localAddress ?? ''
  }

  get localPort(): number {
    return this.#facts.localPort ?? 0
  }

  get localFamily(): string {
    return familyOf(this.#facts.localAddress) ?? ''
  }

  /** The proven identity of the other end; `undefined` when the channel has none, and while connecting. */
  get peer(): SpiffeId | undefined {
    return this.#facts.peer
  }

  get pending(): boolean {
    return this.connecting
  }

  get bufferSize(): number {
    return this.writableLength
  }

  get readyState(): 'opening' | 'open' | 'readOnly' | 'writeOnly' | 'closed' {
    if (this.destroyed) return 'closed'
    if (this.connecting) return 'opening'
    if (this.writableEnded) return this.#readEnded ? 'closed' : 'readOnly'
    return this.#readEnded ? 'writeOnly' : 'open'
  }

  /**
   * For drivers that dial the stream they are given: the tunnel leads where it leads, arguments but a listener are ignored,
   * and `'connect'` follows. Who dials expects a socket that closes when the peer ends, so `allowHalfOpen` is off from now on.
   */
  connect(...given: readonly unknown[]): this {
    const listener = given.at(-1)
    if (typeof listener === 'function') this.once('connect', () => listener())
    this.allowHalfOpen = false
    if (!this.connecting) process.nextTick(() => this.#sayConnected())
    return this
  }

  address(): { address: string; port: number; family: string } | Record<string, never> {
    if (this.connecting) return {}
    return { address: this.localAddress, port: this.localPort, family: this.localFamily }
  }

  setNoDelay(_noDelay?: boolean): this {
    return this
  }

  setKeepAlive(_enable?: boolean, _initialDelayMs?: number): this {
    return this
  }

  /** The session beneath decides what keeps the process alive. */
  ref(): this {
    return this
  }

  unref(): this {
    return this
  }

  /**
   * Emits `'timeout'` after `timeoutMs` without activity, also while connecting; 0 turns it off.
   * @throws RangeError as `net.Socket`, when it is no length of time.
   */
  setTimeout(timeoutMs: number, listener?: () => void): this {
    if (!(timeoutMs >= 0 && Number.isFinite(timeoutMs)))
      throw Object.assign(new RangeError(`a timeout of ${String(timeoutMs)} ms`), {
        code: 'ERR_OUT_OF_RANGE',
      })
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.timeout = Math.min(timeoutMs, MAX_TIMEOUT_MS)
    if (timeoutMs === 0) {
      if (listener !== undefined) this.off('timeout', listener)
      return this
    }
    if (listener !== undefined) this.once('timeout', listener)
    if (this.destroyed) return this
    this.#timer = setTimeout(() => this.emit('timeout'), this.timeout)
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
    if (this.#channel !== undefined && !this.#over) {
      this.#over = true
      this.#channel.reset('INTERNAL_ERROR', 'reset by the user of the socket')
    }
    return this.destroy()
  }

  // The stream's own methods.

  /** A reset is heard when everything before it was read. */
  override read(size?: number): unknown {
    const bytes: unknown = super.read(size)
    const reset = this.readableLength === 0 ? this.#reset : undefined
    if (reset) process.nextTick(() => this.destroy(reset))
    return bytes
  }

  override _read(): void {
    this.#channel?.resume()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: Done): void {
    this.#send(chunk, done)
  }

  override _writev(chunks: { chunk: Buffer }[], done: Done): void {
    this.#send(Buffer.concat(chunks.map(entry => entry.chunk)), done)
  }

  override _final(done: Done): void {
    this.#ended = done
    this.#channel?.end()
  }

  override _destroy(error: Error | null, done: Done): void {
    for (const timer of [this.#timer, this.#closeTimer]) clearTimeout(timer)
    this.#opening?.abort(error ?? new Error('the socket was destroyed'))
    this.connecting = false
    if (!this.#over) this.#close(error)
    const [written, ended] = [this.#written, this.#ended]
    this.#unsent = undefined
    this.#written = undefined
    this.#ended = undefined
    done(error)
    process.nextTick(() => this.emit('close', error !== null))
    const lost = error ?? new Error('the socket was destroyed before its bytes were sent')
    written?.(lost)
    ended?.(lost)
  }

  /** Own ticks: an exception of a listener is the listener's, not a rejection of ours. */
  #open(open: OpenSocketTunnel): void {
    const opening = new AbortController()
    this.#opening = opening
    Promise.resolve()
      .then(() => open(opening.signal))
      .then(
        tunnel => process.nextTick(() => this.#onOpened(tunnel)),
        (error: unknown) => process.nextTick(() => this.#onFailed(error)),
      )
  }

  #onOpened(tunnel: Tunnel): void {
    this.#opening = undefined
    if (this.destroyed) return tunnel.channel.reset('CANCEL', 'nobody wants it any more')
    const { peer, local } = tunnel
    this.#facts = {
      remoteAddress: peer.address,
      remotePort: peer.port,
      localAddress: local.address,
      localPort: local.port,
      peer: peer.id,
    }
    this.connecting = false
    this.#use(tunnel.channel)
    this.#timer?.refresh()
    if (this.#unsent !== undefined) this.#advance()
    if (this.#ended !== undefined) tunnel.channel.end()
    this.#sayConnected()
  }

  #onFailed(error: unknown): void {
    this.#opening = undefined
    this.destroy(error instanceof Error ? error : new Error('no tunnel', { cause: error }))
  }

  #sayConnected(): void {
    if (this.destroyed) return
    this.emit('connect')
    this.emit('ready')
  }

  #use(channel: Channel): void {
    this.#channel = channel
    channel.start({
      data: bytes => this.#onData(bytes),
      end: () => this.#onEnd(),
      drained: () => this.#onDrained(),
      finished: () => this.#onFinished(),
      reset: reset => this.#onReset(reset),
    })
  }

  /** As a kernel closes a socket: an end when all is sent, a reset when not, and for whatever still arrives. */
  #close(error: Error | null): void {
    this.#over = true
    const channel = this.#channel
    if (channel === undefined) return
    if (error !== null || this.#written !== undefined || this.writableLength > 0 || this.readableLength > 0)
      return channel.reset('INTERNAL_ERROR', error?.message ?? 'destroyed with bytes unsent or unread')
    channel.end()
    if (this.#readEnded) return
    this.#closeTimer = setTimeout(() => this.#stopPeer('CANCEL'), CLOSE_WAIT_MS)
    this.#closeTimer.unref()
    channel.resume()
  }

  /** Nobody reads any more and our own direction is complete; CANCEL only as long as nothing was thrown away. */
  #stopPeer(code: 'CANCEL' | 'INTERNAL_ERROR'): void {
    clearTimeout(this.#closeTimer)
    this.#channel?.reset(code, 'the socket is closed')
  }

  #onData(bytes: Uint8Array): boolean {
    if (this.#over) {
      this.#stopPeer('INTERNAL_ERROR')
      return true
    }
    this.#timer?.refresh()
    this.bytesRead += bytes.length
    // The stream's queue keeps the view for as long as its reader likes.
    if (!this.push(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length))) this.#channel?.pause()
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
    this.#timer?.refresh()
    if (this.#unsent !== undefined) this.#advance()
    else this.#tellWritten()
  }

  #onFinished(): void {
    const done = this.#ended
    this.#ended = undefined
    done?.()
  }

  #onReset(reset: ChannelReset): void {
    clearTimeout(this.#closeTimer)
    this.#over = true
    const facts = { code: 'ECONNRESET', syscall: 'read' }
    const error = Object.assign(new Error(`read ECONNRESET: ${reset.reason}`, { cause: reset.cause }), facts)
    this.#reset = error
    if (this.readableLength === 0) this.destroy(error)
    else this.#closeTimer = setTimeout(() => this.destroy(error), RESET_WAIT_MS)
  }

  #send(bytes: Buffer, done: Done): void {
    this.#timer?.refresh()
    this.bytesWritten += bytes.length
    if (bytes.length === 0) return done()
    this.#written = done
    this.#unsent = bytes
    if (this.#channel !== undefined) this.#advance()
  }

  /** Gives the channel what it takes at once; `#onDrained` goes on with the rest. */
  #advance(): void {
    for (;;) {
      const bytes = this.#unsent
      if (bytes === undefined) return this.#tellWritten()
      const isWhole = this.timeout === 0 || bytes.length <= PIECE_BYTES
      this.#unsent = isWhole ? undefined : bytes.subarray(PIECE_BYTES)
      if (this.#channel?.write(isWhole ? bytes : bytes.subarray(0, PIECE_BYTES)) !== true) return
    }
  }

  #tellWritten(): void {
    const done = this.#written
    this.#written = undefined
    done?.()
  }
}

function familyOf(address: string | undefined): 'IPv4' | 'IPv6' | undefined {
  if (address === undefined) return undefined
  return address.includes(':') ? 'IPv6' : 'IPv4'
}
