/** The client's half of SOCKS5 (RFC 1928) with a user name and a password (RFC 1929): how a workload's ztunnel is asked. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { messageOf } from '@ambient/core'
import { CliError } from '../errors.ts'

export interface SocksServer {
  readonly address: string
  readonly port: number
  readonly username: string
  readonly password: string
}

const VERSION = 5
const PASSWORD_METHOD = 2
const PASSWORD_VERSION = 1
const CONNECT = 1
const DOMAIN_NAME = 3
/** Bytes of a bound address by its type. */
const ADDRESS_BYTES: Readonly<Record<number, number>> = { 1: 4, 4: 16 }
const REASONS: Readonly<Record<number, string>> = {
  1: 'the connection failed',
  2: 'a policy denies it',
  3: 'the network is unreachable',
  4: 'no such host, or it cannot be reached',
  5: 'refused: nothing serves that port',
  6: 'it took too long',
}

/**
 * Connects through a SOCKS5 server, which resolves the name. The caller owns the socket; it is half-open.
 * @throws CliError `AMBIENT_E_CLI_CONNECT`
 */
export async function socksConnect(server: SocksServer, host: string, port: number): Promise<Socket> {
  const socket = connect({ host: server.address, port: server.port, allowHalfOpen: true })
  try {
    await once(socket, 'connect')
    await negotiate(socket, server, host, port)
    return socket
  } catch (cause) {
    socket.destroy()
    throw new CliError('AMBIENT_E_CLI_CONNECT', `${host}:${port}: ${messageOf(cause)}`, {
      cause,
      layer: 'tcp',
    })
  }
}

async function negotiate(socket: Socket, server: SocksServer, host: string, port: number): Promise<void> {
  socket.write(Uint8Array.of(VERSION, 1, PASSWORD_METHOD))
  const [, method] = await take(socket, 2)
  if (method !== PASSWORD_METHOD) throw new Error('the proxy asks for another authentication')
  socket.write(
    Buffer.concat([Uint8Array.of(PASSWORD_VERSION), counted(server.username), counted(server.password)]),
  )
  const [, granted] = await take(socket, 2)
  if (granted !== 0) throw new Error('the proxy does not know this workload')
  const target = Buffer.concat([
    Uint8Array.of(VERSION, CONNECT, 0, DOMAIN_NAME),
    counted(host),
    bigEndian(port),
  ])
  socket.write(target)
  const [, reply = 1, , type = 1] = await take(socket, 4)
  if (reply !== 0) throw new Error(REASONS[reply] ?? `SOCKS5 reply ${reply}`)
  const length = ADDRESS_BYTES[type] ?? (await take(socket, 1))[0] ?? 0
  await take(socket, length + 2)
}

function counted(text: string): Uint8Array {
  const bytes = Buffer.from(text)
  return Buffer.concat([Uint8Array.of(bytes.length), bytes])
}

function bigEndian(port: number): Uint8Array {
  return Uint8Array.of(port >> 8, port & 0xff)
}

/** Exactly so many bytes; what follows them stays in the socket. */
async function take(socket: Socket, length: number): Promise<Buffer> {
  for (;;) {
    const chunk: unknown = socket.read(length)
    if (chunk instanceof Buffer && chunk.length === length) return chunk
    if (chunk !== null || socket.readableEnded || socket.destroyed)
      throw new Error('the proxy closed the connection')
    await change(socket)
  }
}

/** The next thing that happens to what can be read. */
function change(socket: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    const events = ['readable', 'end', 'close'] as const
    const stop = (): void => {
      for (const event of events) socket.off(event, done)
      socket.off('error', failed)
    }
    const done = (): void => {
      stop()
      resolve()
    }
    const failed = (error: Error): void => {
      stop()
      reject(error)
    }
    for (const event of events) socket.on(event, done)
    socket.on('error', failed)
  })
}
