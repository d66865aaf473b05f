/**
 * A line as a mesh has it: application ⇄ TCP ⇄ proxy ⇄ tunnel ⇄ proxy ⇄ TCP ⇄ application, in one process, with a wire
 * between the proxies that can be cut.
 */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { type ByteCounts, type Channel, pump, type PumpResult } from '@ambient/core'
import { dial, listen, socketChannel } from '@ambient/core/node'
import type { HboneLimits } from '@ambient/hbone'
import { App } from '../../../test/contracts/tcp-app.ts'
import { db, deferred, harness, later, web } from './harness.ts'

export type Side = 'client' | 'server'

/** Windows that do not grow: what is beyond them is beyond them soon. */
export const SMALL_WINDOWS: Partial<HboneLimits> = {
  streamWindowBytes: 65_536,
  maxStreamWindowBytes: 65_536,
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
