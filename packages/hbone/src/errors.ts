/** The one error class of this package, and where the platform's errors are translated into it. */
import { AmbientError, messageOf, type AmbientErrorOptions } from '@ambient/core'

export type HboneErrorCode =
  /** An option or a limit is out of range. */
  | 'AMBIENT_E_HBONE_OPTION'
  /** No TCP connection to the peer. */
  | 'AMBIENT_E_HBONE_UNREACHABLE'
  /** A named step took longer than its limit; the message says which. */
  | 'AMBIENT_E_HBONE_TIMEOUT'
  /** The TLS handshake failed, or the peer closed right after it (its way of refusing our certificate). */
  | 'AMBIENT_E_TLS'
  /** The peer's certificate was judged and refused; `problem` names the rule. */
  | 'AMBIENT_E_PEER_IDENTITY'
  /** The peer answered CONNECT with another status than 200; see `status`. */
  | 'AMBIENT_E_HBONE_REFUSED'
  /** The peer reset the stream before it answered; see `h2Code`. */
  | 'AMBIENT_E_HBONE_RESET'
  /** The peer broke a rule of HTTP/2 or of the CONNECT profile; see `h2Code`. */
  | 'AMBIENT_E_HBONE_PROTOCOL'
  /** The session ended under the stream. */
  | 'AMBIENT_E_HBONE_SESSION_LOST'
  /** A connection does not begin with a PROXY header as it should; the message names the rule. */
  | 'AMBIENT_E_PROXY_PROTOCOL'
  /** The other side of a SOCKS5 connection broke the protocol, or may not use it. */
  | 'AMBIENT_E_SOCKS5'
  /** A program asked our HTTP CONNECT listener for something that it does not do, or may not use it; see `status`. */
  | 'AMBIENT_E_CONNECT_PROXY'
  /** Nobody could say whether a client of a local listener may use it: `checkLogin` failed, or took too long. */
  | 'AMBIENT_E_LOGIN_CHECK'
  /** An optional peer dependency is missing, or is of a version that does not fit; the message says what to install. */
  | 'AMBIENT_E_HBONE_DEPENDENCY'
  /** The pool, server or channel was closed here. */
  | 'AMBIENT_E_CLOSED'

export interface HboneErrorOptions extends AmbientErrorOptions {
  readonly status?: number
  readonly h2Code?: string
  readonly problem?: string
  readonly unprocessed?: boolean
}

export class HboneError extends AmbientError<HboneErrorCode> {
  /** HTTP status of the refusal. */
  readonly status: number | undefined
  /** The HTTP/2 error code by name (RFC 9113 §7). */
  readonly h2Code: string | undefined
  /** Which rule of X509-SVID or of the expectation the peer's chain breaks. */
  readonly problem: string | undefined
  /** The peer says that it did not look at the request: sending it again cannot do it twice. */
  readonly unprocessed: boolean

  constructor(code: HboneErrorCode, message: string, options: HboneErrorOptions = {}) {
    super(code, message, { layer: 'hbone', ...options })
    this.status = options.status
    this.h2Code = options.h2Code
    this.problem = options.problem
    this.unprocessed = options.unprocessed ?? false
  }
}

/** A failure of TLS or of the bytes beneath it, in words: OpenSSL's messages carry file names and addresses. */
export function tlsError(subject: string, cause: unknown): HboneError {
  return new HboneError('AMBIENT_E_TLS', `TLS with ${subject} failed: ${tlsReason(cause)}`, {
    cause,
    layer: 'tls',
  })
}

function tlsReason(cause: unknown): string {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : ''
  if (code === 'ERR_SSL_NO_APPLICATION_PROTOCOL' || code.endsWith('ALERT_NO_APPLICATION_PROTOCOL'))
    return 'no common application protocol (h2 is required)'
  if (code === 'ECONNRESET') return 'the peer reset the connection'
  if (code.startsWith('ERR_SSL_')) return code.slice('ERR_SSL_'.length).toLowerCase().replaceAll('_', ' ')
  return messageOf(cause)
}
