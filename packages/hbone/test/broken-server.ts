/**
 * An HBONE server with one fault: TLS by the platform, the engine without TLS behind it, and a filter between the two that
 * sees each frame of either direction.
 */
import { once } from 'node:events'
import { type AddressInfo, connect as connectTcp, type Socket } from 'node:net'
import { createServer, type TlsOptions, type TLSSocket } from 'node:tls'
import { pump, readHostPort } from '@ambient/core'
import { dial, listen, socketChannel } from '@ambient/core/node'
import { createPlaintextServer, type PlaintextRequest } from '@ambient/hbone/conformance'
import { db, later } from './harness.ts'
import type { Frame } from './raw-peer.ts'

const PREFACE_BYTES = 24

/** What becomes of a frame: `undefined` leaves it, frames replace it, `'cut'` ends the connection. */
export type FrameFilter = (one: Frame) => readonly Buffer[] | 'cut' | undefined

export interface Fault {
  readonly tls?: TlsOptions
  /** Whose certificate is good enough; default: whoever our credentials believe. */
  readonly admits?: (socket: TLSSocket) => boolean
  /** A filter for each connection. */
  readonly fromClient?: () => FrameFilter
  readonly fromServer?: () => FrameFilter
  /** Said by the server before anything else. */
  readonly greeting?: Buffer
  readonly onTunnel?: (request: PlaintextRequest) => Promise<void>
}

/** What a handler needs of a request to carry it. */
export type Answerable = Pick<PlaintextRequest, 'authority' | 'accept' | 'refuse'>

/** A request that answers in another way where `over` says so. */
export function but(request: Answerable, over: Partial<Answerable> = {}): Answerable {
  return {
    authority: request.authority,
    accept: headers => request.accept(headers),
    refuse: (status, headers) => request.refuse(status, headers),
    ...over,
  }
}

/** Dials what is asked for. */
export async function carry(request: Answerable): Promise<void> {
  const to = readHostPort(request.authority)
  if (!to.ok) return request.refuse(400)
  const socket = await dial(to.value).catch(() => undefined)
  if (socket === undefined) return request.refuse(503)
  await pump(request.accept(), socketChannel(socket))
}

/** @returns its port on 127.0.0.1. */
export async function brokenServer(fault: Fault): Promise<number> {
  const engine = createPlaintextServer({
    onTunnel: async request => {
      await (fault.onTunnel ?? carry)(request)
    },
  })
  const inner = await listen({ host: '127.0.0.1', port: 0, onConnection: socket => engine.accept(socket) })
  const front = createServer({
    cert: db.certificateChain,
    key: db.privateKey(),
    ca: [],
    requestCert: true,
    rejectUnauthorized: false,
    ALPNProtocols: ['h2'],
    minVersion: 'TLSv1.3',
    secureOptions: NO_TICKET,
    ...fault.tls,
  } as TlsOptions)
  const sockets = new Set<Socket>()
  front.on('tlsClientError', () => {})
  front.on('secureConnection', socket => {
    sockets.add(socket)
    socket.on('error', () => {})
    if (!(fault.admits ?? believed)(socket)) return void socket.destroy()
    join(socket, inner.port, fault)
  })
  front.listen(0, '127.0.0.1')
  await once(front, 'listening')
  later(async () => {
    for (const socket of sockets) socket.destroy()
    front.close()
    await inner.close()
    await engine.close({ graceMs: 0 })
  })
  return (front.address() as AddressInfo).port
}

const NO_TICKET = 1 << 14

function believed(socket: TLSSocket): boolean {
  const { raw } = socket.getPeerCertificate(true)
  return raw !== undefined && db.verifyPeer([raw], { kind: 'own-trust-domain' }).ok
}

function join(client: TLSSocket, port: number, fault: Fault): void {
  const server = connectTcp({ host: '127.0.0.1', port, allowHalfOpen: true, noDelay: true })
  client.setNoDelay(true)
  server.on('error', () => {})
  client.on('close', () => server.resetAndDestroy())
  server.on('close', () => client.destroy())
  if (fault.greeting !== undefined) client.write(fault.greeting)
  const ends = { cut: () => client.destroy() }
  pass(client, server, PREFACE_BYTES, fault.fromClient?.(), ends)
  pass(server, client, 0, fault.fromServer?.(), ends)
}

function pass(
  from: Socket,
  to: Socket,
  skip: number,
  filter: FrameFilter | undefined,
  ends: { cut(): void },
): void {
  let bytes = Buffer.alloc(0)
  let left = skip
  from.on('end', () => to.end())
  from.on('data', (chunk: Buffer) => {
    if (filter === undefined) return void to.write(chunk)
    bytes = Buffer.concat([bytes, chunk])
    if (left > 0 && bytes.length < left) return
    if (left > 0) to.write(bytes.subarray(0, left))
    bytes = bytes.subarray(left)
    left = 0
    while (bytes.length >= 9 && bytes.length >= 9 + bytes.readUIntBE(0, 3)) {
      const end = 9 + bytes.readUIntBE(0, 3)
      const [type = 0, flags = 0] = bytes.subarray(3, 5)
      const one = { type, flags, id: bytes.readUInt32BE(5) & 0x7fff_ffff, payload: bytes.subarray(9, end) }
      const instead = filter(one)
      if (instead === 'cut') return ends.cut()
      to.write(Buffer.concat(instead ?? [bytes.subarray(0, end)]))
      bytes = bytes.subarray(end)
    }
  })
}

/** A filter for frames of one type. */
export function only(type: number, run: FrameFilter): () => FrameFilter {
  return () => one => (one.type === type ? run(one) : undefined)
}
