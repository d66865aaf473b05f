/** What of a caller's header fields is believed and goes on (l7 §0.2, §5.4), and what a waypoint adds to them. */
import { randomUUID } from 'node:crypto'
import { HeaderFields } from './header-fields.ts'

export type CleanFields =
  | { readonly ok: true; readonly headers: HeaderFields }
  /** For `%RESPONSE_CODE_DETAILS%`. */
  | { readonly ok: false; readonly detail: string }

/** Of one connection (RFC 9110 §7.6.1), or proof of an identity that only the tunnel proves. */
const dropped: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
  // Answered here: `100 Continue` goes out when somebody reads the body.
  'expect',
  // Lives on as the authority.
  'host',
  'x-forwarded-client-cert',
])
/** Control of a proxy by its caller; peers' metadata. */
const DROPPED_PREFIX = 'x-envoy-'

/** RFC 9110 §5.1, §5.5: a token; no control character but the tab, nothing beyond one byte. */
const FIELD_NAME = /^[!#$%&'*+.^_`|~\da-z-]+$/
const FIELD_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/

/** Naming these in `Connection` would hide where a request comes from, or how long it is: refused, as by Envoy. */
const notNameable: ReadonlySet<string> = new Set([
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-proto',
  'content-length',
  'transfer-encoding',
  'host',
])

/** Of a response: hop-by-hop alone; a response that names a field in `Connection` has it dropped. */
const droppedFromResponse: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
])

/**
 * What a message says before its body counts there alone (RFC 9110 §6.5.1): framing, routing, who somebody is, how to
 * handle the message. A receiver that merges trailers into the head would believe them unjudged.
 */
const droppedFromTrailers: ReadonlySet<string> = new Set([
  ...dropped,
  'te',
  'trailer',
  'authorization',
  'proxy-authorization',
  'proxy-authenticate',
  'www-authenticate',
  'cookie',
  'set-cookie',
  'cache-control',
  'max-forwards',
  'pragma',
  'range',
  'accept-ranges',
  'age',
  'date',
  'expires',
  'location',
  'retry-after',
  'vary',
  'forwarded',
  'baggage',
  'traceparent',
  'tracestate',
  'x-request-id',
  'x-real-ip',
  'x-original-url',
  'x-rewrite-url',
])
/** Likewise: the body's kind and length, conditions, where a request comes from. */
const droppedTrailerPrefixes = [DROPPED_PREFIX, 'content-', 'if-', 'x-forwarded-', 'sec-', ':']

/** Of these Node's HTTP/2 takes one value only, and throws for a second one. The first counts. */
export const singleFields: ReadonlySet<string> = new Set([
  'access-control-allow-credentials',
  'access-control-max-age',
  'access-control-request-method',
  'age',
  'authorization',
  'content-encoding',
  'content-language',
  'content-length',
  'content-location',
  'content-md5',
  'content-range',
  'content-type',
  'date',
  'dnt',
  'etag',
  'expires',
  'from',
  'host',
  'if-match',
  'if-modified-since',
  'if-none-match',
  'if-range',
  'if-unmodified-since',
  'last-modified',
  'location',
  'max-forwards',
  'proxy-authorization',
  'range',
  'referer',
  'retry-after',
  'tk',
  'upgrade-insecure-requests',
  'user-agent',
  'x-content-type-options',
])

/** The fields of a request as policy judges them, routes match them and upstreams see them. */
export function cleanRequestFields(
  fields: HeaderFields,
  facts: { readonly scheme: string; readonly isHttp2: boolean },
): CleanFields {
  const named = connectionOptions(fields)
  for (const name of named)
    if (notNameable.has(name) || name.startsWith(':'))
      return { ok: false, detail: 'connection_header_sanitization_failed' }
  const headers = new HeaderFields()
  const cookies: string[] = []
  for (const [name, value] of fields) {
    if (name === 'te') {
      if (asksForTrailers(value)) headers.set('te', 'trailers')
    } else if (name === 'cookie' && facts.isHttp2) cookies.push(value)
    else if (!named.has(name) && !isDropped(name)) headers.add(name, value)
  }
  // HTTP/2 may send a cookie in crumbs; elsewhere they are one field (RFC 9113 §8.2.3).
  if (cookies.length > 0) headers.set('cookie', cookies.join('; '))
  if (!headers.has('x-forwarded-proto')) headers.set('x-forwarded-proto', facts.scheme)
  if ((headers.get('x-request-id') ?? '') === '') headers.set('x-request-id', randomUUID())
  return { ok: true, headers }
}

/** Applications that read fields as CGI does (`HTTP_X_A`) cannot tell `_` from `-`: neither is believed. */
function isDropped(name: string): boolean {
  const plain = name.replaceAll('_', '-')
  return dropped.has(plain) || plain.startsWith(DROPPED_PREFIX)
}

/** A copy without what belongs to the upstream's connection, and without the length of a body that cannot be there. */
export function cleanResponseFields(fields: HeaderFields, status: number): HeaderFields {
  const named = connectionOptions(fields)
  const headers = new HeaderFields()
  for (const [name, value] of fields)
    if (!droppedFromResponse.has(name) && !named.has(name)) headers.add(name, value)
  if (status < 200 || status === 204 || status === 304) headers.delete('content-length')
  return headers
}

/**
 * A copy of a message's trailers, of either direction, that any version of HTTP can send: without what counts in a head
 * alone, without what is no field, of a single field its first value.
 */
export function cleanTrailers(fields: HeaderFields): HeaderFields {
  const named = connectionOptions(fields)
  const trailers = new HeaderFields()
  for (const [name, value] of fields) {
    if (named.has(name) || isDroppedTrailer(name.replaceAll('_', '-'))) continue
    if (!FIELD_NAME.test(name) || !FIELD_VALUE.test(value)) continue
    if (!singleFields.has(name) || !trailers.has(name)) trailers.add(name, value)
  }
  return trailers
}

/** Envoy's rule: the media type itself, or one with a suffix (`application/grpc+proto`). */
export function isGrpc(fields: HeaderFields): boolean {
  const type = fields.get('content-type')
  return type !== undefined && /^application\/grpc(?:$|[+;])/i.test(type.trim())
}

/** About the bytes of these fields on an HTTP/1.1 wire. */
export function headBytes(fields: HeaderFields): number {
  let bytes = 0
  for (const [name, value] of fields) bytes += name.length + value.length + 4
  return bytes
}

function isDroppedTrailer(name: string): boolean {
  return droppedFromTrailers.has(name) || droppedTrailerPrefixes.some(prefix => name.startsWith(prefix))
}

const nothing: ReadonlySet<string> = new Set()

/** The names that `Connection` lists, without the options that name no field. */
function connectionOptions(fields: HeaderFields): ReadonlySet<string> {
  const listed = fields.get('connection')
  if (listed === undefined) return nothing
  const names = new Set(listed.split(',').map(token => token.trim().toLowerCase()))
  for (const option of ['', 'close', 'keep-alive', 'te']) names.delete(option)
  return names
}

/** Of a `te` field: the one thing in it that goes further than one hop. */
export function asksForTrailers(value: string): boolean {
  return value.split(',').some(token => token.trim().toLowerCase() === 'trailers')
}
