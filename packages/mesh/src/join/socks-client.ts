/** The client's half of SOCKS5 (RFC 1928) with user name and password (RFC 1929): how a workload asks its ztunnel. */
import type { Socket } from 'node:net'
import { formatHostPort, isLoopback, messageOf } from '@ambient/core'
import { dial } from '@ambient/core/node'
import type { SocksEntrance } from '../control/types.ts'
import { MeshError } from '../errors.ts'
import { takeBytes } from '../socks-bytes.ts'

const VERSION = 5
const PASSWORD_METHOD = 2
const PASSWORD_VERSION = 1
const CONNECT = 1
const DOMAIN_NAME = 3
/** Bytes of a bound address by its type. */
const ADDRESS_BYTES: Readonly<Record<number, number>> = { 1: 4, 4: 16 }
const REASONS: Readonly<Record<number, string>> = {
  1: 'the connection failed',
  2: 'not allowed',
  3: 'the network is unreachable',
  4: 'no such host',
  5: 'refused',
  6: 'it took too long',
}

export interface SocksTarget {
  /** A name is resolved by the server. */
  readonly host: string
  readonly port: number
  readonly signal?: AbortSignal
}

/**
 * Connects through a SOCKS5 server. The caller owns the socket: half-open, paused.
 * @throws MeshError `AMBIENT_E_MESH_CONNECT`, or the signal's reason.
 */
export async function socksConnect(entrance: SocksEntrance, target: SocksTarget): Promise<Socket> {
  const { host, port, signal } = target
  let socket: Socket | undefined
  const onAbort = (): void => void socket?.destroy()
  signal?.addEventListener('abort', onAbort)
  try {
    socket = await dial({
      host: entrance.address,
      port: entrance.port,
      ...(isLoopback(entrance.address) ? { localAddress: entrance.address } : {}),
      ...(signal === undefined ? {} : { signal }),
    })
    socket.on('error', () => {})
    await negotiate(socket, entrance, target)
    return socket
  } catch (cause) {
    socket?.destroy()
    signal?.throwIfAborted()
    throw new MeshError('AMBIENT_E_MESH_CONNECT', `${formatHostPort(host, port)}: ${messageOf(cause)}`, {
      cause,
      layer: 'tcp',
    })
  } finally {
    signal?.removeEventListener('abort', onAbort)
  }
}

async function negotiate(socket: Socket, entrance: SocksEntrance, target: SocksTarget): Promise<void> {
  socket.write(Uint8Array.of(VERSION, 1, PASSWORD_METHOD))
  const [, method] = await take(socket, 2)
  if (method !== PASSWORD_METHOD) throw new Error('the proxy asks for another authentication')
  socket.write(
    Buffer.concat([Uint8Array.of(PASSWORD_VERSION), counted(entrance.username), counted(entrance.password)]),
  )
  const [, granted] = await take(socket, 2)
  if (granted !== 0) throw new Error('the proxy does not know this workload')
  const port = Uint8Array.of(target.port >> 8, target.port & 0xff)
  socket.write(Buffer.concat([Uint8Array.of(VERSION, CONNECT, 0, DOMAIN_NAME), counted(target.host), port]))
  const [, reply = 1, , type = 1] = await take(socket, 4)
  if (reply !== 0) throw new Error(REASONS[reply] ?? `SOCKS5 reply ${reply}`)
  await take(socket, (ADDRESS_BYTES[type] ?? (await take(socket, 1))[0] ?? 0) + 2)
}

function counted(text: string): Uint8Array {
  const bytes = Buffer.from(text)
  return Buffer.concat([Uint8Array.of(bytes.length), bytes])
}

async function take(socket: Socket, length: number): Promise<Buffer> {
  const bytes = await takeBytes(socket, length)
  if (bytes === undefined) throw new Error('the proxy closed the connection')
  return bytes
}
