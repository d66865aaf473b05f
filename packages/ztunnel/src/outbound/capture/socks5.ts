/** Room 1, the front door for programs that are not captured by the kernel: SOCKS5 with CONNECT only. */
import type { Socket } from 'node:net'
import type { Clock } from '@ambient/core'
import { acceptSocks as negotiate, type SocksTarget } from '@ambient/hbone/socks'
import { defaults } from '../../defaults.ts'

export interface SocksOptions {
  /** Absent: no authentication is asked for (ztunnel's own behaviour). */
  readonly checkPassword?: (username: string, password: string) => Promise<boolean>
  readonly clock: Clock
}

/**
 * Negotiates up to the request. The answer is the caller's, after the far end is connected.
 * @throws HboneError `AMBIENT_E_SOCKS5`; the client has then been told what the protocol can say.
 */
export function acceptSocks(socket: Socket, options: SocksOptions): Promise<SocksTarget> {
  return negotiate(socket, { ...options, timeoutMs: defaults.handshakeTimeoutMs })
}
