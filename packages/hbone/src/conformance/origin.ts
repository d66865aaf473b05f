/** The TCP application behind the tunnel, when it is ours: an echo, unless a case has something else in mind. */
import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import type { Clock } from '@ambient/core'
import { skip } from './verdict.ts'

/** How long a server that answered 200 has to be seen at the application. */
const ARRIVAL_MS = 2_000

export class Origin {
  readonly #server: Server
  readonly #clock: Clock
  readonly #sockets = new Set<Socket>()
  /** Who gets the next connection; nobody: it is echoed. */
  #next: ((socket: Socket) => void) | undefined
  /** Connections so far. */
  arrivals = 0

  constructor(clock: Clock) {
    this.#clock = clock
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, socket => this.#accept(socket))
  }

  /** @returns its authority. */
  async start(host: string): Promise<string> {
    this.#server.listen(0, host)
    await once(this.#server, 'listening')
    return `${host}:${portOf(this.#server)}`
  }

  /** The connection that follows is the caller's. */
  take(): Promise<Socket> {
    return new Promise((resolve, reject) => {
      const timer = this.#clock.after(
        ARRIVAL_MS,
        () => {
          this.#next = undefined
          try {
            skip('the server answered 200, but no connection came to the application')
          } catch (verdict) {
            reject(verdict)
          }
        },
        { keepAlive: true },
      )
      this.#next = socket => {
        this.#next = undefined
        timer.cancel()
        resolve(socket)
      }
    })
  }

  /** Cuts what a case left behind. */
  clear(): void {
    this.#next = undefined
    for (const socket of this.#sockets) socket.destroy()
  }

  async close(): Promise<void> {
    this.clear()
    const closed = once(this.#server, 'close')
    this.#server.close()
    await closed
  }

  #accept(socket: Socket): void {
    this.arrivals++
    this.#sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => this.#sockets.delete(socket))
    const owner = this.#next
    if (owner === undefined) socket.pipe(socket)
    else owner(socket)
  }
}

/** A loopback port that nobody listens on. */
export async function closedPort(host: string): Promise<number> {
  const server = createServer()
  server.listen(0, host)
  await once(server, 'listening')
  const port = portOf(server)
  const closed = once(server, 'close')
  server.close()
  await closed
  return port
}

function portOf(server: Server): number {
  const address = server.address()
  return typeof address === 'object' && address !== null ? address.port : 0
}
