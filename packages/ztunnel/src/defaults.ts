/** Every default of the ztunnel, each with its reason. The environment table in the README is checked against it. */

/** Ports, as Istio fixes them (the CNI's rules and istiod's addresses name them). */
export const ports = Object.freeze({
  outbound: 15001,
  inboundPlaintext: 15006,
  inboundHbone: 15008,
  socks5: 15080,
  admin: 15000,
  stats: 15020,
  readiness: 15021,
})

export const defaults = Object.freeze({
  /** Istio's name of the first cluster. */
  clusterId: 'Kubernetes',
  /** Kubernetes' default. */
  clusterDomain: 'cluster.local',
  /** Istio's default. */
  trustDomain: 'cluster.local',
  /** ztunnel's placeholder when the downward API gives no address. */
  instanceIp: '1.1.1.1',
  /** Where istiod's root certificate is mounted. */
  rootCertPath: './var/run/secrets/istio/root-cert.pem',
  /** Where the service account token is mounted. */
  tokenPath: './var/run/secrets/tokens/istio-token',
  /** Where the mesh configuration is mounted. */
  meshConfigPath: './etc/istio/config/mesh',
  /** istiod's own default validity. */
  secretTtlMs: 24 * 60 * 60 * 1000,
  /** Short enough for a development machine; the chart's 30 s grace period gives 25 s. */
  terminationDeadlineMs: 5_000,
  /** Local workload not in discovery yet: ztunnel's patience. */
  workloadWaitMs: 5_000,
  /** TCP connect to an application or a peer, as ztunnel. */
  connectTimeoutMs: 10_000,
  /** A SOCKS5 or PROXY header comes from the same machine: anything slower is a stuck or hostile peer. */
  handshakeTimeoutMs: 5_000,
  /** A listener that cannot bind is tried again this often, as ztunnel does for a pod's proxy. */
  listenRetryMs: 5_000,
  /** As ztunnel: one line per connection, nothing per byte. */
  logFilter: 'info',
})
