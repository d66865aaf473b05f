/** A question as the engines take it: a connection, and a request over it. Never throws for what it holds. */
import type { Connection, SpiffeId, Workload } from '@ambient/core'
import { asEnvoyMatches } from './joined-headers.ts'
import type { PolicyRequest, RequestHttp } from './request.ts'
import type { JwtClaims } from '../waypoint/jwt-claims.ts'
import { asciiLowerCase, type HttpRequestFacts } from '../waypoint/facts.ts'

const SCHEME = 'spiffe://'

/**
 * The identity of the caller, `undefined` in plaintext. Taken as it is written: whether somebody could prove it is not
 * asked here, and Envoy compares text.
 */
export function identityOf({ source }: PolicyRequest): SpiffeId | undefined {
  const { principal } = source
  if (principal === undefined) return undefined
  const id = principal.startsWith(SCHEME) ? principal.slice(SCHEME.length) : principal
  const slash = id.indexOf('/')
  const [trustDomain, path] = slash < 0 ? [id, ''] : [id.slice(0, slash), id.slice(slash)]
  return { trustDomain, path, uri: SCHEME + id }
}

export function connectionOf(request: PolicyRequest, workload?: Workload): Connection {
  const { source, destination } = request
  const identity = identityOf(request)
  return {
    id: '0'.repeat(32),
    direction: 'inbound',
    source: { address: source.ip ?? '', port: 0, ...(identity === undefined ? {} : { identity }) },
    destination: {
      address: destination.ip ?? '',
      port: destination.port,
      network: '',
      ...(workload === undefined ? {} : { workload }),
    },
  }
}

/** @param http its path normalized */
export function httpFactsOf(
  request: PolicyRequest,
  http: RequestHttp,
  jwt: JwtClaims | undefined,
): HttpRequestFacts {
  const headers = headersOf(http)
  const { remoteIp } = request.source
  return {
    connection: connectionOf(request),
    method: http.method,
    path: http.path,
    authority: http.authority,
    ...(remoteIp === undefined ? {} : { remoteAddress: remoteIp }),
    ...(jwt === undefined ? {} : { jwt }),
    header: name => asEnvoyMatches(name, headers.get(name) ?? []),
  }
}

/** Names in lower case; the values of names that differ in case only are one header's. */
export function headersOf({ headers = {} }: RequestHttp): ReadonlyMap<string, readonly string[]> {
  const byName = new Map<string, readonly string[]>()
  for (const [name, value] of Object.entries(headers)) {
    const key = asciiLowerCase(name)
    byName.set(key, [...(byName.get(key) ?? []), ...[value].flat()])
  }
  return byName
}
