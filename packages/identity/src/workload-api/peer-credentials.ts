/**
 * Who is at the other end of a Unix socket, by the kernel's own word (SO_PEERCRED). Node does not offer it, and what
 * `/proc` shows of sockets does not say who connected; so this needs the optional package `koffi`.
 */
import type { Socket } from 'node:net'
import { messageOf } from '@ambient/core'

export interface PeerCredentials {
  /** Absent for a process of another pid namespace, where its number means nothing to us. */
  readonly pid?: number
  readonly uid: number
  readonly gid: number
}

export type ReadPeerCredentials = (socket: Socket) => PeerCredentials | undefined

export type PeerCredentialsSupport =
  | { readonly ok: true; readonly read: ReadPeerCredentials }
  | { readonly ok: false; readonly reason: string }

const SOL_SOCKET = 1
const SO_PEERCRED = 17
/** `struct ucred`: three 32-bit numbers. */
const UCRED_BYTES = 12

/** Never rejects: what is missing is said. */
export async function loadPeerCredentials(): Promise<PeerCredentialsSupport> {
  if (process.platform !== 'linux')
    return { ok: false, reason: `there is no SO_PEERCRED on ${process.platform}` }
  let getsockopt: (...args: readonly unknown[]) => unknown
  try {
    const { default: koffi } = await import('koffi')
    getsockopt = koffi.load(null).func('int getsockopt(int, int, int, _Out_ void*, _Inout_ uint32_t*)')
  } catch (error) {
    return { ok: false, reason: `the package koffi cannot be used: ${messageOf(error)}` }
  }
  return {
    ok: true,
    read(socket) {
      const fd = descriptorOf(socket)
      if (fd === undefined) return undefined
      const found = Buffer.alloc(UCRED_BYTES)
      const length = [UCRED_BYTES]
      if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, found, length) !== 0 || length[0] !== UCRED_BYTES)
        return undefined
      const pid = found.readInt32LE(0)
      return {
        uid: found.readUInt32LE(4),
        gid: found.readUInt32LE(8),
        ...(pid > 0 ? { pid } : {}),
      }
    },
  }
}

/** The socket's descriptor; Node has no public name for it. */
function descriptorOf(socket: Socket): number | undefined {
  const handle: unknown = Reflect.get(socket, '_handle')
  const fd = isObject(handle) ? handle['fd'] : undefined
  return typeof fd === 'number' && fd >= 0 ? fd : undefined
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null
}
