/**
 * SOCKS5 in front of HBONE: a local listener for programs that speak it, and both halves of the protocol.
 * @packageDocumentation
 */
export { type SocksLogin, type SocksReply, socksReplies, type SocksTarget } from './codec.ts'
export {
  acceptSocks,
  replySocks,
  requestSocks,
  type SocksClientOptions,
  type SocksServerOptions,
} from './negotiate.ts'
export { createSocksListener } from './listener.ts'
export type { CheckLogin, ProxyFailure, ProxyListener, ProxyListenerOptions } from '../entrance.ts'
export type { ProxyLimits } from '../defaults.ts'
