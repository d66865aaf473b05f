/** The server's half of SOCKS5 (RFC 1928) without authentication, CONNECT to IP literals only. */
import type { Socket } from 'node:net'
import { canonicalIp, ipFromBytes } from '@ambient/core'
import { takeBytes } from './socks-bytes.ts'

const VERSION = 5
const NO_AUTHENTICATION = 0
const NO_ACCEPTABLE_METHOD = 0xff
const CONNECT = 1
const ADDRESS_LENGTH: Readonly<Record<number, number>> = { 1: 4, 4: 16 }
const REPLY = { succeeded: 0, failure: 1, unreachable: 4, refused: 5, command: 7, addressType: 8 } as const

export interface SocksTarget {
  readonly host: string
  readonly port: number
}

/**
 * Reads greeting and request from a paused socket; what follows them stays unread. `undefined` when the client does not
 * speak SOCKS5 or gave up; it has been answered where the protocol has an answer.
 */
export async function acceptSocksRequest(socket: Socket): Promise<SocksTarget | undefined> {
  const greeting = await takeBytes(socket, 2)
  if (greeting === undefined || greeting[0] !== VERSION) return undefined
  const methods = await takeBytes(socket, greeting[1] ?? 0)
  if (methods?.includes(NO_AUTHENTICATION) !== true) {
    socket.write(Uint8Array.of(VERSION, NO_ACCEPTABLE_METHOD))
    return undefined
  }
  socket.write(Uint8Array.of(VERSION, NO_AUTHENTICATION))
  const head = await takeBytes(socket, 4)
  if (head === undefined || head[0] !== VERSION) return undefined
  if (head[1] !== CONNECT) return refuse(socket, REPLY.command)
  const length = ADDRESS_LENGTH[head[3] ?? 0]
  if (length === undefined) return refuse(socket, REPLY.addressType)
  const rest = await takeBytes(socket, length + 2)
  if (rest === undefined) return undefined
  const host = canonicalIp(ipFromBytes(rest.subarray(0, length)) ?? '')
  return host === undefined ? undefined : { host, port: rest.readUInt16BE(length) }
}

/** Success, or the reply code nearest to the error's cause. */
export function answerSocksRequest(socket: Socket, error?: unknown): void {
  socket.write(
    Uint8Array.of(VERSION, error === undefined ? REPLY.succeeded : replyFor(error), 0, 1, 0, 0, 0, 0, 0, 0),
  )
}

function refuse(socket: Socket, code: number): undefined {
  socket.write(Uint8Array.of(VERSION, code, 0, 1, 0, 0, 0, 0, 0, 0))
  return undefined
}

function replyFor(error: unknown): number {
  const cause = error instanceof Error ? error.cause : undefined
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
  if (code === 'ECONNREFUSED') return REPLY.refused
  return code === 'EHOSTUNREACH' || code === 'ENETUNREACH' || code === 'EADDRNOTAVAIL'
    ? REPLY.unreachable
    : REPLY.failure
}
