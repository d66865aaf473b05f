/**
 * A socket that is bound and belongs to nobody yet: whoever it is lent to listens and accepts on it. Node has no public
 * call for this; the one that `cluster` uses is reached here and nowhere else, checked before it is believed.
 */
import net from 'node:net'
import { getSystemErrorMap } from 'node:util'

export interface BoundHandle {
  /** What `ChildProcess.send` takes. */
  readonly handle: net.Server
  close(): void
}

/** What `net` gives: a handle, or a negative errno. */
interface RawHandle {
  close(): void
  getsockname(out: { address?: string; port?: number }): number
}

/**
 * @returns `undefined` where this Node.js cannot.
 * @throws Node's error: the address is in use, or is not of this machine.
 */
export function bindHandle(host: string, port: number): BoundHandle | undefined {
  const create: unknown = Reflect.get(net, '_createServerHandle')
  if (typeof create !== 'function') return undefined
  const raw: unknown = create(host, port, net.isIPv6(host) ? 6 : 4)
  if (typeof raw === 'number') throw systemError(raw, host, port)
  if (!isRawHandle(raw)) return undefined
  const bound: { address?: string; port?: number } = {}
  // A bind that failed may be told only later; such a socket would end up on a port of its own choosing.
  if (raw.getsockname(bound) !== 0 || (port !== 0 && bound.port !== port)) {
    raw.close()
    throw Object.assign(new Error(`EADDRINUSE: address already in use ${host}:${port}`), {
      code: 'EADDRINUSE',
    })
  }
  // `send` takes raw handles as well; its type does not say so.
  return { handle: raw as unknown as net.Server, close: () => raw.close() }
}

function isRawHandle(value: unknown): value is RawHandle {
  return (
    typeof value === 'object' &&
    value !== null &&
    'close' in value &&
    typeof value.close === 'function' &&
    'getsockname' in value &&
    typeof value.getsockname === 'function'
  )
}

function systemError(errno: number, host: string, port: number): Error {
  const [code = 'EADDRINUSE', text = 'cannot be bound'] = getSystemErrorMap().get(errno) ?? []
  return Object.assign(new Error(`${code}: ${text} ${host}:${port}`), { code, errno })
}
