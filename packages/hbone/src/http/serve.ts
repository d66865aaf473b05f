/** A meshed HTTP server in one call: TCP, mTLS, HBONE and the server of an application. */
import type { Server } from 'node:http'
import { listen } from '@ambient/core/node'
import { defaultLimits } from '../limits.ts'
import { createHboneServer, type HboneServerOptions } from '../server.ts'
import { createHttpTunnelHandler, type HttpTunnelHandlerOptions } from './tunnel-handler.ts'

/** Where HBONE listens. */
const HBONE_PORT = 15_008

export interface ServeHttpOptions extends Omit<HboneServerOptions, 'onTunnel'>, HttpTunnelHandlerOptions {
  /** Address to listen on; an IP literal. */
  readonly host: string
  /** Default 15008, HBONE's; 0 for any free one. */
  readonly port?: number
}

export interface MeshedHttpServer {
  /** Canonical IP. */
  readonly address: string
  readonly port: number
  /** Tunnels that are connections of the server now. */
  readonly connections: number
  /**
   * Stops listening, says goodbye on each session, lets requests finish for `graceMs` (default 5,000), then cuts what is left.
   * Resolves when every connection is closed; the `http.Server` itself stays the caller's. Idempotent.
   */
  close(options?: { readonly graceMs?: number }): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/**
 * Listens for HBONE and hands each tunnel to `server` (that of Express, Fastify, Koa, Hono's Node adapter, or one's own),
 * whatever its authority. Handlers ask {@link peerOf} who calls.
 * @throws CoreError `AMBIENT_E_LISTEN`.
 */
export async function serveHttp(server: Server, options: ServeHttpOptions): Promise<MeshedHttpServer> {
  const { host, port = HBONE_PORT, authorize, ...hboneOptions } = options
  const handler = createHttpTunnelHandler(server, {
    ...(authorize === undefined ? {} : { authorize }),
    ...(options.clock === undefined ? {} : { clock: options.clock }),
  })
  const hbone = createHboneServer({ ...hboneOptions, onTunnel: handler })
  const listener = await listen({ host, port, onConnection: socket => hbone.accept(socket) })
  const close = async ({
    graceMs = options.limits?.graceMs ?? defaultLimits.graceMs,
  } = {}): Promise<void> => {
    await Promise.all([listener.close(), handler.close({ graceMs }), hbone.close({ graceMs })])
  }
  return {
    address: listener.address,
    port: listener.port,
    get connections() {
      return handler.connections
    },
    close,
    [Symbol.asyncDispose]: () => close(),
  }
}
