/**
 * The engine without TLS, for tools that test HTTP/2 itself. Nobody proves who they are here, so a request says where it
 * came from and no more: nothing that decides may take it.
 */
import type { Socket } from 'node:net'
import {
  canonicalIp,
  type Clock,
  formatHostPort,
  type Logger,
  silentLogger,
  systemClock,
} from '@ambient/core'
import { HboneError } from '../errors.ts'
import { answerBadRequest } from '../http2/bad-request.ts'
import { Http2Connection } from '../http2/connection.ts'
import type { RequestHead } from '../http2/message.ts'
import type { Http2Stream } from '../http2/stream.ts'
import { type HboneLimits, resolveLimits } from '../limits.ts'
import type { TunnelRequest } from '../server.ts'
import type { SocketAddress } from '../tunnel.ts'
import { AnswerableRequest, type ConnectHead, handOut } from '../tunnel-request.ts'

/**
 * The least that HTTP/2 allows, and what every peer may send unasked: conformance tools take a longer frame for one that
 * is too long, whatever SETTINGS say.
 */
const PLAIN_FRAME_BYTES = 16_384

/** One CONNECT of nobody in particular. Answer it as a `TunnelRequest`. */
export interface PlaintextRequest extends Omit<TunnelRequest, 'peer'> {
  readonly source: SocketAddress
}

export interface PlaintextServerOptions {
  /** An exception or rejection is answered 503 and logged. */
  readonly onTunnel: (request: PlaintextRequest) => void | Promise<void>
  /** Frames are 16 KiB here unless this says otherwise. */
  readonly limits?: Partial<HboneLimits>
  readonly clock?: Clock
  readonly logger?: Logger
}

export interface PlaintextServer {
  /** Takes an accepted TCP socket, half-open and not yet read from. Never throws. */
  accept(socket: Socket): void
  readonly sessions: number
  readonly tunnels: number
  /** Takes no more sockets, lets tunnels finish for `graceMs`, then cuts them. Idempotent. */
  close(options?: { readonly graceMs?: number }): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/**
 * HTTP/2 with prior knowledge and CONNECT only, over sockets that were accepted elsewhere. For loopback and test tools.
 * @throws HboneError `AMBIENT_E_HBONE_OPTION` that names the limit.
 */
export function createPlaintextServer(options: PlaintextServerOptions): PlaintextServer {
  return new Server(options)
}

class Server implements PlaintextServer {
  readonly #options: PlaintextServerOptions
  readonly #limits: HboneLimits
  readonly #clock: Clock
  readonly #logger: Logger
  /** Sessions whose TCP connection is not closed yet. */
  readonly #open = new Set<Http2Connection>()
  #closing: Promise<void> | undefined
  #onEmpty: (() => void) | undefined

  constructor(options: PlaintextServerOptions) {
    this.#options = options
    this.#limits = resolveLimits({ maxFrameBytes: PLAIN_FRAME_BYTES, ...options.limits })
    this.#clock = options.clock ?? systemClock
    this.#logger = options.logger ?? silentLogger
  }

  get sessions(): number {
    return this.#open.size
  }

  get tunnels(): number {
    let sum = 0
    for (const session of this.#open) sum += session.streams.size
    return sum
  }

  accept(socket: Socket): void {
    socket.on('error', () => {})
    if (this.#closing !== undefined) return void socket.destroy()
    socket.setNoDelay(true)
    const source = endOf(socket.remoteAddress, socket.remotePort)
    const local = endOf(socket.localAddress, socket.localPort)
    const session: Http2Connection = new Http2Connection({
      role: 'server',
      transport: socket,
      peer: formatHostPort(source.address, source.port),
      limits: this.#limits,
      clock: this.#clock,
      handlers: {
        onRequest: (stream, head) => this.#onRequest(stream, head, source, local),
        onClosed: error => {
          if (error !== undefined) this.#logger.debug({ error: error.message }, 'plaintext session ended')
        },
        onGone: () => {
          this.#open.delete(session)
          if (this.#open.size === 0) this.#onEmpty?.()
        },
      },
    })
    this.#open.add(session)
    session.start()
    // Accepted sockets come paused.
    socket.resume()
  }

  close({ graceMs = this.#limits.graceMs }: { readonly graceMs?: number } = {}): Promise<void> {
    this.#closing ??= this.#close(graceMs)
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #onRequest(
    stream: Http2Stream,
    head: Exclude<RequestHead, { kind: 'malformed' }>,
    source: SocketAddress,
    local: SocketAddress,
  ): void {
    if (head.kind === 'refused')
      return answerBadRequest(stream, head, { clock: this.#clock, waitMs: this.#limits.lingerMs })
    handOut(new Request(head, stream, source, local), this.#options.onTunnel, this.#logger)
  }

  async #close(graceMs: number): Promise<void> {
    for (const session of [...this.#open]) session.drain()
    const cut = (): void => {
      const error = new HboneError('AMBIENT_E_CLOSED', 'the server is closing', { h2Code: 'NO_ERROR' })
      for (const session of [...this.#open]) session.cut(error)
    }
    if (graceMs <= 0) cut()
    if (this.#open.size === 0) return
    const empty = new Promise<void>(resolve => {
      this.#onEmpty = resolve
    })
    const timer = this.#clock.after(graceMs, cut, { keepAlive: true })
    await empty
    timer.cancel()
  }
}

class Request extends AnswerableRequest implements PlaintextRequest {
  readonly source: SocketAddress

  constructor(head: ConnectHead, stream: Http2Stream, source: SocketAddress, local: SocketAddress) {
    super(head, stream, local)
    this.source = source
  }
}

function endOf(address: string | undefined, port: number | undefined): SocketAddress {
  return { address: canonicalIp(address ?? '') ?? '', port: port ?? 0 }
}
