/** A server in one call, whatever is spoken in its tunnels: TCP, mTLS, HBONE and the handler that takes the tunnels. */
import { listen } from '@ambient/core/node'
import { defaultLimits } from './limits.ts'
import { createHboneServer, type HboneServerOptions, type TunnelRequest } from './server.ts'

/** Where HBONE listens. */
const HBONE_PORT = 15_008

export interface ServeOptions extends Omit<HboneServerOptions, 'onTunnel'> {
  /** Address to listen on; an IP literal. */
  readonly host: string
  /** Default 15008, HBONE's; 0 for any free one. */
  readonly port?: number
}

/** Takes tunnels as connections of a server. */
export interface ConnectionHandler {
  (request: TunnelRequest): Promise<void>
  readonly connections: number
  close(options?: { readonly graceMs?: number }): Promise<void>
}

export interface MeshedServer {
  /** Canonical IP. */
  readonly address: string
  readonly port: number
  /** Tunnels that are connections of the server now. */
  readonly connections: number
  /**
   * Stops listening, says goodbye on each session, lets what is under way finish for `graceMs` (default 5,000), then cuts
   * what is left. Resolves when every connection is closed; the server itself stays the caller's. Idempotent.
   */
  close(options?: { readonly graceMs?: number }): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** @throws CoreError `AMBIENT_E_LISTEN`. */
export async function serveHandler(handler: ConnectionHandler, options: ServeOptions): Promise<MeshedServer> {
  const { host, port = HBONE_PORT, ...hboneOptions } = options
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
