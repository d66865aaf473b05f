/**
 * HTTP through tunnels, with Node's own HTTP: agents for clients, and any `http.Server` as a meshed server that knows its peers.
 * @packageDocumentation
 */
export {
  createHboneAgent,
  createHboneHttpsAgent,
  type HboneAgentOptions,
  type HboneHttpsAgentOptions,
} from './agent.ts'
export { peerOf } from './peer.ts'
export { type MeshedHttpServer, serveHttp, type ServeHttpOptions } from './serve.ts'
export {
  createHttpTunnelHandler,
  type HttpTunnelHandler,
  type HttpTunnelHandlerOptions,
  type TunnelVerdict,
} from './tunnel-handler.ts'
