/** A SOCKS5 listener whose connections are HBONE tunnels. */
import { createEntrance, type Negotiate, type ProxyListener, type ProxyListenerOptions } from '../entrance.ts'
import type { HboneError } from '../errors.ts'
import { type SocksReply, socksReplies } from './codec.ts'
import { acceptSocks, replySocks } from './negotiate.ts'

/**
 * A local listener for programs that speak SOCKS5 (RFC 1928): CONNECT, without authentication or with user name and password
 * (RFC 1929). Names are not resolved: they are the host of the tunnel's authority. Half-closes and resets pass both ways.
 * @throws HboneError `AMBIENT_E_HBONE_OPTION`.
 */
export function createSocksListener(options: ProxyListenerOptions): ProxyListener {
  return createEntrance(options, negotiate)
}

const negotiate: Negotiate = async (socket, { limits, clock, checkLogin }) => {
  const target = await acceptSocks(socket, {
    timeoutMs: limits.requestMs,
    clock,
    ...(checkLogin === undefined ? {} : { checkPassword: checkLogin }),
  })
  return {
    target,
    accept: () => replySocks(socket, socksReplies.succeeded),
    refuse: error => replySocks(socket, replyOf(error)),
  }
}

/** What SOCKS5 can say of a failure. */
function replyOf(error: HboneError): SocksReply {
  switch (error.code) {
    case 'AMBIENT_E_HBONE_REFUSED':
      return replyOfStatus(error.status)
    case 'AMBIENT_E_HBONE_UNREACHABLE':
      return socksReplies.hostUnreachable
    case 'AMBIENT_E_HBONE_TIMEOUT':
      return socksReplies.ttlExpired
    case 'AMBIENT_E_HBONE_OPTION':
      return socksReplies.addressTypeNotSupported
    default:
      return socksReplies.generalFailure
  }
}

function replyOfStatus(status: number | undefined): SocksReply {
  switch (status) {
    case 401:
    case 403:
      return socksReplies.notAllowed
    case 404:
      return socksReplies.hostUnreachable
    case 503:
      return socksReplies.connectionRefused
    case 504:
      return socksReplies.ttlExpired
    default:
      return socksReplies.generalFailure
  }
}
