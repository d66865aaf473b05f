/**
 * Authorization providers as data: `envoyExtAuthzGrpc` and `envoyExtAuthzHttp` of a mesh's `extensionProviders`, with
 * every default filled in.
 *
 * Source: `istio/api mesh/v1alpha1/config.proto`.
 */

export type AuthorizationProvider = GrpcAuthorizationProvider | HttpAuthorizationProvider

interface ProviderBase {
  readonly name: string
  /** `host`, or `namespace/host` where several namespaces have a service of that host. */
  readonly service: { readonly namespace?: string; readonly host: string }
  /** Of the service. */
  readonly port: number
  readonly timeoutMs: number
  /** Whether a provider that cannot be asked means yes. */
  readonly failOpen: boolean
  /** What the caller gets when the provider cannot be asked. */
  readonly statusOnError: number
  /** Whether the request is routed by what the provider made of it, instead of as it came. */
  readonly clearRouteCache: boolean
  /** Absent: the provider sees no body. */
  readonly body?: CheckedBody
}

/** How much of a request's body a provider sees. */
export interface CheckedBody {
  readonly maxBytes: number
  /** A longer body is cut for the provider; otherwise it is refused with 413. */
  readonly allowPartial: boolean
  /** As bytes instead of text; of gRPC only. */
  readonly asBytes: boolean
}

export interface GrpcAuthorizationProvider extends ProviderBase {
  readonly kind: 'grpc'
}

/** Header lists hold names: whole ones, `prefix*` or `*suffix`; case does not count. */
export interface HttpAuthorizationProvider extends ProviderBase {
  readonly kind: 'http'
  /** Before the request's own path; empty for none. */
  readonly pathPrefix: string
  /** Of the request, what the provider sees beside its method, path, host and `authorization`. */
  readonly includeRequestHeaders: readonly string[]
  /** What the provider gets beside; in the place of the caller's. */
  readonly additionalHeaders: readonly (readonly [name: string, value: string])[]
  /** Of the answer yes: headers for the request that goes on, in the place of its own. */
  readonly headersToUpstreamOnAllow: readonly string[]
  /** Of the answer no: headers for the caller. Empty: all of them. */
  readonly headersToDownstreamOnDeny: readonly string[]
  /** Of the answer yes: headers for the response. */
  readonly headersToDownstreamOnAllow: readonly string[]
}

/** Whether a name (in lower case) is in a list of names, `prefix*` and `*suffix`. */
export function headerMatcher(patterns: readonly string[]): (name: string) => boolean {
  const exact = new Set<string>()
  const prefixes: string[] = []
  const suffixes: string[] = []
  for (const written of patterns) {
    const pattern = written.toLowerCase()
    if (pattern.endsWith('*')) prefixes.push(pattern.slice(0, -1))
    else if (pattern.startsWith('*')) suffixes.push(pattern.slice(1))
    else exact.add(pattern)
  }
  return name =>
    exact.has(name) ||
    prefixes.some(prefix => name.startsWith(prefix)) ||
    suffixes.some(suffix => name.endsWith(suffix))
}
