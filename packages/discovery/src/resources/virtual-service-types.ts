/** `VirtualService` as readonly data. Hosts are as written: `fullHostname` completes a short one. */
import type { SourcePosition } from '@ambient/policy'
import type {
  ConfigurationObject,
  CorsPolicy,
  HeaderOperations,
  NamedMatch,
  ValueMatch,
} from './traffic-types.ts'

export interface VirtualServiceResource extends ConfigurationObject {
  readonly kind: 'VirtualService'
  readonly spec: {
    readonly hosts: readonly string[]
    /** `mesh` when not written. A waypoint takes what applies to `mesh`. */
    readonly gateways: readonly string[]
    readonly exportTo: readonly string[]
    /** The first that matches is taken. */
    readonly http: readonly VirtualServiceHttpRoute[]
    readonly tcp: readonly VirtualServiceTcpRoute[]
  }
}

export interface VirtualServiceHttpRoute {
  /** Empty when not written. */
  readonly name: string
  readonly source: SourcePosition
  /** Or-ed; empty matches everything. */
  readonly match: readonly VirtualServiceMatch[]
  readonly action: VirtualServiceAction
  readonly rewrite?: VirtualServiceRewrite
  /** Of the whole exchange, retries included; 0 and absent: none. */
  readonly timeoutMs?: number
  readonly retries?: VirtualServiceRetries
  readonly fault?: VirtualServiceFault
  readonly mirrors: readonly { readonly destination: VirtualServiceDestination; readonly percent: number }[]
  readonly headers: HeaderOperations
  readonly cors?: CorsPolicy
}

/** And-ed; what is absent or empty matches anything. */
export interface VirtualServiceMatch {
  /** Empty when not written. */
  readonly name: string
  /** Of the path without the query. */
  readonly uri?: ValueMatch
  /** For exact and prefix. */
  readonly ignoreUriCase: boolean
  readonly scheme?: ValueMatch
  readonly method?: ValueMatch
  readonly authority?: ValueMatch
  readonly headers: readonly NamedMatch[]
  /** None of these; a missing header counts as an empty one, except for presence. */
  readonly withoutHeaders: readonly NamedMatch[]
  readonly queryParams: readonly NamedMatch[]
  /** Of the service. */
  readonly port?: number
  /** Of the caller: a waypoint leaves a match with them out. */
  readonly sourceLabels?: Readonly<Record<string, string>>
  /** Compared with the waypoint's own namespace, as upstream. */
  readonly sourceNamespace?: string
  /** Not written: those of the VirtualService. */
  readonly gateways?: readonly string[]
}

export type VirtualServiceAction =
  | { readonly kind: 'route'; readonly destinations: readonly VirtualServiceRouteDestination[] }
  | {
      readonly kind: 'redirect'
      readonly uri?: string
      /** Replaces the matched prefix; excludes `uri`. */
      readonly prefixRewrite?: string
      readonly authority?: string
      readonly scheme?: string
      readonly port?: number | 'FROM_PROTOCOL_DEFAULT' | 'FROM_REQUEST_PORT'
      readonly statusCode: number
    }
  | { readonly kind: 'respond'; readonly status: number; readonly body: string }

export interface VirtualServiceDestination {
  readonly source: SourcePosition
  readonly host: string
  readonly subset?: string
  /** The service's only port, else the one that the request came to, when not written. */
  readonly port?: number
}

export interface VirtualServiceRouteDestination {
  readonly destination: VirtualServiceDestination
  /** As written, 0 when not; a destination that is alone gets everything. */
  readonly weight: number
  readonly headers: HeaderOperations
}

export interface VirtualServiceRewrite {
  /** Replaces the matched prefix, or the whole path of an exact match. */
  readonly uri?: string
  readonly uriRegex?: { readonly match: string; readonly rewrite: string }
  readonly authority?: string
}

export interface VirtualServiceRetries {
  /** Beside the first attempt; 0 is none. */
  readonly attempts: number
  readonly perTryTimeoutMs?: number
  /** Comma-separated, as written; absent means Istio's default. */
  readonly retryOn?: string
  readonly retryRemoteLocalities?: boolean
  readonly retryIgnorePreviousHosts?: boolean
  readonly backoffMs?: number
}

/** Percent from 0 to 100; 0 when not written, which is never. */
export interface VirtualServiceFault {
  readonly delay?: { readonly percent: number; readonly delayMs: number }
  readonly abort?: { readonly percent: number; readonly httpStatus?: number; readonly grpcStatus?: number }
}

export interface VirtualServiceTcpRoute {
  readonly source: SourcePosition
  /** Or-ed; empty matches everything. */
  readonly match: readonly VirtualServiceTcpMatch[]
  readonly destinations: readonly VirtualServiceRouteDestination[]
}

export interface VirtualServiceTcpMatch {
  readonly port?: number
  readonly destinationSubnets: readonly string[]
  readonly sourceLabels?: Readonly<Record<string, string>>
  readonly sourceNamespace?: string
  readonly gateways?: readonly string[]
}
