/**
 * Keep-alive connections of HTTP/1.1, idle ones by endpoint. An idle connection is closed at the first sign that it will
 * not take another request: its tunnel's session drains, the other end ends it or says something unasked, its time is up.
 */
import { Agent, type ClientRequestArgs } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Clock, Timer } from '@ambient/core'
import type { TunnelSocket } from '@ambient/hbone'
import { upstreamLimits } from '../limits.ts'
import { type Link, whileWanted } from './link.ts'

export class Http1Connections {
  readonly #clock: Clock
  readonly #idle = new Map<string, Http1Connection[]>()
  readonly #open = new Set<Http1Connection>()
  /** On their way, for callers who have gone: the next one takes them over. */
  readonly #unclaimed = new Map<string, Promise<Http1Connection>[]>()
  #isClosing = false

  constructor(clock: Clock) {
    this.#clock = clock
  }

  get idle(): number {
    let sum = 0
    for (const list of this.#idle.values()) sum += list.length
    return sum
  }

  /** The idle connection that was used last. */
  take(key: string): Http1Connection | undefined {
    for (;;) {
      const connection = this.#idle.get(key)?.pop()
      if (connection === undefined) return undefined
      this.#tidy(key)
      if (connection.use()) return connection
      connection.cut()
    }
  }

  /** A new one. Rejects with what `open` rejects with, or with the signal's reason; then the connection rests when it is there. */
  async open(key: string, open: () => Promise<Link>, signal: AbortSignal): Promise<Http1Connection> {
    const opening = this.#claim(key) ?? open().then(link => this.#add(key, link))
    try {
      return await whileWanted(opening, signal)
    } catch (error) {
      if (signal.aborted) this.#abandon(key, opening)
      throw error
    }
  }

  /** Idle ones are closed; what is under way finishes, and then closes. */
  retire(): void {
    for (const [key, list] of [...this.#idle]) for (const connection of [...list]) this.#drop(key, connection)
    for (const connection of this.#open) connection.retire()
  }

  close(): void {
    this.#isClosing = true
    this.retire()
  }

  cut(): void {
    for (const connection of [...this.#open]) connection.cut()
  }

  #claim(key: string): Promise<Http1Connection> | undefined {
    const list = this.#unclaimed.get(key)
    const opening = list?.shift()
    if (list?.length === 0) this.#unclaimed.delete(key)
    return opening
  }

  #abandon(key: string, opening: Promise<Http1Connection>): void {
    this.#unclaimed.set(key, [...(this.#unclaimed.get(key) ?? []), opening])
    const isMine = (): boolean => {
      const list = this.#unclaimed.get(key) ?? []
      const left = list.filter(one => one !== opening)
      if (left.length === 0) this.#unclaimed.delete(key)
      else this.#unclaimed.set(key, left)
      return left.length < list.length
    }
    opening.then(
      connection => {
        if (isMine()) connection.rest()
      },
      () => void isMine(),
    )
  }

  #add(key: string, link: Link): Http1Connection {
    const connection: Http1Connection = new Http1Connection(link, {
      onIdle: () => this.#rest(key, connection),
      onUnfit: () => this.#drop(key, connection),
      onClosed: () => {
        this.#forget(key, connection)
        this.#open.delete(connection)
      },
      clock: this.#clock,
    })
    this.#open.add(connection)
    connection.use()
    return connection
  }

  #rest(key: string, connection: Http1Connection): void {
    const list = this.#idle.get(key) ?? []
    if (this.#isClosing || list.length >= upstreamLimits.maxIdlePerEndpoint) return connection.end()
    list.push(connection)
    this.#idle.set(key, list)
  }

  #drop(key: string, connection: Http1Connection): void {
    this.#forget(key, connection)
    connection.end()
  }

  #forget(key: string, connection: Http1Connection): void {
    const list = this.#idle.get(key)
    const at = list?.indexOf(connection) ?? -1
    if (at >= 0) list?.splice(at, 1)
    this.#tidy(key)
  }

  #tidy(key: string): void {
    if (this.#idle.get(key)?.length === 0) this.#idle.delete(key)
  }
}

interface ConnectionHandlers {
  readonly onIdle: () => void
  /** It is idle and must not be used again. */
  readonly onUnfit: () => void
  readonly onClosed: () => void
  readonly clock: Clock
}

export class Http1Connection {
  readonly socket: TunnelSocket
  readonly agent: Agent
  /** Requests that it was taken for. */
  uses = 0
  readonly #draining: AbortSignal | undefined
  readonly #handlers: ConnectionHandlers
  #idleMs: number = upstreamLimits.idleMs
  #timer: Timer | undefined
  #isIdle = false
  #isRetired = false

  constructor(link: Link, handlers: ConnectionHandlers) {
    this.#draining = link.draining
    this.#handlers = handlers
    this.socket = link.socket()
    this.socket.on('error', () => {})
    this.socket.once('close', () => {
      this.#leaveIdle()
      handlers.onClosed()
    })
    this.agent = new OneSocketAgent(this.socket)
    // After the agent's own listener: what it did not destroy, it kept.
    this.agent.on('free', () => this.rest())
  }

  get isReused(): boolean {
    return this.uses > 1
  }

  /** Takes it out of its rest. `false`: it has died meanwhile. */
  use(): boolean {
    this.#leaveIdle()
    this.uses++
    const { socket } = this
    return !socket.destroyed && socket.writable && !socket.readableEnded && this.#draining?.aborted !== true
  }

  /** A server that says how long it keeps a connection closes it then: stop using it a little before. */
  keepFor(serverMs: number): void {
    this.#idleMs = Math.min(upstreamLimits.idleMs, serverMs - upstreamLimits.keepAliveMarginMs)
  }

  /** Not used again after what is under way. */
  retire(): void {
    this.#isRetired = true
  }

  /** Nobody uses it now. */
  rest(): void {
    const { socket } = this
    if (socket.destroyed) return
    const isFit = socket.writable && !socket.readableEnded && this.#idleMs > 0 && !this.#isRetired
    if (!isFit || this.#draining?.aborted === true) return this.end()
    this.#isIdle = true
    this.#timer = this.#handlers.clock.after(this.#idleMs, this.#onUnfit)
    socket.on('data', this.#onUnfit)
    socket.on('end', this.#onUnfit)
    this.#draining?.addEventListener('abort', this.#onUnfit)
    this.#handlers.onIdle()
  }

  end(): void {
    this.#leaveIdle()
    this.socket.destroySoon()
    // A peer that has nothing to say any more need not be waited for.
    this.agent.destroy()
  }

  /** The other end sees a reset. */
  cut(): void {
    if (!this.socket.destroyed) this.socket.resetAndDestroy()
  }

  readonly #onUnfit = (): void => {
    if (!this.#isIdle) return
    this.#leaveIdle()
    this.#handlers.onUnfit()
  }

  #leaveIdle(): void {
    this.#isIdle = false
    this.#timer?.cancel()
    this.socket.off('data', this.#onUnfit)
    this.socket.off('end', this.#onUnfit)
    this.#draining?.removeEventListener('abort', this.#onUnfit)
  }
}

/** Gives a request the socket that is there; Node's agent does the rest of keep-alive. */
class OneSocketAgent extends Agent {
  readonly #socket: TunnelSocket

  constructor(socket: TunnelSocket) {
    super({ keepAlive: true, maxSockets: 1, maxFreeSockets: 1 })
    this.#socket = socket
  }

  override createConnection(_options: ClientRequestArgs): Duplex {
    return this.#socket
  }
}
