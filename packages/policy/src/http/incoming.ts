/** A request of Node's HTTP servers as policy sees it. */
import { canonicalIp, type SpiffeId } from '@ambient/core'
import type { PolicyRequest } from '../evaluator/request.ts'

/** What HTTP/1 and HTTP/2 requests of Node have in common, as far as policy looks. */
export interface IncomingRequest {
  readonly method?: string | undefined
  /** Express cuts it where it mounts. */
  url?: string | undefined
  readonly originalUrl?: string | undefined
  readonly authority?: string | undefined
  readonly rawHeaders: readonly string[]
  readonly socket: IncomingSocket
}

export interface IncomingSocket {
  readonly remoteAddress?: string | undefined
  readonly remotePort?: number | undefined
  readonly localAddress?: string | undefined
  readonly localPort?: number | undefined
}

export type Headers = Readonly<Record<string, readonly string[]>>

/** The destination, where the application runs. */
export interface OwnWorkload {
  readonly namespace: string
  readonly name?: string
  readonly labels?: Readonly<Record<string, string>>
}

export interface Incoming {
  readonly headers: Headers
  /** In origin form, with the query. */
  readonly path: string
  readonly authority: string
  /**
   * The one who is judged is not the one whom every reader of the request finds: `Host` beside another authority, a user,
   * an end of the host that some readers see.
   */
  readonly isOfTwoHosts: boolean
}

export function readIncoming(request: IncomingRequest): Incoming {
  const headers = headersOf(request.rawHeaders)
  const target = request.originalUrl ?? request.url ?? ''
  const authority = request.authority || (headers['host']?.[0] ?? '')
  // RFC 9112, section 3.2.2: a whole URL counts before the header.
  const [, named, path] = /^https?:\/\/([^/?#]*)([\s\S]*)$/i.exec(target) ?? []
  if (named === undefined || path === undefined)
    return { headers, path: target, authority, isOfTwoHosts: isOfTwoHosts(headers, authority) }
  return {
    headers,
    path: path.startsWith('/') ? path : `/${path}`,
    authority: named,
    isOfTwoHosts: isOfTwoHosts(headers, named),
  }
}

/** An application may look at either; whoever wrote both knew which. */
function isOfTwoHosts(headers: Headers, authority: string): boolean {
  const wanted = authority.toLowerCase()
  // WHATWG URL ends a host at a backslash too, and takes what follows for the path.
  return /[@\\/?#]/.test(wanted) || (headers['host'] ?? []).some(host => host.toLowerCase() !== wanted)
}

export function policyRequestOf(
  request: IncomingRequest,
  incoming: Incoming,
  caller: SpiffeId | undefined,
  workload: OwnWorkload,
): PolicyRequest {
  const { remoteAddress, localAddress, localPort } = request.socket
  const ip = canonicalIp(remoteAddress ?? '')
  const to = canonicalIp(localAddress ?? '')
  const { namespace, name, labels } = workload
  return {
    source: {
      ...(caller === undefined ? {} : { principal: caller.uri.slice('spiffe://'.length) }),
      ...(ip === undefined ? {} : { ip }),
    },
    destination: {
      namespace,
      ...(name === undefined ? {} : { workload: name }),
      ...(labels === undefined ? {} : { labels }),
      ...(to === undefined ? {} : { ip: to }),
      port: localPort ?? 0,
    },
    http: {
      method: request.method ?? 'GET',
      authority: incoming.authority,
      path: incoming.path,
      headers: incoming.headers,
    },
  }
}

/** Fields as they were sent, by lower-case name: Node drops repeated ones of some names from its own table. */
function headersOf(raw: readonly string[]): Headers {
  // Without a prototype: `__proto__` is a name like any other.
  const headers: Record<string, string[]> = Object.create(null)
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = raw[at]?.toLowerCase() ?? ''
    if (name.startsWith(':')) continue
    const values = headers[name]
    if (values === undefined) headers[name] = [raw[at + 1] ?? '']
    else values.push(raw[at + 1] ?? '')
  }
  return headers
}
