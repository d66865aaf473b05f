/** The head of an HTTP/1.1 request to a proxy, read strictly (RFC 9112): what two readers could read differently is refused. */
import { type HostPort, readHostPort } from '@ambient/core'
import type { Parsed } from '@ambient/core/node'
import { HboneError } from '../errors.ts'
import { connectProxyError } from './refusal.ts'

export interface ConnectHead {
  readonly target: HostPort
  /** Of `Proxy-Authorization`, as it came. */
  readonly authorization: string | undefined
}

const REQUEST_LINE = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\x21-\x7e]+) HTTP\/1\.([01])$/
/** Name, colon, value without blanks around it; no continuation lines, no control characters but the tab. */
const FIELD = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)$/
/** A first line that is none of HTTP is known before the head is complete: TLS and HTTP/2 are told apart here. */
const TLS_HANDSHAKE = 0x16
const HTTP2_PREFACE = 'PRI * HTTP/2.0'

/** Feeds on what arrived; `length` is the head's, with its empty line. */
export function parseConnect(maxBytes: number): (bytes: Buffer) => Parsed<ConnectHead> {
  return bytes => {
    const wrong = otherProtocol(bytes)
    if (wrong !== undefined) return { kind: 'error', error: wrong }
    const end = bytes.indexOf('\r\n\r\n')
    if (end < 0 ? bytes.length > maxBytes : end + 4 > maxBytes)
      return refused(431, `the head of the request is longer than ${maxBytes} bytes`)
    if (end < 0) return { kind: 'more' }
    const head = readHead(bytes.toString('latin1', 0, end))
    return head instanceof HboneError
      ? { kind: 'error', error: head }
      : { kind: 'done', value: head, length: end + 4 }
  }
}

function otherProtocol(bytes: Buffer): HboneError | undefined {
  if (bytes[0] === TLS_HANDSHAKE)
    return connectProxyError(400, 'this proxy speaks HTTP, not HTTPS: its URL begins with http://')
  if (bytes.length >= HTTP2_PREFACE.length && bytes.toString('latin1', 0, 14) === HTTP2_PREFACE)
    return connectProxyError(400, 'this proxy speaks HTTP/1.1, not HTTP/2')
  return undefined
}

function readHead(text: string): ConnectHead | HboneError {
  const [first = '', ...lines] = text.split('\r\n')
  const [, method, target = '', minor] = REQUEST_LINE.exec(first) ?? []
  if (method === undefined) return connectProxyError(400, 'the request line is malformed')
  const fields = readFields(lines)
  if (fields instanceof HboneError) return fields
  if (method !== 'CONNECT') return wrongMethod(method, target)
  const hosts = fields.get('host')?.length ?? 0
  if (hosts > 1 || (hosts === 0 && minor === '1'))
    return connectProxyError(400, 'a request has exactly one Host')
  const body = fields.get('content-length')?.some(value => value !== '0') === true
  if (body || fields.has('transfer-encoding')) return connectProxyError(400, 'a CONNECT has no body')
  const authorization = fields.get('proxy-authorization') ?? []
  if (authorization.length > 1) return connectProxyError(400, 'a request has at most one Proxy-Authorization')
  const read = readHostPort(target)
  return read.ok
    ? { target: read.value, authorization: authorization[0] }
    : connectProxyError(400, `the target of CONNECT is host:port: ${read.reason}`)
}

function readFields(lines: readonly string[]): ReadonlyMap<string, readonly string[]> | HboneError {
  const fields = new Map<string, string[]>()
  for (const line of lines) {
    const [, name, value = ''] = FIELD.exec(line) ?? []
    if (name === undefined) return connectProxyError(400, 'a header field is malformed')
    const key = name.toLowerCase()
    fields.set(key, [...(fields.get(key) ?? []), value.trimEnd()])
  }
  return fields
}

/** Programs send these when they use a proxy for plain HTTP. */
function wrongMethod(method: string, target: string): HboneError {
  const asked = /^https?:\/\//i.test(target)
    ? `${method} of an absolute URL is how plain HTTP goes through a proxy`
    : `${method} is for a web server`
  return connectProxyError(
    405,
    `${asked}; this proxy opens tunnels with CONNECT and reads nothing of what they carry`,
  )
}

function refused(status: number, reason: string): Parsed<never> {
  return { kind: 'error', error: connectProxyError(status, reason) }
}
