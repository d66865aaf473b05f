/**
 * HBONE: a TCP stream inside a mutually authenticated HTTP/2 CONNECT tunnel.
 * @packageDocumentation
 */
export { HboneError, type HboneErrorCode, type HboneErrorOptions } from './errors.ts'
export { type ConnectRequest, connect } from './client.ts'
export { type OpenTunnel, type TunnelsViaOptions, type TunnelTarget, tunnelsVia } from './dialler.ts'
export {
  createDoubleHbonePool,
  type DoubleConnectRequest,
  type DoubleHbonePool,
  type DoubleHbonePoolOptions,
} from './double.ts'
export type { Rejudge, SessionProof } from './recheck.ts'
export { createHbonePool, type HbonePool, type HbonePoolOptions } from './pool.ts'
export {
  createHboneServer,
  type HboneFailure,
  type HboneServer,
  type HboneServerOptions,
  type RefusedRequest,
  type TunnelRequest,
} from './server.ts'
export type { SocketAddress, Tunnel, TunnelPeer } from './tunnel.ts'
export {
  createLazyTunnelSocket,
  createTunnelSocket,
  type OpenSocketTunnel,
  type TunnelSocket,
  type TunnelSocketFacts,
  type TunnelSocketOptions,
} from './tunnel-socket.ts'
export type { HeaderList } from './http2/hpack.ts'
export {
  type Baggage,
  type BaggageSource,
  createTraceparent,
  formatBaggage,
  formatForwarded,
  headerValue,
  headerValues,
  isFromOtherNetwork,
  parseBaggage,
  parseForwardedHost,
  traceIdOf,
} from './headers.ts'
export { formatForwardedClientCert, type Peers, peersOf } from './peers.ts'
export {
  formatProxyHeader,
  type ParsedProxyHeader,
  parseProxyHeader,
  type ProxyAddresses,
  type ProxyHeader,
  type ProxyHeaderFields,
  type ProxyTlv,
  readProxyHeader,
  type ReadProxyHeaderOptions,
} from './proxy-protocol.ts'
export { defaultLimits, type HboneLimits, resolveLimits } from './limits.ts'
