/**
 * Any `http.Server` behind tunnels: each tunnel becomes a connection of the server, with the proven peer on it. The server
 * need not listen; when it does, its plain connections are not touched here.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { type Admission, type Clock, type Permit, systemClock, type Timer } from '@ambient/core'
import { HboneError } from '../errors.ts'
import { defaultLimits } from '../limits.ts'
import type { TunnelRequest } from '../server.ts'
import { createTunnelSocket, type TunnelSocket } from '../tunnel-socket.ts'
import { rememberPeer } from './peer.ts'

/** An `Authorizer`'s admission, or a plain yes or no. */
export type TunnelVerdict = Admission | boolean

export interface HttpTunnelHandlerOptions {
  /**
   * Asked before CONNECT is answered, and before a byte of the tunnel is looked at. A refusal is 401, a rejection 503. The
   * permit of an admission is released when the connection ends; when it is withdrawn, the connection is cut. Default:
   * whoever proved an identity that the HBONE server takes.
   */
  readonly authorize?: (request: TunnelRequest) => TunnelVerdict | Promise<TunnelVerdict>
  readonly clock?: Clock
}

/** What `onTunnel` of an HBONE server is given. */
export interface HttpTunnelHandler {
  (request: TunnelRequest): Promise<void>
  /** Tunnels that are connections of the server now. */
  readonly connections: number
  /**
   * Responses that begin from now on say `Connection: close`, connections without a request for a second are ended, and new
   * tunnels are refused with 503.
   */
  drain(): void
  /** Drains, and cuts what is left after `graceMs` (default 5,000). Resolves when no connection is left. Idempotent. */
  close(options?: { readonly graceMs?: number }): Promise<void>
}

/** As a waypoint: a caller that has not heard of the end may have sent a request already. */
const DRAIN_IDLE_MS = 1_000

/** Hands tunnels to `server` as its connections. The server stays the caller's. */
export function createHttpTunnelHandler(
  server: Server,
  options: HttpTunnelHandlerOptions = {},
): HttpTunnelHandler {
  const room = new HttpRoom(server, options.clock ?? systemClock)
  const onTunnel = async (request: TunnelRequest): Promise<void> => {
    if (room.isDraining) return request.refuse(503)
    const asked = options.authorize?.(request) ?? true
    // Not awaited without need: a permit must be followed from the moment it was given.
    const verdict = readVerdict(asked instanceof Promise ? await asked : asked)
    if (verdict === undefined) return request.refuse(401)
    if (room.isDraining || request.signal.aborted) {
      verdict.permit?.release()
      return request.refuse(503)
    }
    room.enter(request, verdict.permit)
  }
  const controls = {
    drain: () => room.drain(),
    close: ({ graceMs = defaultLimits.graceMs }: { readonly graceMs?: number } = {}) => room.close(graceMs),
  }
  const handler = Object.assign(onTunnel, controls)
  return Object.defineProperty(Object.assign(handler, { connections: 0 }), 'connections', {
    get: () => room.size,
  })
}

function readVerdict(verdict: TunnelVerdict): { readonly permit?: Permit } | undefined {
  if (typeof verdict === 'boolean') return verdict ? {} : undefined
  return verdict.allowed ? { permit: verdict.permit } : undefined
}

class HttpRoom {
  readonly #server: Server
  readonly #clock: Clock
  readonly #connections = new Map<Duplex, HttpConnection>()
  #closing: Promise<void> | undefined
  #onEmpty: (() => void) | undefined
  isDraining = false

