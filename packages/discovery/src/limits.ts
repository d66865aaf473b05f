/** Every bound and default of this package, each with its reason. */

export const limits = Object.freeze({
  /** One gRPC message that a client takes: an xDS push of a large mesh fits, a hostile one does not fill memory. */
  maxResponseBytes: 64 * 1024 * 1024,
  /** One response that our server builds: half of what a client takes; the rest follows after its ACK. */
  maxPushBytes: 32 * 1024 * 1024,
  /** One resource: a workload is some hundred bytes; a service with thousands of ports still fits. */
  maxResourceBytes: 1024 * 1024,
  /** One request to our server: the versions of about 100 000 retained resources. */
  maxRequestBytes: 16 * 1024 * 1024,
  /** Nested protobuf messages; WDS needs 5, a node's metadata a few more. */
  maxMessageDepth: 32,
  /** Longest part of a peer's error text that is kept for the status and the log. */
  maxNackChars: 1024,
  /** Clients whose last status is kept after they left. */
  maxRememberedClients: 1024,
  /** A client that opened a stream says who it is within this time. */
  firstRequestTimeoutMs: 10_000,
  /** HTTP/2 keepalive ping, as ztunnel. */
  keepaliveTimeMs: 30_000,
  /** A control plane that does not answer a ping for this long is gone. */
  keepaliveTimeoutMs: 10_000,
  /** First reconnect delay, as ztunnel. */
  reconnectMinMs: 10,
  /** Longest reconnect delay, as ztunnel. */
  reconnectMaxMs: 15_000,
  /** A connection attempt to the control plane, as ztunnel. */
  connectTimeoutMs: 5_000,
  /** Quiet time after the last file event: editors and `kubectl`-like tools write in several steps. */
  watchDebounceMs: 50,
  /** A folder that cannot be read is tried again after this. */
  watchRetryMs: 1_000,
  /** A regular expression of a route: those of people are some dozen characters; the Gateway API takes 4096. */
  maxRegexChars: 4096,
  /** Timeouts and delays of routes; longer ones would be typing errors. */
  maxDurationMs: 86_400_000,
  /** One manifest file; the same bound as the YAML reader's. */
  maxManifestBytes: 4 * 1024 * 1024,
})

/** What stands for an empty string in WDS, as ztunnel reads it. */
export const wdsDefaults = Object.freeze({
  trustDomain: 'cluster.local',
  serviceAccount: 'default',
  clusterId: 'Kubernetes',
  capacity: 1,
})
