/** A peer that writes frames by hand, for what no HTTP/2 library would do. */
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { connect as tlsConnect, createServer as createTlsServer } from 'node:tls'
import type { Credentials } from '@ambient/core'
import { later } from './harness.ts'
import { encodeHeaders, type HeaderList } from '../src/http2/hpack.ts'

export const TYPE = {
  data: 0,
  headers: 1,
  priority: 2,
  reset: 3,
  settings: 4,
  push: 5,
  ping: 6,
  goaway: 7,
  update: 8,
  continuation: 9,
} as const

export const CONNECT: HeaderList = [
  [':method', 'CONNECT'],
  [':authority', '127.0.0.1:8080'],
]

const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'

export interface Frame {
  readonly type: number
  readonly flags: number
  readonly id: number
  readonly payload: Buffer
}

export function frame(type: number, flags: number, id: number, payload: Uint8Array | string = ''): Buffer {
  const body = Buffer.from(payload as Uint8Array)
  const header = Buffer.alloc(9)
  header.writeUIntBE(body.length, 0, 3)
  header[3] = type
  header[4] = flags
  header.writeUInt32BE(id, 5)
  return Buffer.concat([header, body])
}

/** HEADERS that opens a stream with CONNECT; `flags` 4 is END_HEADERS, 5 ends the stream as well. */
export function request(id: number, flags = 4, head: HeaderList = CONNECT): Buffer {
  return frame(TYPE.headers, flags, id, encodeHeaders(head))
}

export function uint32(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(4 * values.length)
  for (const [index, value] of values.entries()) bytes.writeUInt32BE(value, 4 * index)
  return bytes
}

export function setting(id: number, value: number): Buffer {
  const entry = Buffer.alloc(6)
  entry.writeUInt16BE(id)
  entry.writeUInt32BE(value, 2)
  return entry
}

export class RawPeer {
  readonly socket: Duplex
  readonly frames: Frame[] = []
  readonly closed: Promise<unknown>
  isClosed = false
  #bytes = Buffer.alloc(0)
  #skip: number
  #acknowledges = false
  #acknowledged = 0
  #waiting: (() => void)[] = []

  constructor(socket: Duplex, role: 'client' | 'server') {
    this.socket = socket
    this.#skip = role === 'server' ? PREFACE.length : 0
    socket.on('error', () => {})
    this.closed = new Promise(resolve => {
      socket.once('close', () => {
        this.isClosed = true
        this.#wake()
        resolve(undefined)
      })
    })
    socket.on('end', () => socket.end())
    socket.on('data', (chunk: Buffer) => this.#read(chunk))
    if (role === 'client') socket.write(PREFACE)
  }

  /** `false` when the peer has gone. */
  write(...frames: readonly Uint8Array[]): void {
    if (!this.socket.destroyed && !this.socket.writableEnded) this.socket.write(Buffer.concat(frames))
  }

  /** Our SETTINGS; the peer's are acknowledged from now on. */
  settings(...entries: readonly Buffer[]): void {
    this.write(frame(TYPE.settings, 0, 0, Buffer.concat(entries)))
    this.#acknowledges = true
    this.#acknowledge()
  }

  /** Says that the peer's SETTINGS were read, and everything up to now was. */
  async sync(): Promise<void> {
    const mark = Buffer.from(`mark${String(this.frames.length).padStart(4, '0')}`)
    this.write(frame(TYPE.ping, 0, 0, mark))
    await this.until(() =>
      this.frames.some(({ type, flags, payload }) => isAck(type, flags) && payload.equals(mark)),
    )
  }

  find(type: number, id?: number): Frame | undefined {
    return this.frames.find(entry => entry.type === type && (id === undefined || entry.id === id))
  }

  all(type: number, id?: number): readonly Frame[] {
    return this.frames.filter(entry => entry.type === type && (id === undefined || entry.id === id))
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      if (this.isClosed) throw new Error(`the connection closed; ${this.goawayCode ?? 'no GOAWAY'} was seen`)
      await new Promise<void>(resolve => this.#waiting.push(resolve))
    }
  }

  /** Code of the last GOAWAY. */
  get goawayCode(): number | undefined {
    return this.all(TYPE.goaway).at(-1)?.payload.readUInt32BE(4)
  }

  #read(chunk: Buffer): void {
    const skipped = Math.min(this.#skip, chunk.length)
    this.#skip -= skipped
    this.#bytes = Buffer.concat([this.#bytes, chunk.subarray(skipped)])
    while (this.#bytes.length >= 9) {
      const end = 9 + this.#bytes.readUIntBE(0, 3)
      if (this.#bytes.length < end) break
      const payload = this.#bytes.subarray(9, end)
      const [type = 0, flags = 0] = this.#bytes.subarray(3, 5)
      this.frames.push({ type, flags, id: this.#bytes.readUInt32BE(5) & 0x7fff_ffff, payload })
      this.#bytes = this.#bytes.subarray(end)
    }
    this.#acknowledge()
    this.#wake()
  }

  #acknowledge(): void {
    if (!this.#acknowledges) return
    const theirs = this.all(TYPE.settings).filter(entry => entry.flags === 0).length
    for (; this.#acknowledged < theirs; this.#acknowledged++) this.write(frame(TYPE.settings, 1, 0))
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake()
  }
}

function isAck(type: number, flags: number): boolean {
  return type === TYPE.ping && (flags & 1) !== 0
}

/** A proven client of a server on `port`, its preface said, its SETTINGS not. */
export async function rawClient(port: number, credentials: Credentials): Promise<RawPeer> {
  const socket = tlsConnect({
    host: '127.0.0.1',
    port,
    rejectUnauthorized: false,
    cert: credentials.certificateChain,
    key: credentials.privateKey(),
    ALPNProtocols: ['h2'],
  })
  socket.setNoDelay()
  const peer = new RawPeer(socket, 'client')
  later(async () => void socket.destroy())
  await once(socket, 'secureConnect')
  return peer
}

export interface RawServer {
  readonly port: number
  readonly peers: readonly RawPeer[]
}

/** A TLS server whose sessions are answered by hand. */
export async function rawServer(
  credentials: Credentials,
  onPeer: (peer: RawPeer) => void = peer => peer.settings(),
): Promise<RawServer> {
  const peers: RawPeer[] = []
  const server = createTlsServer({
    cert: credentials.certificateChain,
    key: credentials.privateKey(),
    requestCert: true,
    rejectUnauthorized: false,
    ALPNProtocols: ['h2'],
    minVersion: 'TLSv1.3',
    noDelay: true,
  })
  server.on('secureConnection', socket => {
    const peer = new RawPeer(socket, 'server')
    peers.push(peer)
    onPeer(peer)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  later(async () => {
    for (const peer of peers) peer.socket.destroy()
    server.close()
    await Promise.all(peers.map(peer => peer.closed))
  })
  return { port: (server.address() as AddressInfo).port, peers }
}

/** Calls back with the stream of each request that arrives. */
export function onRequests(peer: RawPeer, run: (id: number) => void): void {
  let seen = 0
  peer.socket.on('data', () => {
    const requests = peer.all(TYPE.headers)
    for (; seen < requests.length; seen++) run(requests[seen]?.id ?? 0)
  })
}
