/** grpc-js servers behind tunnels: each tunnel becomes a connection of the server, and handlers know its proven peer. */
import { type Clock, formatHostPort, systemClock } from '@ambient/core'
import type * as grpc from '@grpc/grpc-js'
import { HboneError } from '../errors.ts'
import { peerOf as peerOfHolder, rememberPeer } from '../http/peer.ts'
import type { TunnelVerdict } from '../http/tunnel-handler.ts'
import { defaultLimits } from '../limits.ts'
import { type MeshedServer, serveHandler, type ServeOptions } from '../serve-handler.ts'
import type { TunnelRequest } from '../server.ts'
import type { TunnelPeer } from '../tunnel.ts'
import { createTunnelSocket, type TunnelSocket } from '../tunnel-socket.ts'
import { type Grpc, loadGrpc } from './load.ts'

export interface GrpcTunnelHandlerOptions {
  /**
   * Asked before CONNECT is answered, and before a byte of the tunnel is looked at. A refusal is 401. The permit of an
   * admission is released when the connection ends; when it is withdrawn, the connection is cut. Default: whoever proved an
   * identity that the HBONE server takes.
   */
  readonly authorize?: (request: TunnelRequest) => TunnelVerdict | Promise<TunnelVerdict>
  readonly clock?: Clock
}

/** What `onTunnel` of an HBONE server is given. */
export interface GrpcTunnelHandler {
  (request: TunnelRequest): Promise<void>
  /** Tunnels that are connections of the server now. */
  readonly connections: number
  /**
   * GOAWAY on every connection, calls under way finish; new tunnels are refused with 503. What is left after `graceMs`
   * (default 5,000) is cut. Resolves when no connection is left. Idempotent.
   */
  close(options?: { readonly graceMs?: number }): Promise<void>
}

export interface ServeGrpcOptions extends ServeOptions, GrpcTunnelHandlerOptions {}

export interface MeshedGrpcServer extends MeshedServer {}

/**
 * The proven other end of the tunnel that a call came through; `undefined` when it came another way. Read from the connection
 * only: no metadata counts. Behind a waypoint the peer is the waypoint; `peersOf` of `@ambient/hbone` tells whom it spoke for.
 */
export function peerOf(call: { getAuthContext(): object }): TunnelPeer | undefined {
  return peerOfHolder(call.getAuthContext())
}

/**
 * Listens for HBONE and hands each tunnel to `server`, whatever its authority; the server need not be bound to a port. Handlers
 * ask {@link peerOf} who calls, and `call.getPeer()` is the address of the peer.
 * @throws CoreError `AMBIENT_E_LISTEN`; HboneError `AMBIENT_E_HBONE_DEPENDENCY`.
 */
export async function serveGrpc(server: grpc.Server, options: ServeGrpcOptions): Promise<MeshedGrpcServer> {
  const { authorize, ...serving } = options
  const handler = createGrpcTunnelHandler(server, {
    ...(authorize === undefined ? {} : { authorize }),
    ...(options.clock === undefined ? {} : { clock: options.clock }),
  })
  return serveHandler(handler, serving)
}

/**
 * Hands tunnels to `server` as its connections. The server stays the caller's.
 * @throws HboneError `AMBIENT_E_HBONE_DEPENDENCY`: grpc-js is missing, of another minor than 1.14, or a second copy of it is
 *   installed and made this server.
 */
