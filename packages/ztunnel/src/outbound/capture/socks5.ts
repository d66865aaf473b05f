/**
 * Room 1, the front door for programs that are not captured by the kernel: SOCKS5 with CONNECT only. With a
 * `checkPassword`, RFC 1929 is required and proves which workload calls.
 */
import type { Socket } from 'node:net'
import type { Clock } from '@ambient/core'
import { defaults } from '../../defaults.ts'
import { ZtunnelError } from '../../errors.ts'
import { type Parsed, readFirstBytes } from '../../first-bytes.ts'
import {
  formatReply,
  methods,
  parseGreeting,
  parsePassword,
  parseRequest,
  replies,
  type ReplyCode,
  type SocksTarget,
} from './socks5-codec.ts'

export interface SocksOptions {
  /** Absent: no authentication is asked for (ztunnel's own behaviour). */
  readonly checkPassword?: (username: string, password: string) => Promise<boolean>
  readonly clock: Clock
}

const CONNECT = 1

/**
 * Negotiates up to the request. The answer is the caller's: {@link replySocks}, after the far end is connected.
 * @throws ZtunnelError `AMBIENT_E_SOCKS5`; the client has then been told what the protocol can say.
 */
export async function acceptSocks(socket: Socket, options: SocksOptions): Promise<SocksTarget> {
  const read = <T>(parse: (bytes: Buffer) => Parsed<T>): Promise<T> =>
    readFirstBytes(socket, {
      parse,
      clock: options.clock,
      timeoutMs: defaults.handshakeTimeoutMs,
      timeoutError: () => failure(`no complete SOCKS5 request within ${defaults.handshakeTimeoutMs} ms`),
      endError: () => failure('the client left during the SOCKS5 negotiation'),
    })

  const offered = await read(parseGreeting)
  const wanted = options.checkPassword === undefined ? methods.none : methods.password
  if (!offered.includes(wanted)) {
    socket.write(Buffer.from([5, methods.unacceptable]))
    throw failure(
      wanted === methods.password
        ? 'the client offers no user name and password'
        : 'the client insists on authentication',
    )
  }
  socket.write(Buffer.from([5, wanted]))
  if (options.checkPassword !== undefined) {
    const { username, password } = await read(parsePassword)
    const isRight = await options.checkPassword(username, password)
    socket.write(Buffer.from([1, isRight ? 0 : 1]))
    if (!isRight) throw failure('the user name or password is wrong')
  }
  const request = await read(parseRequest)
  if (request.command !== CONNECT) {
    replySocks(socket, replies.commandNotSupported)
    throw failure(`command ${request.command} is not supported`)
  }
  return { host: request.host, port: request.port }
}

/** Answers the request. After anything but `succeeded` the caller closes. */
export function replySocks(socket: Socket, code: ReplyCode): void {
  if (!socket.destroyed) socket.write(formatReply(code))
}

function failure(message: string): ZtunnelError {
  return new ZtunnelError('AMBIENT_E_SOCKS5', message, { layer: 'tcp' })
}
