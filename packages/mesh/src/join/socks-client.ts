/** How a workload asks its ztunnel: SOCKS5 with user name and password. */
import type { Socket } from 'node:net'
import { formatHostPort, isLoopback, messageOf } from '@ambient/core'
import { dial } from '@ambient/core/node'
import { requestSocks, socksReplies } from '@ambient/hbone/socks'
import type { SocksEntrance } from '../control/types.ts'
import { meshDefaults } from '../defaults.ts'
import { MeshError } from '../errors.ts'

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

async function negotiate(
  socket: Socket,
  { username, password }: SocksEntrance,
  target: SocksTarget,
): Promise<void> {
  const login = { username, password }
  const reply = await requestSocks(socket, target, { login, timeoutMs: meshDefaults.tunnelTimeoutMs })
  if (reply !== socksReplies.succeeded) throw new Error(REASONS[reply] ?? `SOCKS5 reply ${reply}`)
}
