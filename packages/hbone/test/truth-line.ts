/**
 * A line as a mesh has it: application ⇄ TCP ⇄ proxy ⇄ tunnel ⇄ proxy ⇄ TCP ⇄ application, in one process, with a wire
 * between the proxies that can be cut.
 */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { type ByteCounts, type Channel, pump, type PumpResult } from '@ambient/core'
import { dial, listen, resetSocket, socketChannel } from '@ambient/core/node'
import type { HboneLimits } from '@ambient/hbone'
import { Recorder } from '../../../test/contracts/channel.ts'
import { db, deferred, harness, later, web } from './harness.ts'

export type Side = 'client' | 'server'

/** More than all windows and kernel buffers of a line hold while nobody reads. */
export const MUCH = 12 << 20
/** Windows that do not grow: what is beyond them is beyond them soon. */
export const SMALL_WINDOWS: Partial<HboneLimits> = {
  streamWindowBytes: 65_536,
  maxStreamWindowBytes: 65_536,
}

const pattern = Buffer.from(Array.from({ length: 251 }, (_, index) => index))
const stock = Buffer.alloc(MUCH + (1 << 20), pattern)

/** The first `length` bytes that every sender sends, whose order can be told. */
export function bytesOf(length: number): Buffer {
  return stock.subarray(0, length)
}

/** One application: what it sent, what it saw. */
export class App {
  readonly events = new Recorder()
  readonly socket: Socket
  readonly #channel: Channel
  sent = 0

  /** A `paused` application has not yet asked the kernel for a byte. */
  constructor(socket: Socket, paused: boolean) {
    socket.on('error', () => {})
    this.socket = socket
    this.#channel = socketChannel(socket)
    if (!paused) this.#channel.start(this.events)
  }

  resume(): void {
    this.#channel.start(this.events)
  }

  send(length: number): void {
    this.#channel.write(stock.subarray(this.sent, this.sent + length))
    this.sent += length
  }

  end(): void {
    this.#channel.end()
  }

  /** TCP RST. */
  reset(): void {
    resetSocket(this.socket)
  }

  /** `close(2)`: the kernel says FIN, or RST when there are bytes that nobody read. */
  close(): void {
    this.socket.destroy()
  }

  /** What it has received is what was sent, as far as it goes. */
  get hasTrueBytes(): boolean {
    const { bytes } = this.events
    return bytes.equals(bytesOf(bytes.length))
  }

  /** How it heard of the end: not yet, a clean end, or a reset. */
  get ending(): 'end' | 'reset' | undefined {
    const { log } = this.events
    if (log.includes('end')) return 'end'
    return log.includes('reset') ? 'reset' : undefined
  }
}

export interface Proxy {
  readonly counts: ByteCounts
  readonly done: Promise<PumpResult>
}

/** Two proxies with one connection through them. */
export interface Proxies {
  /** Where the client connects. */
  readonly port: number
  /** `a` is the application, `b` the tunnel. */
  readonly near: Promise<Proxy>
  /** `a` is the tunnel, `b` the application. */
  readonly far: Promise<Proxy>
  readonly cut: (how: Cut) => void
}

/** How the wire between the proxies breaks. */
export type Cut = 'FIN' | 'RST'

export interface Line {
  readonly client: App
  readonly server: App
  /** `a` is the application, `b` the tunnel. */
  readonly near: Proxy
  /** `a` is the tunnel, `b` the application. */
  readonly far: Proxy
  readonly cut: (how: Cut) => void
}

export interface LineOptions {
  readonly paused?: Side
  readonly limits?: Partial<HboneLimits>
}

export async function openLine({ paused, limits }: LineOptions = {}): Promise<Line> {
  const app = await appServer()
  const { port, near, far, cut } = await openProxies(app.port, limits)
  const client = await dialApp(port)
  const line = {
    near: await near,
    far: await far,
    client: new App(client, paused === 'client'),
    server: new App(await app.socket, paused === 'server'),
    cut,
  }
  later(async () => {
    for (const { socket } of [line.client, line.server]) socket.destroy()
  })
  return line
}

/** Both proxies and the wire between them, for one connection to the application on port `target`. */
export async function openProxies(target: number, limits = SMALL_WINDOWS): Promise<Proxies> {
  const far = deferred<Proxy>()
  const { port, pool, request } = await harness(
    {
      limits,
      onTunnel: async tunnel => {
        const socket = await dial({ host: '127.0.0.1', port: target })
        far.resolve(carry(tunnel.accept(), socketChannel(socket)))
      },
    },
    { limits },
  )
  const wire = await openWire(port.port)
  const near = deferred<Proxy>()
  const door = await listen({
    host: '127.0.0.1',
    port: 0,
    onConnection: socket => {
      socket.on('error', () => {})
      void pool
        .connect(
          request({ credentials: web, expect: [db.id], to: { address: '127.0.0.1', port: wire.port } }),
        )
        .then(tunnel => near.resolve(carry(socketChannel(socket), tunnel.channel)))
    },
  })
  later(() => door.close())
  return { port: door.port, near: near.promise, far: far.promise, cut: wire.cut }
}

function carry(a: Channel, b: Channel): Proxy {
  const counts = { aToB: 0, bToA: 0 }
  return { counts, done: pump(a, b, { counts }) }
}

/** Connected, and nothing of it read. */
async function dialApp(port: number): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true, noDelay: true })
  socket.pause()
  await once(socket, 'connect')
  return socket
}

/** Both ends of one TCP connection; nothing of either is read. */
export async function socketPair(): Promise<[Socket, Socket]> {
  const app = await appServer()
  const socket = await dial({ host: '127.0.0.1', port: app.port })
  return [socket, await app.socket]
}

async function appServer(): Promise<{ port: number; socket: Promise<Socket> }> {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true })
  const socket = once(server, 'connection').then(([first]) => first as Socket)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  later(async () => void server.close())
  return { port: (server.address() as AddressInfo).port, socket }
}

/** Carries bytes to `port` until it is cut. */
async function openWire(port: number): Promise<{ port: number; cut: (how: Cut) => void }> {
  const sockets: Socket[] = []
  const server = createServer({ allowHalfOpen: true, noDelay: true }, left => {
    const right = connect({ host: '127.0.0.1', port, allowHalfOpen: true, noDelay: true })
    sockets.push(left, right)
    for (const socket of [left, right]) socket.on('error', () => {})
    left.pipe(right)
    right.pipe(left)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  later(async () => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return {
    port: (server.address() as AddressInfo).port,
    cut: how => {
      for (const socket of sockets) {
        socket.unpipe()
        if (how === 'RST') socket.resetAndDestroy()
        else socket.destroy()
      }
    },
  }
}

/** Waits for what has no event of its own: a counter that another end moves. */
export async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 10_000
  while (!condition()) {
    if (performance.now() > deadline) throw new Error('what was waited for did not come')
    await new Promise(resolve => setImmediate(resolve))
  }
}
