/** Room 8, the reading room: a stream of a tunnel becomes requests, or is handed back because it is not HTTP. */
import type { Duplex } from 'node:stream'
import type { AppProtocol, Timer } from '@ambient/core'
import type { InboundStream } from '../stream.ts'
import type { HttpConnection, RoomFacts } from './connection.ts'
import type { RequestDesk } from './desk.ts'
import { createHttp1Room, type Http1Room } from './http1.ts'
import { serveHttp2 } from './http2.ts'
import { httpLimits, type HttpLimits } from '../limits.ts'
import { sniff, type SniffedSocket, sniffSocket, sniffVersion } from './sniff.ts'
import { endSoon } from './node-types.ts'
import { reset } from './upgrade.ts'

export interface ReadingRoomOptions {
  readonly desk: RequestDesk
  readonly limits?: Partial<HttpLimits>
}

export type Served =
  /** It was HTTP, every exchange of it is over, and the socket is closed. */
  | { readonly kind: 'http' }
  /**
   * It is not HTTP. The socket is the caller's again, with everything that was read put back; it may be another object
   * than the one that was given.
   */
  | { readonly kind: 'tcp'; readonly socket: Duplex }

export interface ReadingRoom {
  /**
   * Reads HTTP/1.1 or HTTP/2 (prior knowledge) until the socket closes. What the target's protocol leaves open is
   * decided by the first bytes; for the very first there is no time limit. Owns the socket, unless it hands it back. Never rejects.
   */
  serve(socket: Duplex, stream: InboundStream): Promise<Served>
  readonly connections: number
  /** Every connection is told to finish, now and those still to come: `Connection: close`, GOAWAY. */
  drain(): void
  /** Drains, waits for at most `graceMs`, cuts what is left. */
  close(options?: { readonly graceMs?: number }): Promise<void>
}

export function createReadingRoom(options: ReadingRoomOptions): ReadingRoom {
  return new LiveRoom(options.desk, Object.freeze({ ...httpLimits, ...options.limits }))
}

class LiveRoom implements ReadingRoom {
  readonly #facts: RoomFacts
  readonly #http1: Http1Room
  readonly #connections = new Set<HttpConnection>()
  /** Nothing is known of these yet; what a drain means for each. */
  readonly #silent = new Map<Duplex, () => void>()
  #isDraining = false
  #isClosed = false

  constructor(desk: RequestDesk, limits: HttpLimits) {
    this.#facts = { desk, limits }
    this.#http1 = createHttp1Room(this.#facts)
  }

  get connections(): number {
    return this.#connections.size
  }

  async serve(socket: Duplex, stream: InboundStream): Promise<Served> {
    const declared = stream.target.kind === 'service' ? stream.target.protocol : undefined
    if (declared !== undefined && !isHttp(declared)) return { kind: 'tcp', socket }
    const first = await this.#look(socket, declared)
    if (first === undefined) return { kind: 'http' }
    if (first.kind !== 'tcp') return this.#read(first.kind, first.socket, stream)
    // A port that says it speaks HTTP has nothing else to be handed back for.
    if (declared === undefined) return { kind: 'tcp', socket: first.socket }
    endSoon(first.socket)
    return { kind: 'http' }
  }

  drain(): void {
    this.#isDraining = true
    for (const connection of this.#connections) connection.drain()
    for (const onDrain of this.#silent.values()) onDrain()
  }

  async close({ graceMs = this.#facts.limits.graceMs }: { readonly graceMs?: number } = {}): Promise<void> {
    this.drain()
    const timer = this.#facts.desk.clock.after(graceMs, () => {
      this.#isClosed = true
      for (const connection of this.#connections) connection.destroy()
    })
    for (const socket of this.#silent.keys()) reset(socket, 'the room is closed')
    await Promise.all([...this.#connections].map(connection => connection.closed))
    timer.cancel()
  }

  async #look(socket: Duplex, declared: AppProtocol | undefined): Promise<SniffedSocket | undefined> {
    const { desk, limits } = this.#facts
    let timer: Timer | undefined
    const allow = (ms: number): void => {
      timer?.cancel()
      timer = desk.clock.after(this.#isDraining ? limits.drainIdleMs : ms, () => endSoon(socket))
    }
    // Who says nothing may wait for a server that speaks first; not so where HTTP is declared.
    this.#silent.set(socket, () => declared && allow(limits.drainIdleMs))
    if (declared) allow(limits.idleMs)
    let hasBegun = false
    const result = await sniffSocket(socket, bytes => {
      const kind = declared ? sniffVersion(bytes) : sniff(bytes, limits.sniffBytes)
      // Half a request line is not handed on: what follows it would be judged by nobody.
      if (kind === undefined && !hasBegun) allow(limits.headMs)
      hasBegun = true
      return kind
    })
    timer?.cancel()
    this.#silent.delete(socket)
    return result
  }

  async #read(kind: 'http1' | 'http2', socket: Duplex, stream: InboundStream): Promise<Served> {
    const connection =
      kind === 'http2' ? serveHttp2(socket, stream, this.#facts) : this.#http1.serve(socket, stream)
    this.#connections.add(connection)
    if (this.#isClosed) connection.destroy()
    else if (this.#isDraining) connection.drain()
    await connection.closed
    this.#connections.delete(connection)
    return { kind: 'http' }
  }
}

function isHttp(protocol: AppProtocol): boolean {
  return protocol === 'HTTP11' || protocol === 'HTTP2' || protocol === 'GRPC'
}
