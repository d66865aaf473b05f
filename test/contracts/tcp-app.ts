/**
 * An application at the end of a TCP connection: it knows what it sent, what it saw and how it heard of the end. What it reads it
 * reads through a channel, which asks the kernel again before it believes an end.
 */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import type { Channel } from '@ambient/core'
import { resetSocket, socketChannel } from '@ambient/core/node'
import { Recorder } from './channel.ts'

/** More than all windows and kernel buffers of a line hold while nobody reads. */
export const MUCH = 12 << 20
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

/** Both ends of one TCP connection; nothing of either is read. */
export async function socketPair(): Promise<[Socket, Socket]> {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true, noDelay: true })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const accepted = once(server, 'connection').then(([socket]) => socket as Socket)
  const { port } = server.address() as AddressInfo
  const socket = connect({ host: '127.0.0.1', port, allowHalfOpen: true, noDelay: true })
  await once(socket, 'connect')
  const pair: [Socket, Socket] = [socket, await accepted]
  server.close()
  return pair
}

/** Waits for what has no event of its own: a counter that another end moves. */
export async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 10_000
  while (!condition()) {
    if (performance.now() > deadline) throw new Error('what was waited for did not come')
    await new Promise(resolve => setImmediate(resolve))
  }
}
