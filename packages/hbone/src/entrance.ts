/**
 * A local listener in front of HBONE, whatever its clients speak: accepts, has them say where to, opens the tunnel, answers,
 * and copies until both sides ended. SOCKS5 and HTTP CONNECT are the two protocols.
 */
import type { Socket } from 'node:net'
import {
  canonicalIp,
  type Clock,
  createDrain,
  type Drain,
  formatHostPort,
  isLoopback,
  type Logger,
  messageOf,
  pump,
  quoteText,
  readHostPort,
  silentLogger,
  systemClock,
} from '@ambient/core'
import { type Bind, type Listener, listen, socketChannel } from '@ambient/core/node'
import { type ProxyLimits, resolveProxyLimits } from './defaults.ts'
import type { OpenTunnel, TunnelTarget } from './dialler.ts'
import { HboneError } from './errors.ts'
import { checkFunction, checkListen, checkOptionalFunction, checkOptions } from './option-checks.ts'
import type { SocketAddress, Tunnel } from './tunnel.ts'

/** Whether a client may use the listener. One that rejects, or takes longer than `limits.requestMs`, lets nobody in. */
export type CheckLogin = (username: string, password: string) => boolean | Promise<boolean>

/** A client that got no tunnel, or whose tunnel could not be opened; it has been told as far as its protocol can say. */
export interface ProxyFailure {
  readonly source: SocketAddress
  /** Absent when the client did not come to say it. */
  readonly target?: TunnelTarget
  readonly error: HboneError
}

export interface ProxyListenerOptions {
  readonly open: OpenTunnel
  /** `port` 0 for any. Whoever reaches it acts with our identity, so an address that is not loopback needs a `checkLogin`. */
  readonly listen: { readonly host: string; readonly port: number; readonly bind?: Bind }
  /** Absent: no user name and password are asked for. */
  readonly checkLogin?: CheckLogin
  readonly onFailure?: (failure: ProxyFailure) => void
  readonly limits?: Partial<ProxyLimits>
  readonly clock?: Clock
  readonly logger?: Logger
}

export interface ProxyListener {
  /** Binds. @throws CoreError `AMBIENT_E_LISTEN`; HboneError `AMBIENT_E_CLOSED` after `close()`. */
  start(): Promise<void>
  /** Bound after `start`. */
  readonly address: string
  readonly port: number
  /** Clients, those that negotiate included. */
  readonly connections: number
  /** Takes no more clients, lets connections finish for `graceMs`, then cuts them. Idempotent. */
  close(options?: { readonly graceMs?: number }): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** A client that has said where to. */
export interface Caller {
  readonly target: TunnelTarget
  /** Tells the client that bytes flow from now on. */
  accept(tunnel: Tunnel): void
  /** Tells the client why not. */
  refuse(error: HboneError): void
}

export interface Negotiation {
  readonly limits: ProxyLimits
  readonly clock: Clock
  readonly checkLogin: CheckLogin | undefined
}

/** @throws HboneError; what the protocol can say of it has been said. */
export type Negotiate = (socket: Socket, options: Negotiation) => Promise<Caller>

/** @throws HboneError `AMBIENT_E_HBONE_OPTION`. */
export function createEntrance(options: ProxyListenerOptions, negotiate: Negotiate): ProxyListener {
  checkOptions(options)
  checkFunction('open', options.open)
  checkListen('listen', options.listen)
  checkOptionalFunction('checkLogin', options.checkLogin)
  checkOptionalFunction('onFailure', options.onFailure)
  const { host } = options.listen
  // A name that begins as a loopback address (`127.example.com`) leads wherever its owner likes.
  if (!isLoopback(canonicalIp(host) ?? '') && options.checkLogin === undefined)
    throw new HboneError(
      'AMBIENT_E_HBONE_OPTION',
      `listen.host ${host} is not loopback: whoever reaches it would act with our identity; give a checkLogin`,
      { layer: 'config' },
    )
  return new Entrance(options, negotiate)
}

class Entrance implements ProxyListener {
  readonly #options: ProxyListenerOptions
  readonly #negotiate: Negotiate
  readonly #negotiation: Negotiation
  readonly #logger: Logger
  readonly #drain: Drain
  readonly #sockets = new Set<Socket>()
  #pending = 0
  #starting: Promise<Listener> | undefined
  #listener: Listener | undefined
  #closing: Promise<void> | undefined

