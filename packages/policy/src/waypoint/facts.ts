/** What a waypoint's policies know of a request, derived when a rule first asks for it. */
import type { Connection, SpiffeId } from '@ambient/core'
import type { JwtClaims } from './jwt-claims.ts'
import { AddressBytes } from '../engine/address-bytes.ts'
import { identityFacts } from '../engine/identity-facts.ts'

/** One request as the waypoint is about to forward it. */
export interface HttpRequestFacts {
  /** The inbound connection: source as HBONE proved it, destination the original VIP and the service port. */
  readonly connection: Connection
  readonly method: string
  /** As `normalizePath` gives it, with the query. */
  readonly path: string
  /** `:authority` or `Host`, port included when it was sent. */
  readonly authority: string
  /**
   * Where a trusted proxy says that the request comes from. Absent: the caller's own address. Never taken from a
   * header that a client can set.
   */
  readonly remoteAddress?: string
  /** Of a token that was verified for this target; absent without one, and every rule that asks for it fails. */
  readonly jwt?: JwtClaims
  /** Each field of the name (lower case), not joined; empty when there is none. */
  header(name: string): readonly string[]
}

export class WaypointFacts {
  connection: Connection
  /** Absent on a connection that carries no HTTP. */
  request: HttpRequestFacts | undefined
  /** Of a TLS connection that passes through; empty when there is none. */
  sni = ''
  /** `spiffe://…`; absent in plaintext. */
  uri: string | undefined
  /** Where a trusted proxy says that a connection without HTTP comes from. */
  #remoteSource: string | undefined
  #path: string | undefined
  #host: string | undefined
  readonly #addresses = new AddressBytes()

  constructor(connection: Connection, request?: HttpRequestFacts, sni = '', remoteAddress?: string) {
    this.connection = connection
    this.read(connection, request, sni, remoteAddress)
  }

  /** Of another request from now on. */
  read(connection: Connection, request?: HttpRequestFacts, sni = '', remoteAddress?: string): this {
    this.connection = connection
    this.#remoteSource = remoteAddress
    this.request = request
    this.sni = sni
    this.uri = connection.source.identity?.uri
    this.#path = undefined
    this.#host = undefined
    return this
  }

  get identity(): SpiffeId | undefined {
    return this.connection.source.identity
  }

  get port(): number {
    return this.connection.destination.port
  }

  /** `namespace/service-account`: one, except for identities that Istio does not issue. */
  get accounts(): readonly string[] {
    return this.identity === undefined ? noValues : identityFacts(this.identity).accounts
  }

  /** What stands after each `/ns/` of the identity. */
  get namespaces(): readonly string[] {
    return this.identity === undefined ? noValues : identityFacts(this.identity).namespaces
  }

  /** Without query and fragment. */
  get path(): string {
    this.#path ??= withoutQuery(this.request?.path ?? '')
    return this.#path
  }

  /** In lower case. */
  get host(): string {
    this.#host ??= asciiLowerCase(this.request?.authority ?? '')
    return this.#host
  }

  get sourceIp(): Uint8Array {
    return this.#addresses.of(this.connection.source.address)
  }

  get remoteAddress(): string {
    return this.request?.remoteAddress ?? this.#remoteSource ?? this.connection.source.address
  }

  get remoteIp(): Uint8Array {
    return this.#addresses.of(this.remoteAddress)
  }

  get destinationIp(): Uint8Array {
    return this.#addresses.of(this.connection.destination.address)
  }

  /** Values of a header; pseudo headers by their names, `host` is the authority. */
  header(name: string): readonly string[] {
    const { request } = this
    if (request === undefined) return noValues
    switch (name) {
      case 'host':
      case ':authority':
        return [request.authority]
      case ':method':
        return [request.method]
      case ':path':
        return [request.path]
      default:
        return request.header(name)
    }
  }
}

const CAPITALS = /[A-Z]+/g
const [A, Z] = ['A'.charCodeAt(0), 'Z'.charCodeAt(0)]

/** Only ASCII: folding more would make different hosts equal. */
export function asciiLowerCase(text: string): string {
  return hasCapital(text) ? text.replace(CAPITALS, letters => letters.toLowerCase()) : text
}

/** Looked for by hand: a regular expression makes an object for each search. */
function hasCapital(text: string): boolean {
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at)
    if (unit >= A && unit <= Z) return true
  }
  return false
}

function withoutQuery(path: string): string {
  const query = path.indexOf('?')
  const fragment = path.indexOf('#')
  if (query < 0 && fragment < 0) return path
  return path.slice(0, query < 0 ? fragment : fragment < 0 ? query : Math.min(query, fragment))
}

const noValues: readonly string[] = Object.freeze([])
