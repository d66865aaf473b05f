/** The one error class of this package. */
import { AmbientError } from '@ambient/core'

export type ZtunnelErrorCode =
  /** A value of the environment or of a configuration file cannot be used; the message names it. */
  | 'AMBIENT_E_CONFIG'
  /** A SOCKS5 client asked for a host that nobody knows. */
  | 'AMBIENT_E_SOCKS5'
  /** A PROXY protocol header is missing or malformed. */
  | 'AMBIENT_E_PROXY_PROTOCOL'
  /** The route that was decided cannot be taken. */
  | 'AMBIENT_E_NO_ROUTE'
  /** Discovery does not know the workload that this proxy acts for. */
  | 'AMBIENT_E_UNKNOWN_WORKLOAD'
  /** A policy that changed no longer allows the connection. */
  | 'AMBIENT_E_POLICY_CHANGE'
  /** The connection outlived the drain. */
  | 'AMBIENT_E_DRAIN'
  /** Started twice, or used after its end. */
  | 'AMBIENT_E_CLOSED'

export class ZtunnelError extends AmbientError<ZtunnelErrorCode> {}
