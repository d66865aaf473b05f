/** HTTP/2 frames by hand, for what Node’s client does not send. */
import { connect as connectTcp, type Socket } from 'node:net'

export const DATA = 0
export const HEADERS = 1
export const RST_STREAM = 3
const SETTINGS = 4
export const GOAWAY = 7

export interface Frame {
  readonly type: number
  readonly flags: number
  readonly stream: number
  readonly body: Buffer
}

/** GET / on stream 1, END_STREAM; every field a literal without index. */
export function requestFrame(
  fields: readonly (readonly [string, string])[] = [],
  authority = 'app',
  isEnd = true,
): Buffer {
  const pseudo: (readonly [string, string])[] = [
    [':method', 'GET'],
    [':scheme', 'http'],
    [':path', '/'],
  ]
  if (authority !== '') pseudo.push([':authority', authority])
  const isPseudo = ([name]: readonly [string, string]): boolean => name.startsWith(':')
  const all = [...pseudo, ...fields.filter(isPseudo), ...fields.filter(field => !isPseudo(field))]
  const block = Buffer.concat(
    all.map(([name, value]) =>
      Buffer.concat([
        Buffer.from([0, name.length]),
        Buffer.from(name),
        Buffer.from([value.length]),
        Buffer.from(value),
      ]),
    ),
  )
  return Buffer.concat([frameHead(block.length, HEADERS, isEnd ? 0x5 : 0x4, 1), block])
}

export function frameHead(length: number, type: number, flags: number, stream: number): Buffer {
  const head = Buffer.alloc(9)
  head.writeUIntBE(length, 0, 3)
  head[3] = type
  head[4] = flags
  head.writeUInt32BE(stream, 5)
  return head
}

/** Sends the preface and these frames. */
export function rawSession(port: number, frames: Buffer): Socket {
  const socket = connectTcp(port, '127.0.0.1')
  socket.on('error', () => {})
  socket.write(
    Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frameHead(0, SETTINGS, 0, 0), frames]),
  )
  return socket
}

/** Collects what comes until stream 1 is over or the connection is. */
export function rawFrames(port: number, frames: Buffer): Promise<Frame[]> {
  const socket = rawSession(port, frames)
  const got: Frame[] = []
  let bytes = Buffer.alloc(0)
  return new Promise(resolve => {
    socket.on('close', () => resolve(got))
    socket.on('data', chunk => {
      bytes = Buffer.concat([bytes, chunk])
      while (bytes.length >= 9 && bytes.length >= 9 + bytes.readUIntBE(0, 3)) {
        const body = bytes.subarray(9, 9 + bytes.readUIntBE(0, 3))
        const frame = { type: bytes[3] ?? 0, flags: bytes[4] ?? 0, stream: bytes.readUInt32BE(5), body }
        bytes = bytes.subarray(9 + body.length)
        got.push(frame)
        const isEnd = frame.type === RST_STREAM || (frame.type <= HEADERS && (frame.flags & 1) === 1)
        if ((frame.stream === 1 && isEnd) || frame.type === GOAWAY) socket.destroy()
      }
    })
  })
}
