/** SOCKS5 messages (RFC 1928, RFC 1929) as pure functions over bytes; both ends' directions. */
import { ipFromBytes, ipToBytes } from '@ambient/core'
import type { Parsed } from '@ambient/core/node'
import { HboneError } from '../errors.ts'

const VERSION = 5
export const CONNECT = 1

/** How a client proves itself. */
export const methods = Object.freeze({ none: 0x00, password: 0x02, unacceptable: 0xff })

/** Reply codes of RFC 1928 §6. */
export const socksReplies = Object.freeze({
  succeeded: 0,
  generalFailure: 1,
  notAllowed: 2,
  networkUnreachable: 3,
  hostUnreachable: 4,
  connectionRefused: 5,
  ttlExpired: 6,
  commandNotSupported: 7,
  addressTypeNotSupported: 8,
})
export type SocksReply = (typeof socksReplies)[keyof typeof socksReplies]

export interface SocksTarget {
  /** An IP literal or a name, not resolved. */
  readonly host: string
  readonly port: number
}

/** RFC 1929; both at most 255 bytes. */
export interface SocksLogin {
  readonly username: string
  readonly password: string
}

/** The methods that a client offers. */
export function parseGreeting(bytes: Buffer): Parsed<readonly number[]> {
  if (bytes.length < 2) return versionCheck(bytes, VERSION)
  if (bytes[0] !== VERSION) return broken(`version ${bytes[0]} instead of 5`)
  const count = bytes[1] ?? 0
  if (count === 0) return broken('no method offered')
  if (bytes.length < 2 + count) return { kind: 'more' }
  return { kind: 'done', value: [...bytes.subarray(2, 2 + count)], length: 2 + count }
}

/** RFC 1929: version 1, user name, password. */
export function parsePassword(bytes: Buffer): Parsed<SocksLogin> {
  if (bytes.length < 2) return versionCheck(bytes, 1)
  if (bytes[0] !== 1) return broken(`password negotiation version ${bytes[0]} instead of 1`)
  const userLength = bytes[1] ?? 0
  const passwordAt = 2 + userLength
  if (bytes.length <= passwordAt) return { kind: 'more' }
  const length = passwordAt + 1 + (bytes[passwordAt] ?? 0)
  if (bytes.length < length) return { kind: 'more' }
  return {
    kind: 'done',
    length,
    value: {
      username: bytes.toString('utf8', 2, passwordAt),
      password: bytes.toString('utf8', passwordAt + 1, length),
    },
  }
}

/** A CONNECT request; `command` is given on so that the caller can answer 7. */
export function parseRequest(bytes: Buffer): Parsed<SocksTarget & { readonly command: number }> {
  if (bytes.length < 5) return versionCheck(bytes, VERSION)
  if (bytes[0] !== VERSION) return broken(`version ${bytes[0]} instead of 5`)
  const hostLength = addressLength(bytes)
  if (hostLength === undefined) return broken(`unknown address type ${bytes[3]}`)
  const length = 4 + hostLength + 2
  if (bytes.length < length) return { kind: 'more' }
  const host = readAddress(bytes, hostLength)
  if (host === undefined) return broken('the destination is empty or holds control characters')
  const port = bytes.readUInt16BE(length - 2)
  if (port === 0) return broken('port 0')
  return { kind: 'done', length, value: { command: bytes[1] ?? 0, host, port } }
}

/** A server's answer to a request; the bound address is read over. */
export function parseReply(bytes: Buffer): Parsed<number> {
  if (bytes.length < 5) return versionCheck(bytes, VERSION)
  if (bytes[0] !== VERSION) return broken(`version ${bytes[0]} instead of 5`)
  const hostLength = addressLength(bytes)
  if (hostLength === undefined) return broken(`unknown address type ${bytes[3]}`)
  const length = 4 + hostLength + 2
  return bytes.length < length ? { kind: 'more' } : { kind: 'done', length, value: bytes[1] ?? 1 }
}

export function formatReply(code: SocksReply): Buffer {
  return Buffer.from([VERSION, code, 0, 1, 0, 0, 0, 0, 0, 0])
}

/** A CONNECT request; names go as they are. */
export function formatRequest(target: SocksTarget): Buffer {
  const ip = ipToBytes(target.host)
  const name = Buffer.from(target.host, 'latin1')
  const address =
    ip === undefined
      ? Buffer.concat([Buffer.from([3, name.length]), name])
      : Buffer.concat([Buffer.from([ip.length === 4 ? 1 : 4]), ip])
  const port = Buffer.alloc(2)
  port.writeUInt16BE(target.port)
  return Buffer.concat([Buffer.from([VERSION, CONNECT, 0]), address, port])
}

/** The methods that we offer: one. */
export function formatGreeting(method: number): Buffer {
  return Buffer.from([VERSION, 1, method])
}

export function formatMethod(method: number): Buffer {
  return Buffer.from([VERSION, method])
}

export function formatPassword(login: SocksLogin): Buffer {
  const username = Buffer.from(login.username)
  const password = Buffer.from(login.password)
  return Buffer.concat([
    Buffer.from([1, username.length]),
    username,
    Buffer.from([password.length]),
    password,
  ])
}

export function formatVerdict(isRight: boolean): Buffer {
  return Buffer.from([1, isRight ? 0 : 1])
}

/** Two bytes: the method that a server chose, or its verdict on a password. */
export function parsePair(version: number): (bytes: Buffer) => Parsed<number> {
  return bytes =>
    bytes.length < 2 || bytes[0] !== version
      ? versionCheck(bytes, version)
      : { kind: 'done', length: 2, value: bytes[1] ?? 0 }
}

/** Bytes of the address field, its length byte included for names. */
function addressLength(bytes: Buffer): number | undefined {
  switch (bytes[3]) {
    case 1:
      return 4
    case 3:
      return 1 + (bytes[4] ?? 0)
    case 4:
      return 16
    default:
      return undefined
  }
}

function readAddress(bytes: Buffer, length: number): string | undefined {
  if (bytes[3] !== 3) return ipFromBytes(bytes.subarray(4, 4 + length))
  const name = bytes.toString('latin1', 5, 4 + length)
  // The name ends up in logs and look-ups: printable ASCII without blanks, or nothing.
  return /^[\x21-\x7e]{1,255}$/.test(name) ? name : undefined
}

function versionCheck(bytes: Buffer, version: number): Parsed<never> {
  if (bytes.length > 0 && bytes[0] !== version) return broken(`version ${bytes[0]} instead of ${version}`)
  return { kind: 'more' }
}

function broken(reason: string): Parsed<never> {
  return {
    kind: 'error',
    error: new HboneError('AMBIENT_E_SOCKS5', `malformed SOCKS5 message: ${reason}`, { layer: 'tcp' }),
  }
}
