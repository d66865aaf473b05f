/** A request of HTTP/1 as Node's parser gives it: its target, its fields, its body, and what that parser lets through. */
import type { IncomingMessage } from 'node:http'
import { CallerBody, callerGone } from './body.ts'
import type { CodecReply } from './codec-error.ts'
import type { IncomingRequest } from './downstream.ts'
import { HeaderFields } from './header-fields.ts'
import type { HttpLimits } from '../limits.ts'
import type { LocalReply } from './local-reply.ts'

/** `http://authority/path`: a client that believes to talk to a proxy. */
const ABSOLUTE_FORM = /^(https?):\/\/([^/?#]*)(.*)$/i
const TOO_LARGE: LocalReply = {
  status: 431,
  body: '',
  flags: ['DPE'],
  detail: 'request_headers_too_large',
}

export interface Http1RequestOptions {
  readonly signal: AbortSignal
  readonly limits: HttpLimits
  /** Once, when somebody begins to read the body. */
  readonly onFirstRead: () => void
  /** What the rest of the request was found to be while it was carried out. */
  readonly brokenBy: () => CodecReply | undefined
  /** Lower case; `undefined` for an ordinary request. */
  readonly upgrade: string | undefined
}

export function readHttp1Request(message: IncomingMessage, options: Http1RequestOptions): IncomingRequest {
  const headers = fieldsOf(message.rawHeaders)
  const form = ABSOLUTE_FORM.exec(message.url ?? '')
  const hasBody = options.upgrade === undefined && isBodyAnnounced(headers)
  return {
    protocol: message.httpVersionMinor === 0 ? 'HTTP/1.0' : 'HTTP/1.1',
    method: message.method ?? '',
    scheme: form?.[1]?.toLowerCase() ?? 'http',
    authority: form?.[2] ?? headers.get('host') ?? '',
    target: form === null ? (message.url ?? '') : pathOf(form[3] ?? ''),
    headers,
    body: hasBody
      ? new CallerBody(message, {
          endProblem: () => (message.complete ? undefined : callerGone()),
          onFirstRead: options.onFirstRead,
        })
      : undefined,
    trailers: () => (message.rawTrailers.length > 0 ? fieldsOf(message.rawTrailers) : undefined),
    upgrade: options.upgrade,
    signal: options.signal,
    brokenBy: options.brokenBy,
    problem: problemOf(message, headers, options),
  }
}

/** Node's flat lists, names in lower case. */
export function fieldsOf(raw: readonly string[]): HeaderFields {
  const fields = new HeaderFields()
  for (let at = 0; at + 1 < raw.length; at += 2) fields.add(raw[at] ?? '', raw[at + 1] ?? '')
  return fields
}

function problemOf(
  message: IncomingMessage,
  headers: HeaderFields,
  { upgrade, limits }: Http1RequestOptions,
): LocalReply | undefined {
  if (headers.size > limits.headerFields) return TOO_LARGE
  if (message.httpVersionMajor !== 1 || message.httpVersionMinor !== 1)
    return { status: 426, body: 'Upgrade Required', flags: ['DPE'], detail: 'low_version' }
  const hosts = headers.all('host')
  if (hosts.length !== 1) return malformed('one Host is needed')
  if (!isAuthority(hosts[0] ?? '')) return malformed('Host is no authority')
  const codings = headers.all('transfer-encoding')
  if (codings.length > 0 && headers.has('content-length')) return malformed('two lengths')
  if (codings.length > 1 || (codings[0] ?? 'chunked').trim().toLowerCase() !== 'chunked')
    return { status: 501, body: 'Not Implemented', flags: ['DPE'], detail: 'unsupported_transfer_encoding' }
  if (headers.all('content-length').length > 1) return malformed('two lengths')
  if (upgrade === 'connect') return { status: 404, body: '', flags: ['NR'], detail: 'route_not_found' }
  // As Envoy: an upgrade that is not switched on.
  if (upgrade !== undefined && upgrade !== 'websocket')
    return { status: 403, body: '', flags: [], detail: 'upgrade_failed' }
  // Bytes after it would be the body for one reader, the other protocol for the next.
  if (upgrade !== undefined && isBodyAnnounced(headers)) return malformed('an upgrade with a body')
  const target = message.url ?? ''
  const isAsterisk = target === '*' && message.method === 'OPTIONS'
  if (isAsterisk || target.startsWith('/')) return undefined
  const named = ABSOLUTE_FORM.exec(target)?.[2] ?? ''
  // What policies and routes see as the host: no user before it, no second one behind it.
  return named !== '' && isAuthority(named) ? undefined : malformed('target')
}

function malformed(rule: string): LocalReply {
  const detail = `http1.codec_error{${rule.replaceAll(' ', '_')}}`
  return { status: 400, body: 'Bad Request', flags: ['DPE'], detail }
}

/** Empty is allowed (RFC 9112 §3.2); user names, paths and blanks are not. */
function isAuthority(text: string): boolean {
  return !/[\s/\\?#@,]/.test(text)
}

function isBodyAnnounced(headers: HeaderFields): boolean {
  return headers.has('transfer-encoding') || (headers.get('content-length') ?? '0') !== '0'
}

function pathOf(rest: string): string {
  return rest.startsWith('/') ? rest : `/${rest}`
}
