/**
 * The listening sockets of supervised processes, held here so that a process can be replaced: its successor accepts on
 * the same sockets. A socket is held for as long as a process uses it: one that dies takes its sockets along, and
 * callers are refused at once instead of waiting for an accept that does not come.
 */
import type { ChildProcess } from 'node:child_process'
import type { SupervisedMessage, SupervisorMessage } from '@ambient/core/node'
import { messageOf } from '@ambient/core'
import { bindHandle, type BoundHandle } from './bound-handle.ts'

export interface HeldSockets {
  /** Whether this system and this Node.js can. */
  readonly canLend: boolean
  /** Lends sockets to a child that was spawned with an IPC channel, until it ends. */
  serve(child: ChildProcess, events: { readonly onReady: () => void }): void
  /** For tests: how many are held. */
  readonly size: number
}

/** Tells a child to finish its connections and end. */
export function askToDrain(child: ChildProcess, graceMs: number): void {
  tell(child, { ambient: 'drain', graceMs })
}

export function createHeldSockets(): HeldSockets {
  const held = new Map<string, { readonly bound: BoundHandle; readonly users: Set<ChildProcess> }>()
  const release = (key: string, user: ChildProcess): void => {
    const socket = held.get(key)
    if (socket?.users.delete(user) !== true || socket.users.size > 0) return
    held.delete(key)
    socket.bound.close()
  }
  const lend = (child: ChildProcess, id: number, host: string, port: number): void => {
    const key = `${host} ${port}`
    try {
      const bound = held.get(key)?.bound ?? bindHandle(host, port)
      if (bound === undefined || port === 0) {
        bound?.close()
        const error = { code: 'ENOTSUP', message: 'sockets cannot be lent here' }
        return tell(child, { ambient: 'socket', id, error })
      }
      const socket = held.get(key) ?? { bound, users: new Set<ChildProcess>() }
      held.set(key, socket)
      socket.users.add(child)
      tell(child, { ambient: 'socket', id }, bound)
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : 'EADDRINUSE'
      tell(child, { ambient: 'socket', id, error: { code, message: messageOf(error) } })
    }
  }
  let canLend: boolean | undefined
  return {
    get canLend() {
      canLend ??= checkLending()
      return canLend
    },
    get size() {
      return held.size
    },
    serve(child, { onReady }) {
      child.on('message', message => {
        if (!isSupervised(message)) return
        if (message.ambient === 'ready') onReady()
        else if (message.ambient === 'release') release(`${message.host} ${message.port}`, child)
        else lend(child, message.id, message.host, message.port)
      })
      child.once('exit', () => {
        for (const key of [...held.keys()]) release(key, child)
      })
    },
  }
}

function checkLending(): boolean {
  try {
    const bound = bindHandle('127.0.0.1', 0)
    bound?.close()
    return bound !== undefined && process.platform !== 'win32'
  } catch {
    return false
  }
}

/** A child that is gone is told nothing; its exit is its own event. */
function tell(child: ChildProcess, message: SupervisorMessage, bound?: BoundHandle): void {
  if (child.connected) child.send(message, bound?.handle, () => {})
}

/** From a process that we started, of our own programs; anything else is not for us. */
function isSupervised(message: unknown): message is SupervisedMessage {
  if (typeof message !== 'object' || message === null || !('ambient' in message)) return false
  if (message.ambient === 'ready') return true
  const isAddress =
    'host' in message &&
    typeof message.host === 'string' &&
    'port' in message &&
    typeof message.port === 'number'
  if (message.ambient === 'release') return isAddress
  return message.ambient === 'listen' && isAddress && 'id' in message && typeof message.id === 'number'
}
