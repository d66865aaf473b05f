/** Asks a listener, as a caller that a PROXY header describes. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { connect as connectTls } from 'node:tls'
import { CALL_TLV, PRINCIPAL_TLV } from './envoy.ts'

export interface Caller {
  /** `spiffe://…`; `undefined` for plaintext. */
  readonly uri: string | undefined
  /** The physical address, in 127.0.0.0/8. */
  readonly ip: string
  /** What the PROXY header says of the source, hence `remote.ip` without `x-forwarded-for`. */
  readonly remoteIp: string
  readonly destination: { readonly ip: string; readonly port: number }
}

/** Sends the bytes and gives what comes back: the head of an HTTP answer and its body, or the first bytes. */
export async function ask(
  port: number,
  {
    caller,
    id,
    bytes,
    tcp,
  }: { readonly caller: Caller; readonly id: string; readonly bytes: Buffer; readonly tcp: boolean },
): Promise<Buffer> {
  const socket = connect({ port, host: '127.0.0.1', localAddress: caller.ip })
  await once(socket, 'connect')
  socket.write(Buffer.concat([proxyHeader(caller, id), bytes]))
  return answerOf(socket, tcp)
}

function answerOf(socket: Socket, tcp: boolean): Promise<Buffer> {
  return new Promise(resolve => {
    let got = Buffer.alloc(0)
    const done = (): void => {
      resolve(got)
      socket.destroy()
    }
    socket.on('data', chunk => {
      got = Buffer.concat([got, chunk])
      if (tcp || isWhole(got)) done()
    })
    socket.on('end', done)
    socket.on('close', done)
    socket.on('error', done)
  })
}

function isWhole(answer: Buffer): boolean {
  const text = answer.toString('latin1')
  const end = text.indexOf('\r\n\r\n')
  if (end < 0) return false
  const length = /\r\ncontent-length: (\d+)/i.exec(text.slice(0, end))?.[1]
  return length === undefined || text.length >= end + 4 + Number(length)
}

/** PROXY protocol 2 over IPv4, with identity and number in TLVs. */
function proxyHeader({ uri, remoteIp, destination }: Caller, id: string): Buffer {
  const tlvs = Buffer.concat([tlv(CALL_TLV, id), ...(uri === undefined ? [] : [tlv(PRINCIPAL_TLV, uri)])])
  const addresses = Buffer.alloc(12)
  addresses.set(remoteIp.split('.').map(Number), 0)
  addresses.set(destination.ip.split('.').map(Number), 4)
  addresses.writeUInt16BE(40_000, 8)
  addresses.writeUInt16BE(destination.port, 10)
  const head = Buffer.from('0d0a0d0a000d0a515549540a21110000', 'hex')
  head.writeUInt16BE(addresses.length + tlvs.length, 14)
  return Buffer.concat([head, addresses, tlvs])
}

function tlv(type: number, text: string): Buffer {
  const head = Buffer.from([type, 0, 0])
  head.writeUInt16BE(Buffer.byteLength(text), 1)
  return Buffer.concat([head, Buffer.from(text)])
}

/** The first flight of a TLS client that asks for a name. */
export async function clientHello(name: string): Promise<Buffer> {
  const { promise, found } = firstWrite()
  const wire = new Duplex({
    read: () => undefined,
    write(chunk: Buffer, _encoding, done) {
      found(chunk)
      done()
    },
  })
  const tls = connectTls({ socket: wire, servername: name })
  tls.on('error', () => undefined)
  const hello = await promise
  tls.destroy()
  wire.destroy()
  return hello
}

function firstWrite(): { readonly promise: Promise<Buffer>; readonly found: (chunk: Buffer) => void } {
  let found: (chunk: Buffer) => void = () => undefined
  const promise = new Promise<Buffer>(resolve => {
    found = resolve
  })
  return { promise, found }
}
