/**
 * Who sent a request: what the connection beneath it proved, by a tunnel (HBONE) or a client certificate (TLS), and
 * whom a trusted waypoint spoke for. Nothing that the request says of itself counts otherwise.
 */
import { readSpiffeId, type SpiffeId, workloadIdentityOf } from '@ambient/core'

export interface MeshIdentity {
  /** `spiffe://…` */
  readonly spiffeId: string
  readonly trustDomain: string
  /** Absent, like `serviceAccount`, for IDs that are not in Istio's form. */
  readonly namespace?: string
  readonly serviceAccount?: string
}

export interface MeshPeer extends MeshIdentity {
  /** How it was proven. */
  readonly via: 'hbone' | 'tls'
  /**
   * Of a trusted waypoint: for whom it spoke. Policies judge this one, or nobody where the waypoint does not say. Absent
   * for every other peer, which speaks for itself.
   */
  readonly original?: MeshIdentity
}

/** A peer, and who is judged. */
export interface Caller {
  readonly peer: MeshPeer | undefined
  readonly judged: SpiffeId | undefined
}

export interface PeerOptions {
  /** Trust domains that client certificates may be of. A tunnel has proven its peer against the mesh's own bundles. */
  readonly trustDomains: readonly string[]
  /** Whole SPIFFE IDs. */
  readonly trustedWaypoints: ReadonlySet<string>
}

interface Proven {
  readonly id: SpiffeId
  readonly via: 'hbone' | 'tls'
}

/** What `@ambient/hbone` leaves on the socket of a tunnel, registered so that its copies and we know it. */
const HBONE_PEER = Symbol.for('ambient.hbone.peer')

/** @param forwardedClientCert the fields of the header, joined with commas. */
export function callerOf(
  socket: unknown,
  forwardedClientCert: string | undefined,
  options: PeerOptions,
): Caller {
  const proven = provenBy(socket, options.trustDomains)
  if (proven === undefined) return { peer: undefined, judged: undefined }
  const { id, via } = proven
  if (!options.trustedWaypoints.has(id.uri)) return { peer: { ...identityOf(id), via }, judged: id }
  const original = forwardedFor(id, forwardedClientCert ?? '')
  const vouched = original === undefined ? {} : { original: identityOf(original) }
  return { peer: { ...identityOf(id), via, ...vouched }, judged: original }
}

/** Certificates are read once per connection. */
const certified = new WeakMap<object, SpiffeId | null>()

function provenBy(socket: unknown, trustDomains: readonly string[]): Proven | undefined {
  for (const at of layersOf(socket)) {
    const tunnel = tunnelPeerOf(at)
    if (tunnel !== undefined) return { id: tunnel, via: 'hbone' }
  }
  for (const at of layersOf(socket)) {
    const id = certifiedBy(at)
    if (id !== undefined) return trustDomains.includes(id.trustDomain) ? { id, via: 'tls' } : undefined
  }
  return undefined
}

/** HTTP/2 of Node puts a stream that is no socket of its own into one, as its `stream`. */
function layersOf(socket: unknown): readonly object[] {
  if (!isObject(socket)) return []
  const inner: unknown = Reflect.get(socket, 'stream')
  return isObject(inner) ? [socket, inner] : [socket]
}

function tunnelPeerOf(socket: object): SpiffeId | undefined {
  const peer: unknown = Reflect.get(socket, HBONE_PEER)
  const id: unknown = isObject(peer) ? Reflect.get(peer, 'id') : undefined
  const uri: unknown = isObject(id) ? Reflect.get(id, 'uri') : undefined
  const read = typeof uri === 'string' ? readSpiffeId(uri) : undefined
  return read?.ok === true ? read.id : undefined
}

function certifiedBy(socket: object): SpiffeId | undefined {
  // Whoever accepts callers without a certificate sees `false` here for those.
  if (Reflect.get(socket, 'authorized') !== true) return undefined
  const known = certified.get(socket)
  if (known !== undefined) return known ?? undefined
  const id = spiffeIdOfCertificate(socket)
  certified.set(socket, id ?? null)
  return id
}

function spiffeIdOfCertificate(socket: object): SpiffeId | undefined {
  const read: unknown = Reflect.get(socket, 'getPeerCertificate')
  if (typeof read !== 'function') return undefined
  const certificate: unknown = Reflect.apply(read, socket, [])
  const names: unknown = isObject(certificate) ? Reflect.get(certificate, 'subjectaltname') : undefined
  if (typeof names !== 'string') return undefined
  // Node quotes a name that holds a comma or a quote. A SPIFFE ID holds neither: such a certificate is no SVID.
  if (names.includes('"')) return undefined
  const uris = names.split(', ').flatMap(name => (name.startsWith('URI:') ? [name.slice('URI:'.length)] : []))
  const [uri] = uris
  const id = uris.length === 1 && uri !== undefined ? readSpiffeId(uri) : undefined
  return id?.ok === true ? id.id : undefined
}

/** One element, by that very waypoint, with one URI. SPIFFE IDs need no quotes, so what is quoted is not one. */
function forwardedFor(waypoint: SpiffeId, header: string): SpiffeId | undefined {
  const [, by, uri] = /^By=([^,;"\s]+);URI=([^,;"\s]+)$/.exec(header) ?? []
  const read = by === waypoint.uri && uri !== undefined ? readSpiffeId(uri) : undefined
  return read?.ok === true ? read.id : undefined
}

function identityOf(id: SpiffeId): MeshIdentity {
  const workload = workloadIdentityOf(id)
  const names =
    workload === undefined ? {} : { namespace: workload.namespace, serviceAccount: workload.serviceAccount }
  return { spiffeId: id.uri, trustDomain: id.trustDomain, ...names }
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null
}
