/**
 * The network between nodes, as a SOCKS5 relay that can be watched from outside of the mesh: it counts connections and
 * bytes, and how often a text passes in the clear. It looks at bytes and changes none; half-closes and resets pass.
 */
import { setMaxListeners } from 'node:events'
import type { Socket } from 'node:net'
import { type Channel, type ChannelEvents, isLoopback, pump } from '@ambient/core'
import { dial, type Listener, listen, socketChannel } from '@ambient/core/node'
import { createMarkerScan, type MarkerScan } from './marker-scan.ts'
import { acceptSocksRequest, answerSocksRequest } from './socks-server.ts'

export interface RelayStats {
  /** Connections that were carried, also those that have ended. */
  readonly connections: number
  readonly open: number
  /** Connections that could not be made at the far side. */
  readonly failed: number
  /** Both directions. */
  readonly bytes: number
}

/** Counts a text from the moment of its making. */
export interface MarkerWatch {
  /** Occurrences so far, in both directions, also across the borders of reads. */
  readonly count: number
  stop(): void
}

export interface Relay {
  /** Bound after `start`. */
  readonly address: string
  readonly port: number
  start(): Promise<void>
  stats(): RelayStats
  watch(marker: string | Uint8Array): MarkerWatch
  /** Resets every connection. */
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

export interface RelayOptions {
  /** A loopback address to listen on. */
  readonly address: string
  /** Default 0: any free port. */
  readonly port?: number
}

/** Creates a relay; it has no secret, so it belongs on loopback only. */
export function createRelay(options: RelayOptions): Relay {
  return new SocksRelay(options.address, options.port ?? 0)
}

class SocksRelay implements Relay {
  readonly address: string
  readonly #wantedPort: number
  readonly #scans = new Set<MarkerScan>()
  readonly #sockets = new Set<Socket>()
  readonly #closing = new AbortController()
  #listener: Listener | undefined
  #connections = 0
  #failed = 0
  #open = 0
  #bytes = 0

  constructor(address: string, port: number) {
    this.address = address
    this.#wantedPort = port
    // One for each connection that lives.
    setMaxListeners(0, this.#closing.signal)
  }

  get port(): number {
    return this.#listener?.port ?? this.#wantedPort
  }

  async start(): Promise<void> {
    this.#listener ??= await listen({
      host: this.address,
      port: this.#wantedPort,
      onConnection: socket => void this.#serve(socket),
    })
  }

  stats(): RelayStats {
    return {
      connections: this.#connections,
      open: this.#open,
      failed: this.#failed,
      bytes: this.#bytes,
    }
  }

  watch(marker: string | Uint8Array): MarkerWatch {
    const scan = createMarkerScan(marker)
    this.#scans.add(scan)
    return {
      get count() {
        return scan.count
      },
      stop: () => void this.#scans.delete(scan),
    }
  }

  async close(): Promise<void> {
    this.#closing.abort(new Error('the relay closes'))
    for (const socket of this.#sockets) socket.destroy()
    await this.#listener?.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** One connection, from greeting to end. Never rejects. */
  async #serve(client: Socket): Promise<void> {
    this.#track(client)
    const target = await acceptSocksRequest(client)
    if (target === undefined) return void client.destroy()
    let upstream: Socket
    try {
      upstream = await dial({ ...target, ...sourceOf(client), signal: this.#closing.signal })
    } catch (error) {
      this.#failed++
      answerSocksRequest(client, error)
      return void client.end()
    }
    this.#track(upstream)
    answerSocksRequest(client)
    this.#connections++
    this.#open++
    await pump(this.#tap(socketChannel(client)), this.#tap(socketChannel(upstream)), {
      signal: this.#closing.signal,
    })
    this.#open--
  }

  #track(socket: Socket): void {
    this.#sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => this.#sockets.delete(socket))
  }

  /** The same channel, with every byte that it delivers shown to the scans. */
  #tap(channel: Channel): Channel {
    const source = {}
    const look = (bytes: Uint8Array): void => {
      this.#bytes += bytes.length
      for (const scan of this.#scans) scan.add(source, bytes)
    }
    return {
      start(events: ChannelEvents): void {
        channel.start({
          data(bytes) {
            look(bytes)
            return events.data(bytes)
          },
          end: () => events.end(),
          drained: () => events.drained(),
          finished: () => events.finished(),
          reset: reset => events.reset(reset),
        })
      },
      pause: () => channel.pause(),
      resume: () => channel.resume(),
      write: bytes => channel.write(bytes),
      end: () => channel.end(),
      reset: (code, reason) => channel.reset(code, reason),
    }
  }
}

/** Towards the far side the relay wears the caller's own address, as a routed network would. */
function sourceOf(client: Socket): { localAddress?: string } {
  const address = client.remoteAddress
  return address !== undefined && isLoopback(address) ? { localAddress: address } : {}
}