  constructor(server: Server, clock: Clock) {
    this.#server = server
    this.#clock = clock
    server.prependListener('request', this.#onRequest)
    followTimes(server)
  }

  get size(): number {
    return this.#connections.size
  }

  enter(request: TunnelRequest, permit: Permit | undefined): void {
    const { peer, local } = request
    const socket = createTunnelSocket(request.accept(), {
      remoteAddress: peer.address,
      remotePort: peer.port,
      localAddress: local.address,
      localPort: local.port,
      peer: peer.id,
    })
    rememberPeer(socket, peer)
    const connection = new HttpConnection(socket, this.#clock)
    this.#connections.set(socket, connection)
    endAfterRefusals(socket, () => connection.isAnswering)
    // After an upgrade nobody else may listen, and a caller's reset must not end the process.
    socket.on('error', () => {})
    socket.once('close', () => {
      this.#connections.delete(socket)
      permit?.release()
      if (this.#connections.size === 0) this.#onEmpty?.()
    })
    if (permit !== undefined)
      permit.onWithdrawn = denial =>
        socket.destroy(new HboneError('AMBIENT_E_CLOSED', denial.reason, { layer: 'policy' }))
    this.#server.emit('connection', socket)
  }

  drain(): void {
    this.isDraining = true
    for (const connection of this.#connections.values()) connection.drain()
  }

  close(graceMs: number): Promise<void> {
    this.#closing ??= this.#close(graceMs).finally(() => this.#server.off('request', this.#onRequest))
    return this.#closing
  }

  async #close(graceMs: number): Promise<void> {
    this.drain()
    if (this.#connections.size === 0) return
    const empty = new Promise<void>(resolve => {
      this.#onEmpty = resolve
    })
    const cut = (): void => {
      for (const socket of [...this.#connections.keys()])
        socket.destroy(new HboneError('AMBIENT_E_CLOSED', 'connection closed due to connection drain'))
    }
    if (graceMs <= 0) cut()
    const timer = this.#clock.after(graceMs, cut, { keepAlive: true })
    await empty
    timer.cancel()
  }

  readonly #onRequest = (request: IncomingMessage, response: ServerResponse): void =>
    this.#connections.get(request.socket)?.take(response)
}

/** One tunnel as a connection of the server: whether it has requests, and its end when it should have no more. */
class HttpConnection {
  readonly #socket: TunnelSocket
  readonly #clock: Clock
  readonly #responses = new Set<ServerResponse>()
  /** Bytes read when the last request was answered: more of them are a request under way, or no HTTP any more. */
  #quietAt = 0
  #isDraining = false
  #timer: Timer | undefined

  constructor(socket: TunnelSocket, clock: Clock) {
    this.#socket = socket
    this.#clock = clock
    socket.once('close', () => this.#timer?.cancel())
  }

  /** An answer has begun and is not complete. */
  get isAnswering(): boolean {
    return [...this.#responses].some(response => response.headersSent && !response.writableFinished)
  }

  take(response: ServerResponse): void {
    this.#timer?.cancel()
    this.#responses.add(response)
    if (this.#isDraining) response.shouldKeepAlive = false
    response.once('close', () => {
      this.#responses.delete(response)
      this.#quietAt = this.#socket.bytesRead
      if (this.#isDraining) this.#endWhenIdle()
    })
  }

  drain(): void {
    if (this.#isDraining) return
    this.#isDraining = true
    const last = [...this.#responses].at(-1)
    if (last !== undefined) last.shouldKeepAlive = false
    this.#endWhenIdle()
  }

  #endWhenIdle(): void {
    if (this.#responses.size > 0 || this.#socket.destroyed) return
    this.#timer?.cancel()
    this.#timer = this.#clock.after(DRAIN_IDLE_MS, () => {
      if (this.#responses.size === 0 && this.#socket.bytesRead === this.#quietAt) this.#socket.destroySoon()
    })
  }
}

/**
 * Node answers what it cannot read (400, 408, 413, 431) and destroys the connection with the parser's error. Over TCP that
 * is an end; a tunnel would be cut, and the answer, which lasts until the end, with it.
 */
function endAfterRefusals(socket: TunnelSocket, isAnswering: () => boolean): void {
  const destroy = socket.destroy.bind(socket)
  socket.destroy = error => {
    const code: unknown = error !== undefined && 'code' in error ? error.code : undefined
    const isRefusal =
      typeof code === 'string' && (code.startsWith('HPE_') || code === 'ERR_HTTP_REQUEST_TIMEOUT')
    if (!isRefusal || isAnswering() || socket.destroyed) return destroy(error)
    // What still comes is nobody's.
    socket.resume().destroySoon()
    return socket
  }
}

/**
 * `headersTimeout` and `requestTimeout` hold only while Node looks after the server's connections, which it begins to do when
 * the server listens. This one may never listen, and to be asked slowly costs as much through a tunnel.
 */
function followTimes(server: Server): void {
  if (server.listening) return
  const begin = server.listeners('listening').find(listener => listener.name === 'setupConnectionsTracking')
  begin?.call(server)
}
