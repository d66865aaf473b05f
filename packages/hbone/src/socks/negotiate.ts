/**
 * SOCKS5 with CONNECT only, up to the request and its answer: the server's half and the client's. With a `checkPassword`,
 * RFC 1929 is required and proves who calls.
 */
import type { Socket } from 'node:net'
import { type Clock, systemClock } from '@ambient/core'
import { type Parsed, readFirstBytes } from '@ambient/core/node'
import { HboneError } from '../errors.ts'
import { askLogin } from '../login.ts'
import {
  CONNECT,
  formatGreeting,
  formatMethod,
  formatPassword,
  formatReply,
  formatRequest,
  formatVerdict,
  methods,
  parseGreeting,
  parsePair,
  parsePassword,
  parseReply,
  parseRequest,
  socksReplies,
  type SocksLogin,
  type SocksReply,
  type SocksTarget,
} from './codec.ts'

export interface SocksServerOptions {
  /** Absent: no authentication is asked for. */
  readonly checkPassword?: (username: string, password: string) => boolean | Promise<boolean>
  /** For each message of the client, and for `checkPassword`. */
  readonly timeoutMs: number
  readonly clock?: Clock
}

export interface SocksClientOptions {
  /** Absent: no authentication is offered. */
  readonly login?: SocksLogin
  /** For each answer of the server. */
  readonly timeoutMs: number
  readonly clock?: Clock
}

/**
 * Negotiates up to the request. The answer is the caller's: {@link replySocks}, after the far end is connected. The socket
 * stays the caller's, paused, with what followed the request unread; it must have an `error` listener.
 * @throws HboneError `AMBIENT_E_SOCKS5`, `AMBIENT_E_HBONE_TIMEOUT`, `AMBIENT_E_LOGIN_CHECK`, or `AMBIENT_E_CLOSED` when the
 *   client leaves while its login is checked; it has then been told what the protocol can say.
 */
export async function acceptSocks(socket: Socket, options: SocksServerOptions): Promise<SocksTarget> {
  const read = reader(socket, options, 'the client')
  const { checkPassword } = options
  const offered = await read(parseGreeting)
  const wanted = checkPassword === undefined ? methods.none : methods.password
  if (!offered.includes(wanted)) {
    socket.write(formatMethod(methods.unacceptable))
    throw failure(
      wanted === methods.password
        ? 'the client offers no user name and password'
        : 'the client insists on authentication',
    )
  }
  socket.write(formatMethod(wanted))
  if (checkPassword !== undefined) {
    const login = await read(parsePassword)
    await checkVerdict(socket, checkPassword, login, options)
  }
  const request = await read(parseRequest)
  if (request.command !== CONNECT) {
    replySocks(socket, socksReplies.commandNotSupported)
    throw failure(`command ${request.command} is not supported`)
  }
  return { host: request.host, port: request.port }
}

/** The protocol has two verdicts only: a check that fails says the one of a wrong password. */
async function checkVerdict(
  socket: Socket,
  check: NonNullable<SocksServerOptions['checkPassword']>,
  login: SocksLogin,
  { timeoutMs, clock = systemClock }: SocksServerOptions,
): Promise<void> {
  let isRight = false
  try {
    isRight = await askLogin(check, { ...login, socket, timeoutMs, clock })
  } finally {
    if (!socket.destroyed) socket.write(formatVerdict(isRight))
  }
  if (!isRight) throw failure('the user name or password is wrong')
}

/** Answers the request. After anything but `succeeded` the caller closes. */
export function replySocks(socket: Socket, code: SocksReply): void {
  if (!socket.destroyed) socket.write(formatReply(code))
}

/**
 * Asks a SOCKS5 server for a connection; gives its reply. After `succeeded` the socket is the connection, and flows when
 * it is listened to. Names are resolved by the server. The socket stays the caller's and must have an `error` listener.
 * @throws HboneError `AMBIENT_E_SOCKS5`, or `AMBIENT_E_HBONE_TIMEOUT`.
 */
export async function requestSocks(
  socket: Socket,
  target: SocksTarget,
  options: SocksClientOptions,
): Promise<number> {
  const read = reader(socket, options, 'the proxy')
  const { login } = options
  const request = formatRequest(target)
  const wanted = login === undefined ? methods.none : methods.password
  // One message at a time: servers that take a read for a message are common.
  socket.write(formatGreeting(wanted))
  const method = await read(parsePair(5))
  if (method !== wanted) throw failure('the proxy asks for another authentication')
  if (login !== undefined) {
    socket.write(formatPassword(login))
    if ((await read(parsePair(1))) !== 0) throw failure('the proxy does not take this user name and password')
  }
  socket.write(request)
  const reply = await read(parseReply)
  unpause(socket)
  return reply
}

/** Neither paused nor flowing, as it was dialled: Node decides anew after the last `readable` listener, as for a fresh stream. */
function unpause(socket: Socket): void {
  const nothing = (): void => {}
  socket.on('readable', nothing)
  socket.off('readable', nothing)
}

type Read = <T>(parse: (bytes: Buffer) => Parsed<T>) => Promise<T>

function reader(socket: Socket, options: { timeoutMs: number; clock?: Clock }, peer: string): Read {
  const { timeoutMs, clock = systemClock } = options
  return parse =>
    readFirstBytes(socket, {
      parse,
      clock,
      timeoutMs,
      timeoutError: () =>
        new HboneError(
          'AMBIENT_E_HBONE_TIMEOUT',
          `${peer} sent no complete SOCKS5 message within ${timeoutMs} ms`,
          { layer: 'tcp' },
        ),
      endError: () => failure(`${peer} left during the SOCKS5 negotiation`),
    })
}

function failure(message: string): HboneError {
  return new HboneError('AMBIENT_E_SOCKS5', message, { layer: 'tcp' })
}
