/** The relay's entrance: SOCKS5 without authentication, CONNECT to IP literals only. */
import type { Socket } from 'node:net'
import { canonicalIp } from '@ambient/core'
import {
  acceptSocks,
  replySocks,
  type SocksReply,
  socksReplies,
  type SocksTarget,
} from '@ambient/hbone/socks'
import { meshDefaults } from './defaults.ts'

/**
 * Reads greeting and request from a paused socket; what follows them stays unread. `undefined` when the client does not
 * speak SOCKS5 or gave up; it has been answered where the protocol has an answer.
 */
export async function acceptSocksRequest(socket: Socket): Promise<SocksTarget | undefined> {
  const asked = await acceptSocks(socket, { timeoutMs: meshDefaults.socksTimeoutMs }).catch(() => undefined)
  if (asked === undefined) return undefined
  const host = canonicalIp(asked.host)
  if (host === undefined) replySocks(socket, socksReplies.addressTypeNotSupported)
  return host === undefined ? undefined : { host, port: asked.port }
}

/** Success, or the reply code nearest to the error's cause. */
export function answerSocksRequest(socket: Socket, error?: unknown): void {
  replySocks(socket, error === undefined ? socksReplies.succeeded : replyFor(error))
}

function replyFor(error: unknown): SocksReply {
  const cause = error instanceof Error ? error.cause : undefined
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
  if (code === 'ECONNREFUSED') return socksReplies.connectionRefused
  return code === 'EHOSTUNREACH' || code === 'ENETUNREACH' || code === 'EADDRNOTAVAIL'
    ? socksReplies.hostUnreachable
    : socksReplies.generalFailure
}
