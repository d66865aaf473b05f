/** What the builders take: every field of the Istio API, with what it means, in types that refuse what Istio refuses. */

/** One value, or several of which one has to match. */
export type OneOrMore<T> = T | readonly T[]

/** `NAMESPACE/NAME`; or `NAME` beside a `namespace` in the metadata. Without a namespace nothing is built. */
export type ObjectName = string

/** What metadata may say beside the name. */
export interface MetadataTerms {
  /** Wins over the namespace of the name. */
  readonly namespace?: string
  readonly labels?: Readonly<Record<string, string>>
  readonly annotations?: Readonly<Record<string, string>>
}

/** What a policy is for, when not for the workloads of its namespace: obeyed by waypoints and gateways only. */
export interface TargetTerms {
  /** `GatewayClass` is for every waypoint, named `istio-waypoint`, in the root namespace. */
  readonly kind: 'Service' | 'ServiceEntry' | 'Gateway' | 'GatewayClass'
  readonly name: string
}

/** Where a request comes from, for a CUSTOM policy: addresses only, because it runs before identities are judged. */
export interface AddressTerms {
  /** Addresses or CIDRs of the peer of the connection: of the proxy before us, when there is one. */
  readonly ipBlocks?: OneOrMore<string>
  /** None of these addresses or CIDRs. */
  readonly notIpBlocks?: OneOrMore<string>
  /** Addresses or CIDRs of the client as trusted proxies report it (X-Forwarded-For, PROXY). HTTP only at ztunnel. */
  readonly remoteIpBlocks?: OneOrMore<string>
  /** None of these addresses or CIDRs. */
  readonly notRemoteIpBlocks?: OneOrMore<string>
}

interface CommonTerms extends AddressTerms {
  /** `ISSUER/SUBJECT` of a verified token; `*` is any token. HTTP only. */
  readonly requestPrincipals?: OneOrMore<string>
  /** None of these. A request without a token passes: combine it with `requestPrincipals: '*'` to ask for one. */
  readonly notRequestPrincipals?: OneOrMore<string>
  /** Trust domains of the identity, `*.example` and `corp.*` too. ztunnel drops this field without a word. */
  readonly trustDomains?: OneOrMore<string>
  /** None of these. Plaintext passes. */
  readonly notTrustDomains?: OneOrMore<string>
}

/** By whole identities or namespaces. */
export interface PrincipalTerms extends CommonTerms {
  /**
   * Identities without `spiffe://`: `cluster.local/ns/shop/sa/web`, a prefix that ends in `*`, a suffix that begins with
   * one, or `*` for any identity that was proven. Plaintext never matches.
   */
  readonly principals?: OneOrMore<string>
  /** None of these identities. Plaintext passes: combine it with `principals: '*'` to ask for an identity. */
  readonly notPrincipals?: OneOrMore<string>
  /** Namespaces of the identity; `*` anywhere. Plaintext never matches. */
  readonly namespaces?: OneOrMore<string>
  /** None of these namespaces. Plaintext passes. */
  readonly notNamespaces?: OneOrMore<string>
  readonly serviceAccounts?: never
  readonly notServiceAccounts?: never
}

/** By service accounts: Istio takes these without `principals` and `namespaces` beside them. */
export interface ServiceAccountTerms extends CommonTerms {
  /** `ACCOUNT` of the policy's own namespace, or `NAMESPACE/ACCOUNT`; no `*`, at most 16. Plaintext never matches. */
  readonly serviceAccounts?: OneOrMore<string>
  /** None of these accounts. Plaintext passes. */
  readonly notServiceAccounts?: OneOrMore<string>
  readonly principals?: never
  readonly notPrincipals?: never
  readonly namespaces?: never
  readonly notNamespaces?: never
}

/** Where a request comes from. Fields are and-ed, values of a field or-ed. */
export type SourceTerms = PrincipalTerms | ServiceAccountTerms

/** What a request asks for. Fields are and-ed, values of a field or-ed. All but ports are HTTP only. */
export interface OperationTerms {
  /** Of `:authority`, whatever the case; `web.shop:8080` is not `web.shop`. */
  readonly hosts?: OneOrMore<string>
  /** None of these. */
  readonly notHosts?: OneOrMore<string>
  /** The service's port at a waypoint, the workload's port elsewhere. */
  readonly ports?: OneOrMore<number | `${number}`>
  /** None of these. */
  readonly notPorts?: OneOrMore<number | `${number}`>
  /** Upper case, as they are sent; of gRPC always POST. */
  readonly methods?: OneOrMore<HttpMethod>
  /** None of these. */
  readonly notMethods?: OneOrMore<HttpMethod>
  /**
   * Normalized, without the query: exact, a prefix that ends in `*`, a suffix such as `*.json`, or a template: `{*}` is one segment, `{**}` any number
   * of them.
   */
  readonly paths?: OneOrMore<string>
  /** None of these. */
  readonly notPaths?: OneOrMore<string>
}

/** Known ones for completion; any other, and patterns such as `P*`, too. */
export type HttpMethod =
  | 'GET'
  | 'HEAD'
  | 'POST'
  | 'PUT'
  | 'PATCH'
  | 'DELETE'
  | 'OPTIONS'
  | (string & Record<never, never>)

/** What `when` may ask for in a CUSTOM policy. */
export type UnjudgedConditionKey =
  /** Addresses or CIDRs of the peer of the connection. */
  | 'source.ip'
  /** Addresses or CIDRs of the client as trusted proxies report it. */
  | 'remote.ip'
  /** Where the connection goes: a service's own address at a waypoint. */
  | 'destination.ip'
  | 'destination.port'
  /** The server name of a TLS connection that passes through. */
  | 'connection.sni'
  /** A header, by its name in any case; `*` is "present". HTTP only. */
  | `request.headers[${string}]`
  /** Metadata of another Envoy filter. */
  | `experimental.envoy.filters.${string}[${string}]`

/** What `when` may ask for. */
export type ConditionKey =
  | UnjudgedConditionKey
  | 'source.namespace'
  /** HTTP only at ztunnel. */
  | 'source.serviceAccount'
  /** HTTP only at ztunnel. */
  | 'source.trustDomain'
  | 'source.principal'
  /** `ISSUER/SUBJECT` of a verified token. HTTP only, as all of `request.…`. */
  | 'request.auth.principal'
  /** The token's `aud`. */
  | 'request.auth.audiences'
  /** The token's `azp`. */
  | 'request.auth.presenter'
  /** A claim of the token; brackets go into nested claims: `request.auth.claims[realm][roles]`. */
  | `request.auth.claims[${string}]`

/** Values that one of has to match, and values that none of may. At least one of both. */
export interface ConditionTerms {
  readonly values?: OneOrMore<string>
  readonly notValues?: OneOrMore<string>
}