export function createGrpcTunnelHandler(
  server: grpc.Server,
  options: GrpcTunnelHandlerOptions = {},
): GrpcTunnelHandler {
  const room = new GrpcRoom(server, options.clock ?? systemClock)
  const onTunnel = async (request: TunnelRequest): Promise<void> => {
    const asked = options.authorize?.(request) ?? true
    // Not awaited without need: a permit must be followed from the moment it was given.
    const verdict = asked instanceof Promise ? await asked : asked
    if (verdict === false || (verdict !== true && !verdict.allowed)) return request.refuse(401)
    const permit = verdict === true ? undefined : verdict.permit
    if (room.isClosing || request.signal.aborted) {
      permit?.release()
      return request.refuse(503)
    }
    const socket = room.enter(request)
    if (permit === undefined) return
    socket.once('close', () => permit.release())
    permit.onWithdrawn = denial =>
      socket.destroy(new HboneError('AMBIENT_E_CLOSED', denial.reason, { layer: 'policy' }))
  }
  const close = ({ graceMs = defaultLimits.graceMs }: { readonly graceMs?: number } = {}): Promise<void> =>
    room.close(graceMs)
  const handler = Object.assign(onTunnel, { close, connections: 0 })
  return Object.defineProperty(handler, 'connections', { get: () => room.size })
}

class GrpcRoom {
  readonly #grpc: Grpc
  readonly #server: grpc.Server
  readonly #clock: Clock
  readonly #connections = new Map<TunnelSocket, grpc.ConnectionInjector>()
  #closing: Promise<void> | undefined
  #onEmpty: (() => void) | undefined

  constructor(server: grpc.Server, clock: Clock) {
    this.#grpc = loadGrpc()
    this.#server = server
    this.#clock = clock
    if (!(server instanceof this.#grpc.Server))
      throw new HboneError(
        'AMBIENT_E_HBONE_DEPENDENCY',
        'this is not a Server of the @grpc/grpc-js that is found from here: two copies of it are installed (npm ls @grpc/grpc-js)',
        { layer: 'config' },
      )
  }

  get isClosing(): boolean {
    return this.#closing !== undefined
  }

  get size(): number {
    return this.#connections.size
  }

  /** An injector of its own for each tunnel: that is what its calls have in common, whoever sends what metadata. */
  enter(request: TunnelRequest): TunnelSocket {
    const { peer, local } = request
    const injector = this.#server.createConnectionInjector(credentialsOf(this.#grpc, peer))
    const socket = createTunnelSocket(request.accept(), {
      remoteAddress: peer.address,
      remotePort: peer.port,
      localAddress: local.address,
      localPort: local.port,
      peer: peer.id,
    })
    this.#connections.set(socket, injector)
    socket.on('error', () => {})
    socket.once('close', () => {
      this.#connections.delete(socket)
      injector.destroy()
      if (this.#connections.size === 0) this.#onEmpty?.()
    })
    injector.injectConnection(socket)
    return socket
  }

  close(graceMs: number): Promise<void> {
    this.#closing ??= this.#close(graceMs)
    return this.#closing
  }

  async #close(graceMs: number): Promise<void> {
    if (this.#connections.size === 0) return
    const empty = new Promise<void>(resolve => {
      this.#onEmpty = resolve
    })
    // GOAWAY; `drain` would do the same and leave a timer behind.
    for (const injector of this.#connections.values()) injector.destroy()
    const cut = (): void => {
      for (const socket of [...this.#connections.keys()])
        socket.destroy(new HboneError('AMBIENT_E_CLOSED', 'connection closed due to connection drain'))
    }
    const timer = this.#clock.after(graceMs, cut, { keepAlive: true })
    await empty
    timer.cancel()
  }
}

function credentialsOf(loaded: Grpc, peer: TunnelPeer): grpc.ServerCredentials {
  const context = { transportSecurityType: 'hbone' }
  rememberPeer(context, peer)
  const address = formatHostPort(peer.address, peer.port)
  class PeerCall extends loaded.ServerInterceptingCall {
    override getAuthContext(): ReturnType<grpc.ServerInterceptingCall['getAuthContext']> {
      return context
    }

    override getPeer(): string {
      return address
    }
  }
  return loaded.experimental.createServerCredentialsWithInterceptors(
    loaded.ServerCredentials.createInsecure(),
    [(_method, call) => new PeerCall(call)],
  )
}
