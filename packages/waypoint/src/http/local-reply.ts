/** Answers of our own, in Envoy's words: text for HTTP, a status without a body for gRPC (l7 §2.10, §4.6). */
import { HeaderFields } from './header-fields.ts'
import type { ExchangeFlag } from './desk.ts'

export interface LocalReply {
  readonly status: number
  readonly body: string | Buffer
  readonly flags: readonly ExchangeFlag[]
  /** `%RESPONSE_CODE_DETAILS%`. */
  readonly detail: string
  /** Beside what every local reply has. */
  readonly headers?: HeaderFields
  /** In place of the one that belongs to `status`. */
  readonly grpcStatus?: number | undefined
}

export interface LocalResponse {
  readonly status: number
  readonly headers: HeaderFields
  readonly body: Buffer | undefined
  readonly grpcStatus: number | undefined
}

/** The public mapping of HTTP statuses to gRPC's. */
const grpcStatuses: ReadonlyMap<number, number> = new Map([
  [400, 13],
  [401, 16],
  [403, 7],
  [404, 12],
  [429, 14],
  [502, 14],
  [503, 14],
  [504, 14],
])
const GRPC_UNKNOWN = 2
/** RFC 9110 §6.4.1: whoever writes a policy or answers for a provider may not know. */
const bodiless: ReadonlySet<number> = new Set([204, 205, 304])
const nothing = Buffer.alloc(0)

export function localResponse(reply: LocalReply, isGrpc: boolean): LocalResponse {
  const headers = reply.headers?.copy() ?? new HeaderFields()
  if (isGrpc) return grpcResponse(reply, headers)
  const text = typeof reply.body === 'string' ? Buffer.from(reply.body) : reply.body
  const body = bodiless.has(reply.status) ? nothing : text
  if (body.length > 0) {
    headers.set('content-length', String(body.length))
    if (!headers.has('content-type')) headers.set('content-type', 'text/plain')
  }
  return {
    status: reply.status,
    headers,
    body: body.length > 0 ? body : undefined,
    grpcStatus: undefined,
  }
}

/** One block of headers that is the whole response ("trailers-only"). */
function grpcResponse(reply: LocalReply, headers: HeaderFields): LocalResponse {
  const grpcStatus = reply.grpcStatus ?? grpcStatuses.get(reply.status) ?? GRPC_UNKNOWN
  headers.set('content-type', 'application/grpc')
  headers.set('grpc-status', String(grpcStatus))
  if (reply.body.length > 0) headers.set('grpc-message', grpcMessage(reply.body.toString()))
  return { status: 200, headers, body: undefined, grpcStatus }
}

/** Percent-encoded as gRPC asks: everything but printable ASCII, and the percent sign. */
function grpcMessage(text: string): string {
  let encoded = ''
  for (const byte of Buffer.from(text)) {
    const isPlain = byte >= 0x20 && byte <= 0x7e && byte !== 0x25
    encoded += isPlain ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`
  }
  return encoded
}