  constructor(options: ProxyListenerOptions, negotiate: Negotiate) {
    const clock = options.clock ?? systemClock
    this.#options = options
    this.#negotiate = negotiate
    this.#negotiation = Object.freeze({
      limits: resolveProxyLimits(options.limits),
      clock,
      checkLogin: options.checkLogin,
    })
    this.#logger = options.logger ?? silentLogger
    this.#drain = createDrain(clock)
  }

  get address(): string {
    return this.#listener?.address ?? this.#options.listen.host
  }

  get port(): number {
    return this.#listener?.port ?? this.#options.listen.port
  }

  get connections(): number {
    return this.#sockets.size
  }

  async start(): Promise<void> {
    if (this.#closing !== undefined) throw new HboneError('AMBIENT_E_CLOSED', 'the listener is closed')
    this.#starting ??= listen({ ...this.#options.listen, onConnection: socket => this.#accept(socket) })
    this.#listener = await this.#starting
  }

  close(options: { readonly graceMs?: number } = {}): Promise<void> {
    this.#closing ??= this.#close(options.graceMs ?? this.#negotiation.limits.graceMs)
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #accept(socket: Socket): void {
    const { maxConnections, maxPendingRequests } = this.#negotiation.limits
    socket.on('error', () => {})
    if (this.#sockets.size >= maxConnections || this.#pending >= maxPendingRequests) {
      this.#logger.warn({ connections: this.#sockets.size, pending: this.#pending }, 'a client too many')
      socket.destroy()
      return
    }
    const lease = this.#drain.hold()
    this.#sockets.add(socket)
    socket.once('close', () => {
      this.#sockets.delete(socket)
      lease.release()
    })
    void this.#serve(socket, lease.forced)
  }

  /** Never rejects; when it resolves, the socket is closed or about to be. */
  async #serve(socket: Socket, forced: AbortSignal): Promise<void> {
    const tunnel = await this.#connect(socket, forced)
    if (tunnel === undefined) return this.#linger(socket)
    await pump(socketChannel(socket), tunnel.channel, { signal: forced, clock: this.#negotiation.clock })
  }

  async #connect(socket: Socket, forced: AbortSignal): Promise<Tunnel | undefined> {
    const source = endOf(socket)
    const report = (error: HboneError, target?: TunnelTarget): void =>
      this.#tell({ source, error, ...(target === undefined ? {} : { target }) })
    const leaving = leavingSignal(socket, forced)
    this.#pending++
    try {
      const caller = await this.#negotiate(socket, this.#negotiation)
      try {
        const tunnel = await this.#options.open(checkedTarget(caller.target), { signal: leaving.signal })
        caller.accept(tunnel)
        return tunnel
      } catch (cause) {
        const error = asHboneError(cause, caller.target)
        caller.refuse(error)
        report(error, caller.target)
      }
    } catch (cause) {
      report(asHboneError(cause))
    } finally {
      this.#pending--
      leaving.stop()
    }
    return undefined
  }

  /** A listener that throws must not end the process, nor keep a client from its answer. */
  #tell(failure: ProxyFailure): void {
    try {
      this.#options.onFailure?.(failure)
    } catch (error) {
      this.#logger.error({ error: messageOf(error) }, 'listener failed')
    }
  }

  /** What the client sent meanwhile is read over, so that it sees the answer and not a reset. */
  #linger(socket: Socket): void {
    const { clock, limits } = this.#negotiation
    if (socket.destroyed) return
    const timer = clock.after(limits.refusalMs, () => socket.destroy())
    socket.once('close', () => timer.cancel())
    socket.once('end', () => socket.destroySoon())
    socket.end()
    socket.resume()
  }

  async #close(graceMs: number): Promise<void> {
    await this.#starting?.then(
      listener => listener.close(),
      () => {},
    )
    const cut = (): void => {
      for (const socket of this.#sockets) socket.resetAndDestroy()
    }
    const timer = this.#negotiation.clock.after(graceMs, cut, { keepAlive: true })
    if (graceMs <= 0) cut()
    await this.#drain.start({ graceMs })
    timer.cancel()
  }
}

/** Aborted when the client is gone or everything is to end: nobody waits for the tunnel any more. */
function leavingSignal(socket: Socket, forced: AbortSignal): { signal: AbortSignal; stop(): void } {
  const controller = new AbortController()
  const abort = (): void =>
    controller.abort(new HboneError('AMBIENT_E_CLOSED', 'the client left, or the listener closes'))
  socket.once('close', abort)
  forced.addEventListener('abort', abort)
  if (forced.aborted) abort()
  return {
    signal: controller.signal,
    stop() {
      socket.off('close', abort)
      forced.removeEventListener('abort', abort)
    },
  }
}

/** Strict, because it becomes the authority of a CONNECT. @throws HboneError `AMBIENT_E_HBONE_OPTION`. */
function checkedTarget({ host, port }: TunnelTarget): TunnelTarget {
  const read = readHostPort(formatHostPort(host, port))
  if (read.ok) return { host: read.value.host, port: read.value.port }
  const message = `the target ${quoteText(host)} cannot be asked for: ${read.reason}`
  throw new HboneError('AMBIENT_E_HBONE_OPTION', message)
}

function asHboneError(cause: unknown, target?: TunnelTarget): HboneError {
  if (cause instanceof HboneError) return cause
  const subject = target === undefined ? 'the client' : formatHostPort(target.host, target.port)
  return new HboneError('AMBIENT_E_HBONE_UNREACHABLE', `no tunnel for ${subject}: ${messageOf(cause)}`, {
    cause,
  })
}

function endOf(socket: Socket): SocketAddress {
  return { address: canonicalIp(socket.remoteAddress ?? '') ?? '', port: socket.remotePort ?? 0 }
}
