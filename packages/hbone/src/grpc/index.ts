/**
 * gRPC through tunnels, with grpc-js (an optional peer dependency, 1.14): channels for clients, and servers that know their peers.
 * @packageDocumentation
 */
export { createHboneChannelCredentials, type HboneChannelOptions } from './client.ts'
export {
  createGrpcTunnelHandler,
  type GrpcTunnelHandler,
  type GrpcTunnelHandlerOptions,
  type MeshedGrpcServer,
  peerOf,
  serveGrpc,
  type ServeGrpcOptions,
} from './server.ts'
