/** `HTTPRoute` of the Gateway API as readonly data, defaults filled in. */
import type { SourcePosition } from '@ambient/policy'
import type { ConfigurationObject, CorsPolicy, HeaderModifier } from './traffic-types.ts'

export interface HttpRouteResource extends ConfigurationObject {
  readonly kind: 'HTTPRoute'
  readonly spec: {
    readonly parentRefs: readonly ParentRef[]
    /** Istio does not look at them for a route whose parent is a Service. */
    readonly hostnames: readonly string[]
    readonly rules: readonly HttpRouteRule[]
  }
}

export interface ParentRef {
  /** Empty for the core group. */
  readonly group: string
  readonly kind: 'Service' | 'ServiceEntry' | 'Gateway'
  readonly name: string
  /** The route's own when not written. */
  readonly namespace: string
  /** Only this port of the service. */
  readonly port?: number
}

export interface HttpRouteRule {
  readonly name?: string
  readonly source: SourcePosition
  /** Or-ed; never empty: without any it holds the prefix `/`. */
  readonly matches: readonly HttpRouteMatch[]
  readonly filters: readonly HttpRouteFilter[]
  /** Empty, or nothing but weights of 0: 500, unless a filter redirects. */
  readonly backendRefs: readonly HttpBackendRef[]
  /** Of the whole exchange; 0 disables. */
  readonly requestTimeoutMs?: number
  /** Of one attempt; 0 disables. */
  readonly backendRequestTimeoutMs?: number
  readonly retry?: HttpRouteRetry
}

/** And-ed. `Exact` and `PathPrefix` look at whole path elements. */
export interface HttpRouteMatch {
  readonly path: { readonly type: 'Exact' | 'PathPrefix' | 'RegularExpression'; readonly value: string }
  /** Of several with one name the first counts, and only that one is here. Names in lower case. */
  readonly headers: readonly HttpValueMatch[]
  readonly queryParams: readonly HttpValueMatch[]
  readonly method?: string
}

export interface HttpValueMatch {
  readonly type: 'Exact' | 'RegularExpression'
  readonly name: string
  readonly value: string
}

export type HttpRouteFilter =
  | ({ readonly type: 'RequestHeaderModifier' | 'ResponseHeaderModifier' } & HeaderModifier)
  | { readonly type: 'RequestMirror'; readonly backendRef: BackendRef; readonly percent: number }
  | {
      readonly type: 'RequestRedirect'
      readonly scheme?: 'http' | 'https'
      readonly hostname?: string
      readonly path?: PathModifier
      readonly port?: number
      readonly statusCode: number
    }
  | { readonly type: 'URLRewrite'; readonly hostname?: string; readonly path?: PathModifier }
  | { readonly type: 'CORS'; readonly cors: CorsPolicy }

export type PathModifier = {
  readonly type: 'ReplaceFullPath' | 'ReplacePrefixMatch'
  readonly value: string
}

export interface BackendRef {
  readonly source: SourcePosition
  /** Empty for the core group; `networking.istio.io` for a `Hostname`. */
  readonly group: string
  readonly kind: 'Service' | 'Hostname'
  readonly name: string
  /** The route's own when not written. */
  readonly namespace: string
  readonly port: number
}

export interface HttpBackendRef extends BackendRef {
  /** 1 when not written; 0 gets nothing. */
  readonly weight: number
  readonly requestHeaders: HeaderModifier
  readonly responseHeaders: HeaderModifier
}

export interface HttpRouteRetry {
  /** Beside those that Istio always retries on. */
  readonly codes: readonly number[]
  /** Istio's 2 when not written; 0 is none. */
  readonly attempts?: number
  readonly backoffMs?: number
}
