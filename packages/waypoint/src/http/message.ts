/** HTTP messages as rooms 8 to 10 hand them on: one shape for HTTP/1.1 and HTTP/2. */
import type { Duplex, Readable } from 'node:stream'
import type { HeaderFields } from './header-fields.ts'

export type HttpProtocol = 'HTTP/1.0' | 'HTTP/1.1' | 'HTTP/2'

/** Everything of a request before its body. Rooms change copies, never the original. */
export interface RequestHead {
  readonly method: string
  /** `http` inside a tunnel, unless the request says otherwise. */
  readonly scheme: string
  /** `:authority` or `Host`, port included when it was sent. */
  readonly authority: string
  /** Path and query, normalized: what policy judges, routes match and upstreams see. */
  readonly path: string
  /** Without pseudo headers and without `host`. */
  readonly headers: HeaderFields
}

export interface HttpRequest extends RequestHead {
  readonly protocol: HttpProtocol
  /** `undefined` when the request has none. */
  readonly body: Readable | undefined
  /** Trailers, once the body has ended. */
  trailers(): HeaderFields | undefined
  /** Lower-cased `Upgrade` protocol, e.g. `websocket`. */
  readonly upgrade: string | undefined
  /** Aborted when the caller has gone before the response was complete. */
  readonly signal: AbortSignal
}

export interface HttpResponse {
  readonly status: number
  readonly headers: HeaderFields
  /** `undefined` when there is none (HEAD, 204, 304). */
  readonly body: Readable | undefined
  trailers(): HeaderFields | undefined
  /** Of a 101: the raw bytes both ways. */
  readonly upgraded?: Duplex
}
