/** A request of HTTP/2 as Node hands it over. nghttp2 has refused malformed pseudo and connection fields already. */
import { METHODS } from 'node:http'
import type { IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2'
import { CallerBody, callerGone } from './body.ts'
import type { IncomingRequest } from './downstream.ts'
import { HeaderFields } from './header-fields.ts'
import { headBytes } from './hygiene.ts'
import type { HttpLimits } from '../limits.ts'
import type { LocalReply } from './local-reply.ts'

const TOO_LARGE: LocalReply = {
  status: 431,
  body: '',
  flags: ['DPE'],
  detail: 'request_headers_too_large',
}

/**
 * Node's HTTP/1 client writes any method in upper case: `delete`, judged as it is, would arrive as `DELETE`. What the
 * parser of HTTP/1 knows, in its own case, is the same everywhere.
 */
const methods: ReadonlySet<string> = new Set(METHODS)

export interface Http2RequestOptions {
  readonly headers: IncomingHttpHeaders
  /** Name, value, name, value, in the order of the wire. */
  readonly raw: readonly string[]
  /** END_STREAM came with the headers. */
  readonly isEnded: boolean
  readonly signal: AbortSignal
  readonly limits: HttpLimits
}

export function readHttp2Request(stream: ServerHttp2Stream, options: Http2RequestOptions): IncomingRequest {
  const { headers: pseudo, raw, isEnded, signal, limits } = options
  const headers = new HeaderFields()
  for (let at = 0; at + 1 < raw.length; at += 2)
    if (!raw[at]?.startsWith(':')) headers.add(raw[at] ?? '', raw[at + 1] ?? '')
  let trailers: HeaderFields | undefined
  stream.on('trailers', (_fields: IncomingHttpHeaders, _flags: number, list: string[]) => {
    trailers = new HeaderFields()
    for (let at = 0; at + 1 < list.length; at += 2) trailers.add(list[at] ?? '', list[at + 1] ?? '')
  })
  const protocol = pseudo[':protocol']
  const upgrade = typeof protocol === 'string' ? protocol.toLowerCase() : undefined
  const authority = pseudo[':authority'] ?? headers.get('host') ?? ''
  return {
    protocol: 'HTTP/2',
    // RFC 8441: what HTTP/1.1 calls a GET with an upgrade.
    method: upgrade === undefined ? (pseudo[':method'] ?? '') : 'GET',
    scheme: pseudo[':scheme'] ?? 'http',
    authority,
    target: pseudo[':path'] ?? '',
    headers,
    body:
      isEnded || upgrade !== undefined
        ? undefined
        : // A reset reaches readers as an end; only an open stream has ended well.
          new CallerBody(stream, {
            endProblem: () => (stream.closed || stream.aborted ? callerGone() : undefined),
            onFirstRead: () => {
              if (asksToContinue(headers)) sayContinue(stream)
            },
          }),
    trailers: () => trailers,
    upgrade,
    signal,
    brokenBy: () => undefined,
    problem:
      headers.size > limits.headerFields || headBytes(headers) > limits.headerBytes
        ? TOO_LARGE
        : problemOf(pseudo, authority, upgrade, headers),
  }
}

function problemOf(
  pseudo: IncomingHttpHeaders,
  authority: string,
  upgrade: string | undefined,
  headers: HeaderFields,
): LocalReply | undefined {
  if (!methods.has(pseudo[':method'] ?? '')) return malformed('method')
  if (upgrade !== undefined && upgrade !== 'websocket')
    return { status: 403, body: '', flags: [], detail: 'upgrade_failed' }
  if (pseudo[':method'] === 'CONNECT' && upgrade === undefined)
    return { status: 404, body: '', flags: ['NR'], detail: 'route_not_found' }
  // There is no body whose length that could be; HTTP/1.1 would take the tunnel's first bytes for one.
  if (upgrade !== undefined && headers.has('content-length')) return malformed('content-length')
  if (authority === '' || /[\s/\\?#@,]/.test(authority)) return malformed('authority')
  if ((pseudo[':path'] ?? '') === '') return malformed('path')
  return undefined
}

function malformed(what: string): LocalReply {
  return { status: 400, body: 'Bad Request', flags: ['DPE'], detail: `http2.invalid_header{${what}}` }
}

/** A stream that ends at this moment needs no `100`, and no exception either. */
function sayContinue(stream: ServerHttp2Stream): void {
  if (stream.headersSent || stream.closed || stream.destroyed) return
  try {
    stream.additionalHeaders({ ':status': 100 })
  } catch (error) {
    stream.destroy(error instanceof Error ? error : new Error('no 100 could be sent', { cause: error }))
  }
}

function asksToContinue(headers: HeaderFields): boolean {
  return headers.get('expect')?.toLowerCase() === '100-continue'
}
