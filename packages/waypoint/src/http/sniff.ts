/** Is this HTTP? The first bytes decide where a service does not say what its port speaks. */
import { METHODS } from 'node:http'
import { Duplex, Readable } from 'node:stream'
import { httpLimits } from '../limits.ts'

export type Sniffed = 'http1' | 'http2' | 'tcp'

/** RFC 9113 §3.4. */
const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'
const REQUEST_LINE = /^([A-Z-]+) [^\s]+ HTTP\/1\.[01]\r?$/

const methods: ReadonlySet<string> = new Set(METHODS)
const LONGEST_METHOD = Math.max(...METHODS.map(method => method.length))

/** On a port that says it speaks HTTP there is one question only. `undefined`: more bytes are needed. */
export function sniffVersion(bytes: Buffer): 'http1' | 'http2' | undefined {
  const start = bytes.toString('latin1', 0, PREFACE.length)
  if (start === PREFACE) return 'http2'
  return PREFACE.startsWith(start) ? undefined : 'http1'
}

/** `undefined`: more bytes are needed. */
export function sniff(bytes: Buffer, maxBytes: number = httpLimits.sniffBytes): Sniffed | undefined {
  const start = bytes.toString('latin1', 0, Math.max(PREFACE.length, LONGEST_METHOD + 1))
  if (start.startsWith(PREFACE)) return 'http2'
  if (PREFACE.startsWith(start)) return undefined
  const space = start.indexOf(' ')
  if (space < 0) return METHODS.some(method => method.startsWith(start)) ? undefined : 'tcp'
  if (!methods.has(start.slice(0, space))) return 'tcp'
  const lineEnd = bytes.indexOf(0x0a)
  if (lineEnd < 0) return bytes.length < maxBytes && isText(bytes) ? undefined : 'tcp'
  return lineEnd < maxBytes && REQUEST_LINE.test(bytes.toString('latin1', 0, lineEnd)) ? 'http1' : 'tcp'
}

export interface SniffedSocket {
  readonly kind: Sniffed
  /** The same socket with its bytes put back, unless the caller had ended already. */
  readonly socket: Duplex
}

/**
 * Waits for as many bytes as it takes; they are put back. Time limits are the caller's: an endless wait for the
 * first byte is a server-first protocol on a port that does not say so, as in Istio. `undefined`: the socket went away.
 */
export function sniffSocket(
  socket: Duplex,
  decide: (bytes: Buffer) => Sniffed | undefined,
): Promise<SniffedSocket | undefined> {
  return new Promise(resolve => {
    let bytes = Buffer.alloc(0)
    const finish = (result: SniffedSocket | undefined): void => {
      socket.off('readable', onReadable).off('end', onEnd).off('close', onClose).off('error', onClose)
      resolve(result)
    }
    const onReadable = (): void => {
      const chunk: Buffer | null = socket.read()
      if (chunk === null) return
      bytes = Buffer.concat([bytes, chunk])
      const kind = decide(bytes)
      if (kind === undefined) return
      socket.unshift(bytes)
      finish({ kind, socket })
    }
    // Too little to tell, and no more to come: it goes on as it was, its end included.
    const onEnd = (): void => finish({ kind: 'tcp', socket: withReadable(socket, bytes) })
    const onClose = (): void => finish(undefined)
    socket.on('readable', onReadable).on('end', onEnd).on('close', onClose).on('error', onClose)
    if (socket.destroyed) onClose()
  })
}

/** A stream cannot take bytes back after its end, nor end again. */
function withReadable(socket: Duplex, bytes: Buffer): Duplex {
  return Duplex.from({ readable: Readable.from(bytes.length > 0 ? [bytes] : []), writable: socket })
}

/** What may be in a request line before its end. */
function isText(bytes: Buffer): boolean {
  return bytes.every(byte => byte >= 0x20 && byte !== 0x7f)
}
