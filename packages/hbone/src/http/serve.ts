/** A meshed HTTP server in one call. */
import type { Server } from 'node:http'
import { type MeshedServer, serveHandler, type ServeOptions } from '../serve-handler.ts'
import { createHttpTunnelHandler, type HttpTunnelHandlerOptions } from './tunnel-handler.ts'

export interface ServeHttpOptions extends ServeOptions, HttpTunnelHandlerOptions {}

export interface MeshedHttpServer extends MeshedServer {}

/**
 * Listens for HBONE and hands each tunnel to `server` (that of Express, Fastify, Koa, Hono's Node adapter, or one's own),
 * whatever its authority. Handlers ask {@link peerOf} who calls.
 * @throws CoreError `AMBIENT_E_LISTEN`.
 */
export async function serveHttp(server: Server, options: ServeHttpOptions): Promise<MeshedHttpServer> {
  const { authorize, ...serving } = options
  const handler = createHttpTunnelHandler(server, {
    ...(authorize === undefined ? {} : { authorize }),
    ...(options.clock === undefined ? {} : { clock: options.clock }),
  })
  return serveHandler(handler, serving)
}
