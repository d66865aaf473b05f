/**
 * The supervised side of a hand-over: a process whose supervisor holds its listening sockets, so that the next process
 * accepts on the same ones before this one stops. Sockets are asked for and lent over the IPC channel of Node; nothing
 * is lost in between, because the queue of waiting connections belongs to the socket and not to a process.
 */
import type { Server } from 'node:net'
import { type Bind, type BindAddress, bindPlainly, type Binding, listenWith } from './bind.ts'

/** What a process tells its supervisor. */
export type SupervisedMessage =
  | { readonly ambient: 'listen'; readonly id: number; readonly host: string; readonly port: number }
  | { readonly ambient: 'release'; readonly host: string; readonly port: number }
  | { readonly ambient: 'ready' }

/** What a supervisor answers; the socket itself travels beside a `socket` without `error`. */
export type SupervisorMessage =
  | { readonly ambient: 'socket'; readonly id: number; readonly error?: SocketRefusal }
  | { readonly ambient: 'drain'; readonly graceMs: number }

/** `code` is the system's (`EADDRINUSE`), or `ENOTSUP` where a socket cannot be lent: it is bound here then. */
export interface SocketRefusal {
  readonly code: string
  readonly message: string
}

/** The part of `process` that is needed; a process without IPC channel has no `send`. */
export interface SupervisedProcess {
  readonly send?: ((message: SupervisedMessage) => unknown) | undefined
  readonly connected?: boolean
  on(event: 'message', listener: (message: unknown, handle: unknown) => void): unknown
  on(event: 'disconnect', listener: () => void): unknown
}

export interface Supervisor {
  /** Listens on sockets that the supervisor lends. */
  readonly bind: Bind
  /** Everything listens and works: the process before this one may go. */
  ready(): void
  /** Called when the supervisor wants the process to drain: its successor listens on the same sockets. */
  onDrain(listener: (options: { readonly graceMs: number }) => void): void
}

/** `undefined` when the process has no channel to a supervisor. */
export function followSupervisor(own: SupervisedProcess): Supervisor | undefined {
  return own.send === undefined ? undefined : new IpcSupervisor(own)
}

interface Waiting {
  resolve(handle: unknown): void
  reject(error: Error): void
}

class IpcSupervisor implements Supervisor {
  readonly #own: SupervisedProcess
  readonly #waiting = new Map<number, Waiting>()
  readonly #drainListeners = new Set<(options: { readonly graceMs: number }) => void>()
  #lastId = 0

  constructor(own: SupervisedProcess) {
    this.#own = own
    own.on('message', (message, handle) => this.#onMessage(message, handle))
    own.on('disconnect', () => {
      for (const { reject } of this.#waiting.values()) reject(gone())
      this.#waiting.clear()
    })
  }

  readonly bind: Bind = async (server: Server, at: BindAddress): Promise<Binding> => {
    if (this.#own.connected === false) return bindPlainly(server, at)
    let handle: unknown
    try {
      handle = await this.#borrow(at)
    } catch (error) {
      if (codeOf(error) === 'ENOTSUP') return bindPlainly(server, at)
      throw error
    }
    await listenWith(server, () => server.listen(handle))
    let held = true
    return {
      release: () => {
        if (held) this.#tell({ ambient: 'release', ...at })
        held = false
      },
    }
  }

  ready(): void {
    this.#tell({ ambient: 'ready' })
  }

  onDrain(listener: (options: { readonly graceMs: number }) => void): void {
    this.#drainListeners.add(listener)
  }

  #borrow({ host, port }: BindAddress): Promise<unknown> {
    const id = ++this.#lastId
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
      this.#tell({ ambient: 'listen', id, host, port })
    })
  }

  #tell(message: SupervisedMessage): void {
    // A supervisor that is gone ends us by other means.
    if (this.#own.connected !== false) this.#own.send?.(message)
  }

  #onMessage(message: unknown, handle: unknown): void {
    if (!isSupervisorMessage(message)) return
    if (message.ambient === 'drain') {
      for (const listener of this.#drainListeners) listener({ graceMs: message.graceMs })
      return
    }
    const waiting = this.#waiting.get(message.id)
    this.#waiting.delete(message.id)
    if (message.error !== undefined) waiting?.reject(refusal(message.error))
    // Node drops a socket that was closed while it was on its way.
    else if (handle === undefined) waiting?.reject(refusal({ code: 'ENOTSUP', message: 'no socket came' }))
    else waiting?.resolve(handle)
  }
}

/** The channel is ours; whatever else a parent sends is not for us. */
function isSupervisorMessage(message: unknown): message is SupervisorMessage {
  return (
    typeof message === 'object' &&
    message !== null &&
    'ambient' in message &&
    (message.ambient === 'socket' || message.ambient === 'drain')
  )
}

function refusal({ code, message }: SocketRefusal): Error {
  return Object.assign(new Error(message), { code })
}

function gone(): Error {
  return refusal({ code: 'ENOTSUP', message: 'the supervisor is gone' })
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined
}
