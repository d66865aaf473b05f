/** Header fields between our messages and Node's: flat lists for HTTP/1.1, records for HTTP/2; hop-by-hop fields stay here. */
import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http2'
import { HeaderFields } from '../http/header-fields.ts'
import { asksForTrailers, singleFields } from '../http/hygiene.ts'
import type { RequestHead } from '../http/message.ts'

/** RFC 9110 §7.6.1, and what Envoy treats alike. */
const hopByHop: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
  // Answered by whoever reads the caller's request.
  'expect',
  // The authority is what counts.
  'host',
  'http2-settings',
])

/** RFC 9110 §5.1 and §5.5. */
const FIELD_NAME = /^[!#$%&'*+.^_`|~0-9a-z-]+$/
const FIELD_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/

/** Lists by their grammar (RFC 9110 §5.3), of which Node nevertheless takes one only. */
const joined: ReadonlySet<string> = new Set([
  'content-encoding',
  'content-language',
  'if-match',
  'if-none-match',
])

/** What of a message's fields goes on beyond this proxy; `te` only as `trailers`. */
export function endToEnd(fields: Iterable<readonly [string, string]>): HeaderFields {
  const given = [...fields]
  const named = new Set(
    given
      .filter(([name]) => name.toLowerCase() === 'connection')
      .flatMap(([, value]) => value.split(',').map(token => token.trim().toLowerCase())),
  )
  const kept = new HeaderFields()
  for (const [field, value] of given) {
    const name = field.toLowerCase()
    if (name === 'te') {
      if (asksForTrailers(value)) kept.set('te', 'trailers')
    } else if (!hopByHop.has(name) && !named.has(name)) kept.add(name, value)
  }
  return kept
}

/** Name, value, name, value: as Node's HTTP/1.1 sends it unchanged. */
export function http1Fields(head: RequestHead, fields: HeaderFields): string[] {
  const list = ['host', head.authority]
  for (const [name, value] of fields) list.push(name, value)
  return list
}

/** @throws Error that names a field which is none: Node would end the session, and everybody's streams with it. */
export function http2Fields(head: RequestHead, fields: HeaderFields): OutgoingHttpHeaders {
  for (const [name, value] of fields)
    if (!FIELD_NAME.test(name) || !FIELD_VALUE.test(value)) throw new Error(`invalid field ${name}`)
  return {
    ':method': head.method,
    ':scheme': head.scheme,
    ':authority': head.authority,
    ':path': head.path,
    ...recordOf(fields),
  }
}

/** Repeated fields become lists; of those that Node takes once only, the first counts, or all in one where that means the same. */
export function recordOf(fields: HeaderFields): OutgoingHttpHeaders {
  const record: Record<string, string | string[]> = Object.create(null)
  for (const [name, value] of fields) {
    const before = record[name]
    if (before === undefined) record[name] = value
    else if (typeof before !== 'string') before.push(value)
    else if (joined.has(name)) record[name] = `${before}, ${value}`
    else if (!singleFields.has(name)) record[name] = [before, value]
  }
  return record
}

/** Of Node's `rawHeaders` and `rawTrailers`. */
export function pairsOf(raw: readonly string[]): (readonly [string, string])[] {
  const pairs: (readonly [string, string])[] = []
  for (let at = 0; at + 1 < raw.length; at += 2) pairs.push([raw[at] ?? '', raw[at + 1] ?? ''])
  return pairs
}

/** Without pseudo headers. */
export function pairsOfRecord(headers: IncomingHttpHeaders): (readonly [string, string])[] {
  return Object.entries(headers).flatMap(([name, value]) => {
    if (value === undefined || name.startsWith(':')) return []
    return typeof value === 'string' ? [[name, value] as const] : value.map(one => [name, one] as const)
  })
}
