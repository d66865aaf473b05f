/** Who sent a request: what the tunnel beneath its connection proved. */
import type { TunnelPeer } from '../tunnel.ts'

/** Registered, so that the ESM and the CJS copy of this package know each other's connections. */
const PEER = Symbol.for('ambient.hbone.peer')

/**
 * The proven other end of the tunnel that a request came through; `undefined` when it came another way. Read from the
 * connection only: nothing that a request says of itself counts. Behind a waypoint the peer is the waypoint; `peersOf` of
 * `@ambient/hbone` tells whom it spoke for.
 *
 * @param request what has the connection as its `socket`: Node's and Express's request, Fastify's (or its `raw`), Koa's `req`,
 *   Hono's `c.env.incoming`, the request that `ws` gives with a connection; or the connection itself.
 */
export function peerOf(request: object): TunnelPeer | undefined {
  const socket: unknown = 'socket' in request ? request.socket : request
  return isKnown(socket) ? socket[PEER] : undefined
}

export function rememberPeer(socket: object, peer: TunnelPeer): void {
  Object.defineProperty(socket, PEER, { value: peer })
}

function isKnown(socket: unknown): socket is { readonly [PEER]: TunnelPeer } {
  return typeof socket === 'object' && socket !== null && PEER in socket
}
