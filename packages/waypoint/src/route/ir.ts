/**
 * The one route representation. VirtualService and HTTPRoute compile to it, the switchboard matches it, the dispatch
 * desk carries it out; what differs between the two APIs (prefixes, bad backends) is decided at compile time.
 */
import type { RequestHead } from '../http/message.ts'
import type { SourcePosition } from '@ambient/policy'

/** Where a route was written. */
export interface RouteOrigin {
  readonly kind: 'VirtualService' | 'HTTPRoute' | 'TCPRoute' | 'implicit'
  /** `namespace/name`, empty for the implicit route. */
  readonly resource: string
  readonly source?: SourcePosition
}

/** Everything that applies to one port of one service, in the order in which it is tried. */
export interface RouteTable {
  /** Without routes it holds the implicit route to the service itself. Empty only when `problems` says why. */
  readonly http: readonly HttpRoute[]
  /** Never empty; the first one is taken, since nothing of a connection is matched but its port. */
  readonly tcp: readonly TcpRoute[]
  /** What was written but cannot be carried out, one sentence each; discovery finds most of it earlier. */
  readonly problems: readonly string[]
}

export interface HttpRoute {
  /** For the access log: the route's name, or `default`. */
  readonly name: string
  readonly origin: RouteOrigin
  matches(request: RequestHead): boolean
  readonly action: RouteAction
  /** Applied to whatever is forwarded; in which order with the destination's, `decideRoute` knows. */
  readonly requestHeaders: HeaderEdits
  readonly responseHeaders: HeaderEdits
  readonly fault: FaultPolicy | undefined
  readonly mirrors: readonly MirrorPolicy[]
  /** Of the whole exchange, retries included; `undefined` when there is none. */
  readonly timeoutMs: number | undefined
  readonly retry: RetryPolicy
  /** What the path was matched by, when it was a prefix. Rewrites and redirects know it already. */
  readonly matchedPrefix: string | undefined
}

export type RouteAction =
  | {
      readonly kind: 'forward'
      readonly destinations: readonly Destination[]
      readonly rewrite: Rewrite | undefined
    }
  | { readonly kind: 'redirect'; readonly redirect: Redirect }
  | { readonly kind: 'respond'; readonly status: number; readonly body: string }

/** One of several by weight; a weight of 0 is never chosen. */
export interface Destination {
  readonly weight: number
  readonly backend: Backend
  readonly requestHeaders: HeaderEdits
  readonly responseHeaders: HeaderEdits
}

export type Backend =
  | { readonly kind: 'cluster'; readonly cluster: ClusterRef }
  /** Istio's answer to a backend that is not there: 503 `NC` (VirtualService), 500 (Gateway API). */
  | {
      readonly kind: 'missing'
      readonly status: 500 | 503
      /** Response flag of the access log. */
      readonly flag: 'NC' | '-'
      /** Which route of which resource names what that is not there. */
      readonly reason: string
    }

/** A set of endpoints: a port of a service, all of them or those of one subset. */
export interface ClusterRef {
  readonly namespace: string
  readonly hostname: string
  /** Service port. */
  readonly port: number
  readonly subset: string | undefined
}

/**
 * Names in lower case. Removed first, then set, then added. `host` or `:authority` among a request's is never a header:
 * `decideRoute` makes it the new authority.
 */
export interface HeaderEdits {
  readonly set: readonly (readonly [name: string, value: string])[]
  readonly add: readonly (readonly [name: string, value: string])[]
  readonly remove: readonly string[]
}

export const noEdits: HeaderEdits = Object.freeze({ set: [], add: [], remove: [] })

export interface Rewrite {
  readonly authority: string | undefined
  /** Gives the new path (without query) for a path that the route matched. */
  readonly path: ((path: string) => string) | undefined
}

export interface Redirect {
  readonly status: number
  readonly scheme: string | undefined
  readonly authority: string | undefined
  /** `request`: that of the service; `protocol`: none, the scheme says it; `undefined`: the authority as it is. */
  readonly port: number | 'request' | 'protocol' | undefined
  /** Gives the new path; with a query of its own it replaces the request's. */
  readonly path: ((path: string) => string) | undefined
}

/** Percentages are sampled in steps of 0.0001 %. */
export interface FaultPolicy {
  readonly delay: { readonly percent: number; readonly ms: number } | undefined
  readonly abort:
    | { readonly percent: number; readonly status: number; readonly grpcStatus: number | undefined }
    | undefined
}

export interface MirrorPolicy {
  readonly backend: Backend
  /** 0 to 100. */
  readonly percent: number
}

export interface RetryPolicy {
  /** Beside the first attempt; 0: none. */
  readonly attempts: number
  /** Envoy's conditions: `5xx`, `gateway-error`, `reset`, `connect-failure`, `refused-stream`, `unavailable`, … */
  readonly on: ReadonlySet<string>
  readonly statusCodes: ReadonlySet<number>
  readonly perTryTimeoutMs: number | undefined
  readonly backoffBaseMs: number
  readonly backoffMaxMs: number
}

export interface TcpRoute {
  readonly name: string
  readonly origin: RouteOrigin
  readonly destinations: readonly Destination[]
}
