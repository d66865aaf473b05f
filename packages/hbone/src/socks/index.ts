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
