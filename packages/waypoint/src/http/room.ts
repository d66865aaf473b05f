/** Room 8, the reading room: a stream of a tunnel becomes requests, or is handed back because it is not HTTP. */
import type { Duplex } from 'node:stream'
import type { AppProtocol } from '@ambient/core'
import type { InboundStream } from '../stream.ts'
import type { HttpConnection } from './connection.ts'
import type { RequestDesk } from './desk.ts'
import { createHttp1Room } from './http1.ts'
import { serveHttp2 } from './http2.ts'
import { httpLimits, type HttpLimits } from './limits.ts'
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
   * decided by the first bytes, for which there is no time limit. Owns the socket, unless it hands it back. Never rejects.
   */
  serve(socket: Duplex, stream: InboundStream): Promise<Served>
  readonly connections: number
  /** Every connection is told to finish, now and those still to come: `Connection: close`, GOAWAY. */
  drain(): void
  /** Drains, waits for at most `graceMs`, cuts what is left. */
  close(options?: { readonly graceMs?: number }): Promise<void>
}

export function createReadingRoom(options: ReadingRoomOptions): ReadingRoom {
  const limits = Object.freeze({ ...httpLimits, ...options.limits })
  const facts = { desk: options.desk, limits }
  const http1 = createHttp1Room(facts)
  const connections = new Set<HttpConnection>()
  const sniffed = new Set<Duplex>()
  let isDraining = false
  let isClosed = false

  const read = async (kind: 'http1' | 'http2', socket: Duplex, stream: InboundStream): Promise<Served> => {
    const connection = kind === 'http2' ? serveHttp2(socket, stream, facts) : http1.serve(socket, stream)
    connections.add(connection)
    if (isClosed) connection.destroy()
    else if (isDraining) connection.drain()
    await connection.closed
    connections.delete(connection)
    return { kind: 'http' }
  }
  const look = async (
    socket: Duplex,
    declared: AppProtocol | undefined,
  ): Promise<SniffedSocket | undefined> => {
    sniffed.add(socket)
    // Who says nothing may wait for a server that speaks first; not so where HTTP is declared.
    const timer = declared && options.desk.clock.after(limits.idleMs, () => endSoon(socket))
    const result = await sniffSocket(
      socket,
      declared ? sniffVersion : bytes => sniff(bytes, limits.sniffBytes),
    )
    timer?.cancel()
    sniffed.delete(socket)
    return result
  }
  const drain = (): void => {
    isDraining = true
    for (const connection of connections) connection.drain()
  }
  return {
    async serve(socket, stream) {
      const declared = stream.target.kind === 'service' ? stream.target.protocol : undefined
      if (declared !== undefined && !isHttp(declared)) return { kind: 'tcp', socket }
      const first = await look(socket, declared)
      if (first === undefined) return { kind: 'http' }
      if (first.kind !== 'tcp') return read(first.kind, first.socket, stream)
      // A port that says it speaks HTTP has nothing else to be handed back for.
      if (declared === undefined) return { kind: 'tcp', socket: first.socket }
      endSoon(first.socket)
      return { kind: 'http' }
    },
    get connections() {
      return connections.size
    },
    drain,
    async close({ graceMs = limits.graceMs } = {}) {
      drain()
      const timer = options.desk.clock.after(graceMs, () => {
        isClosed = true
        for (const connection of connections) connection.destroy()
      })
      for (const socket of sniffed) reset(socket, 'the room is closed')
      await Promise.all([...connections].map(connection => connection.closed))
      timer.cancel()
    },
  }
}

function isHttp(protocol: AppProtocol): boolean {
  return protocol === 'HTTP11' || protocol === 'HTTP2' || protocol === 'GRPC'
}
