/** A response over HTTP/1.1 through Node's `ServerResponse`: what of the request was not read decides how it ends. */
import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http'
import { Readable, type Duplex } from 'node:stream'
import type { Clock } from '@ambient/core'
import { copyBody, discard } from './body.ts'
import type { Downstream, ResponseHead, Sent } from './downstream.ts'
import type { HeaderFields } from './header-fields.ts'
import type { HttpLimits } from '../limits.ts'
import { netSocket } from './node-types.ts'
import { letGo, reset, switchProtocols } from './upgrade.ts'

export interface Http1ResponseOptions {
  readonly message: IncomingMessage
  readonly response: ServerResponse
  readonly socket: Duplex
  readonly clock: Clock
  readonly limits: HttpLimits
  /** The parser has let go of the socket: the response is to be tied to it, and it is the last one. */
  readonly isUpgrade: boolean
  /** Asked when the head is written: this is to be the connection's last response. */
  readonly isLast: () => boolean
  /** The rest of the request is no HTTP, which was answered already. */
  readonly isBroken: () => boolean
  /** The caller has all that this response was to be, or is about to get it. */
  readonly onHead: () => void
}

export function http1Downstream(options: Http1ResponseOptions): Downstream {
  return {
    send: (head, body, trailers) => send(options, head, body, trailers),
    switch: (head, upgraded) => {
      options.onHead()
      return switchProtocols(options.socket, head, upgraded)
    },
  }
}

async function send(
  options: Http1ResponseOptions,
  head: ResponseHead,
  body: Readable | Buffer | undefined,
  trailers: () => HeaderFields | undefined,
): Promise<Sent> {
  const { message, response, socket } = options
  if (response.destroyed || socket.destroyed || options.isBroken()) {
    if (body instanceof Readable) body.destroy()
    return { bytes: 0, end: 'caller' }
  }
  if (options.isUpgrade) attach(response, socket)
  // An unread body would be the next request's first line.
  const isUnread = !options.isUpgrade && !message.complete
  if (!writeHead(response, head, isUnread || options.isUpgrade || options.isLast())) {
    if (body instanceof Readable) body.destroy()
    return { bytes: 0, end: 'refused' }
  }
  options.onHead()
  let bytes = 0
  if (body instanceof Readable) {
    // A body may begin long after its head: events, streams of messages. One that is there already goes with it.
    const flush = setImmediate(() => response.flushHeaders())
    const copied = await copyBody(body, response)
    clearImmediate(flush)
    bytes = copied.bytes
    if (copied.end === 'source') reset(socket, 'the upstream cut its response')
    if (copied.end !== 'complete') return { bytes, end: copied.end === 'source' ? 'upstream' : 'caller' }
    addTrailers(response, trailers())
  } else if (body !== undefined) {
    bytes = body.length
    response.write(body)
  } else if (isUnread) response.flushHeaders()
  if (isUnread) await lingered(options)
  return { bytes, end: (await finished(response)) ? 'complete' : 'caller' }
}

/** What Node's server does for the responses that it makes itself. */
function attach(response: ServerResponse, socket: Duplex): void {
  response.assignSocket(netSocket(socket))
  socket.on('drain', () => response.emit('drain'))
  // Of another protocol that is not spoken; nobody reads it.
  letGo(socket)
  socket.resume()
}

/** `false`: Node does not take these fields; nothing was written. */
function writeHead(response: ServerResponse, head: ResponseHead, isLast: boolean): boolean {
  const fields: string[] = []
  for (const [name, value] of head.headers) fields.push(name, value)
  if (isLast) fields.push('connection', 'close')
  // Node would announce its own keep-alive times.
  else response.removeHeader('connection')
  try {
    response.writeHead(head.status, STATUS_CODES[head.status] ?? '', fields)
    return true
  } catch {
    return false
  }
}

/** The body is complete without fields that Node does not take. */
function addTrailers(response: ServerResponse, trailers: HeaderFields | undefined): void {
  if (trailers === undefined) return
  try {
    response.addTrailers([...trailers].map(([name, value]): [string, string] => [name, value]))
  } catch {
    // None of them was taken.
  }
}

/** Closing with unread bytes would reset the connection under the caller's reading of the answer. */
async function lingered({ message, clock, limits }: Http1ResponseOptions): Promise<void> {
  await discard(message, { bytes: limits.drainBytes, ms: limits.drainMs, clock })
}

function finished(response: ServerResponse): Promise<boolean> {
  return new Promise(resolve => {
    if (response.destroyed) return resolve(response.writableFinished)
    response.once('finish', () => resolve(true)).once('close', () => resolve(response.writableFinished))
    response.end()
  })
}
