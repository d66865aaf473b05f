/** A response over HTTP/2: trailers, and a cut that is a RST_STREAM without an END_STREAM before it. */
import { constants, type OutgoingHttpHeaders, type ServerHttp2Stream } from 'node:http2'
import { Readable } from 'node:stream'
import type { Clock } from '@ambient/core'
import { copyBody, discard } from './body.ts'
import type { Downstream, ResponseHead, Sent } from './downstream.ts'
import type { HeaderFields } from './header-fields.ts'
import { singleFields } from './hygiene.ts'
import type { HttpLimits } from '../limits.ts'
import { join } from './upgrade.ts'

export interface Http2ResponseContext {
  readonly clock: Clock
  readonly limits: HttpLimits
}

export function http2Downstream(stream: ServerHttp2Stream, context: Http2ResponseContext): Downstream {
  return {
    send: async (head, body, trailers) => {
      const sent = await send(stream, head, body, trailers)
      if (sent.end === 'complete') void settleRequest(stream, context)
      return sent
    },
    async switch(head, upgraded) {
      // RFC 8441 §5: a 200 stands for the 101, and the handshake's fields are HTTP/1.1's alone.
      const headers = head.headers.copy()
      headers.delete('sec-websocket-accept')
      if (!respond(stream, { status: 200, headers }, false, () => undefined)) {
        upgraded.destroy()
        return { bytes: 0, end: stream.destroyed ? 'caller' : 'refused' }
      }
      return join(stream, upgraded)
    },
  }
}

async function send(
  stream: ServerHttp2Stream,
  head: ResponseHead,
  body: Readable | Buffer | undefined,
  trailers: () => HeaderFields | undefined,
): Promise<Sent> {
  if (stream.destroyed || stream.closed || !respond(stream, head, body === undefined, trailers)) {
    if (body instanceof Readable) body.destroy()
    return { bytes: 0, end: stream.destroyed || stream.closed ? 'caller' : 'refused' }
  }
  let bytes = 0
  if (body instanceof Readable) {
    const copied = await copyBody(body, stream)
    bytes = copied.bytes
    if (copied.end === 'source') {
      // `close(code)` would send END_STREAM first, and the response would look complete.
      stream.destroy(new Error('the upstream cut its response'))
      return { bytes, end: 'upstream' }
    }
    if (copied.end === 'sink') return { bytes, end: 'caller' }
  } else if (body !== undefined) {
    bytes = body.length
    stream.write(body)
  }
  return { bytes, end: (await finished(stream)) ? 'complete' : 'caller' }
}

/** The response is out. What of the request is still coming nobody reads: RFC 9113 §8.1 ends it without blame. */
async function settleRequest(
  stream: ServerHttp2Stream,
  { clock, limits }: Http2ResponseContext,
): Promise<void> {
  if (stream.readableEnded || stream.destroyed) return
  const isAll = await discard(stream, { bytes: limits.drainBytes, ms: limits.drainMs, clock })
  if (!isAll && !stream.closed) stream.close(constants.NGHTTP2_NO_ERROR)
}

/** `false`: Node does not take these fields, or the stream is gone; nothing was written. */
function respond(
  stream: ServerHttp2Stream,
  head: ResponseHead,
  endStream: boolean,
  trailers: () => HeaderFields | undefined,
): boolean {
  try {
    stream.respond(recordOf(head), { endStream, waitForTrailers: !endStream })
  } catch {
    return false
  }
  // Without trailers this is an empty DATA frame with END_STREAM.
  stream.once('wantTrailers', () => {
    if (!stream.destroyed) sendTrailers(stream, trailers())
  })
  return true
}

/** Called by an event: what Node throws here would end the process. The body is complete without its trailers. */
function sendTrailers(stream: ServerHttp2Stream, trailers: HeaderFields | undefined): void {
  for (const fields of [trailers, undefined]) {
    try {
      return stream.sendTrailers(fieldsOf(fields))
    } catch {
      // These are none for Node; the next are.
    }
  }
  stream.destroy(new Error('the response could not be ended'))
}

function recordOf(head: ResponseHead): OutgoingHttpHeaders {
  return { ...fieldsOf(head.headers), ':status': head.status }
}

function fieldsOf(fields: HeaderFields | undefined): OutgoingHttpHeaders {
  const record: Record<string, string | string[]> = Object.create(null)
  for (const [name, value] of fields ?? []) {
    const before = record[name]
    if (before === undefined) record[name] = value
    else if (singleFields.has(name)) continue
    else if (typeof before === 'string') record[name] = [before, value]
    else before.push(value)
  }
  return record
}

function finished(stream: ServerHttp2Stream): Promise<boolean> {
  return new Promise(resolve => {
    if (stream.writableFinished) return resolve(true)
    if (stream.destroyed) return resolve(false)
    stream.once('finish', () => resolve(true)).once('close', () => resolve(stream.writableFinished))
    stream.end()
  })
}
