/** What a decision is asked about, as plain data: the JSON that `ambient policy explain --request` reads. */

export interface PolicyRequest {
  readonly source: RequestSource
  readonly destination: RequestDestination
  /** Absent for a connection whose bytes are not HTTP, or not looked at. */
  readonly http?: RequestHttp
  /** Of a token that was verified. It counts only if an attached RequestAuthentication has its `iss`. */
  readonly jwt?: { readonly payload: Readonly<Record<string, unknown>> }
  /** Of a TLS connection that passes through. */
  readonly sni?: string
}

export interface RequestSource {
  /** The proven identity without its scheme: `td/ns/NAMESPACE/sa/ACCOUNT`. Absent: plaintext. */
  readonly principal?: string
  /** Of the caller, as the proxy sees the connection. */
  readonly ip?: string
  /** Where a trusted proxy says that the request comes from; `ip` when absent. */
  readonly remoteIp?: string
}

export interface RequestDestination {
  readonly namespace: string
  /** The workload's name. */
  readonly workload?: string
  /** Of the workload: what selectors look at. */
  readonly labels?: Readonly<Record<string, string>>
  /** `namespace/name`: what targetRefs of a waypoint's policies look at. */
  readonly service?: string
  readonly ip?: string
  /** The workload's port at ztunnel and in a sidecar, the service's port at a waypoint. */
  readonly port: number
}

export interface RequestHttp {
  readonly method: string
  /** `:authority` or `Host`, with its port if it was sent. */
  readonly authority: string
  /** As sent, with the query: normalized before anything looks at it. */
  readonly path: string
  /** By name, whatever its case; a list when a header was sent more than once. */
  readonly headers?: Readonly<Record<string, string | readonly string[]>>
}
