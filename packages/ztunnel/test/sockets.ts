/** Sockets for tests: pairs over loopback, reading to the end, with everything closed afterwards. */
import { once } from 'node:events'
import { createServer, connect as netConnect, type Server, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { ipToBytes } from '@ambient/core'
import { afterEach } from 'vitest'

const cleanups: (() => void | Promise<void>)[] = []

/** Runs after the test, last first. */
export function cleanup(run: () => void | Promise<void>): void {
  cleanups.push(run)
}

afterEach(async () => {
  for (const run of cleanups.splice(0).reverse()) await run()
})

/** A block of loopback addresses that this test process has for itself. */
const block = 20 + (process.pid % 200)
let next = 1
export function loopbackAddress(): string {
  const serial = next++
  return `127.${block}.${200 + (serial >> 8)}.${serial & 255 || 1}`
}

export interface TestServer {
  readonly address: string
  readonly port: number
  readonly sockets: Set<Socket>
}

export async function serve(
  onConnection: (socket: Socket) => void,
  where: { host?: string; port?: number } = {},
): Promise<TestServer> {
  const sockets = new Set<Socket>()
  const server: Server = createServer({ allowHalfOpen: true }, socket => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
    onConnection(socket)
  })
  server.listen(where.port ?? 0, where.host ?? '127.0.0.1')
  await once(server, 'listening')
  cleanup(async () => {
    for (const socket of sockets) socket.destroy()
    server.close()
    await once(server, 'close')
  })
  const bound = server.address()
  if (bound === null || typeof bound === 'string') throw new Error('no port')
  return { address: bound.address, port: bound.port, sockets }
}

export async function connectTo(host: string, port: number, localAddress?: string): Promise<Socket> {
  const socket = netConnect({
    host,
    port,
    allowHalfOpen: true,
    ...(localAddress === undefined ? {} : { localAddress }),
  })
  socket.on('error', () => {})
  cleanup(() => void socket.destroy())
  await once(socket, 'connect')
  return socket
}

/** Both ends of one TCP connection, the accepted one paused as a listener of ours has it. */
export async function socketPair(): Promise<{ client: Socket; accepted: Socket }> {
  const accepted = deferred<Socket>()
  const server = await serve(socket => {
    socket.pause()
    accepted.resolve(socket)
  })
  const client = await connectTo(server.address, server.port)
  return { client, accepted: await accepted.promise }
}

/** CONNECT of SOCKS5, by hand. */
export function socksRequest(host: string, port: number): Buffer {
  const ip = ipToBytes(host)
  const address = ip === undefined ? [3, host.length, ...Buffer.from(host)] : [ip.length === 4 ? 1 : 4, ...ip]
  return Buffer.from([5, 1, 0, ...address, port >> 8, port & 0xff])
}

export function deferred<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve: (value: T) => void = () => {}
  const promise = new Promise<T>(done => {
    resolve = done
  })
  return { promise, resolve }
}

/** Exactly so many bytes; rejects when the socket ends before. */
export function readBytes(socket: Duplex, count: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    let held = Buffer.alloc(0)
    const settle = (): void => {
      socket.pause()
      socket.off('data', onData)
      socket.off('close', onEnd)
      socket.off('end', onEnd)
    }
    const onEnd = (): void => {
      settle()
      reject(new Error(`ended after ${held.length} of ${count} bytes: ${held.toString('latin1')}`))
    }
    const onData = (chunk: Buffer): void => {
      held = Buffer.concat([held, chunk])
      if (held.length < count) return
      settle()
      if (held.length > count) socket.unshift(held.subarray(count))
      resolve(held.subarray(0, count))
    }
    socket.on('data', onData)
    socket.on('end', onEnd)
    socket.on('close', onEnd)
    socket.resume()
  })
}

export type Ending = { readonly text: string; readonly end: 'fin' | 'reset' }

/** Everything until the peer's end, and which kind of end it was. */
export function readAll(socket: Duplex): Promise<Ending> {
  return new Promise(resolve => {
    const chunks: Buffer[] = []
    let error: NodeJS.ErrnoException | undefined
    const done = (end: 'fin' | 'reset'): void =>
      resolve({ text: Buffer.concat(chunks).toString('latin1'), end })
    socket.on('data', chunk => chunks.push(chunk))
    socket.once('end', () => done('fin'))
    socket.once('error', cause => {
      error = cause
    })
    socket.once('close', () => done(error === undefined ? 'fin' : 'reset'))
    socket.resume()
  })
}
