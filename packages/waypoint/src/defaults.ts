/** Every default of the waypoint process, each with its reason. */

/** Ports, as Istio fixes them. */
export const ports = Object.freeze({
  hbone: 15008,
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
  /** Istio's default: where policies for all waypoints of a class are. */
  rootNamespace: 'istio-system',
  /** The class that istiod makes waypoints for. */
  gatewayClass: 'istio-waypoint',
  /** When the downward API gives no address. */
  instanceIp: '1.1.1.1',
  /** Where istiod's root certificate is mounted. */
  rootCertPath: './var/run/secrets/istio/root-cert.pem',
  /** Where the service account token is mounted. */
  tokenPath: './var/run/secrets/tokens/istio-token',
  /** istiod's: a second provider for one target is taken for a mistake, and its requests are denied. */
  severalProviders: false,
  /** istiod's own default validity. */
  secretTtlMs: 24 * 60 * 60 * 1000,
  /** Istio's terminationDrainDuration. */
  drainMs: 5_000,
  /** istiod gives Envoy waypoints this many tunnels per connection. */
  maxTunnelsPerConnection: 100,
  /** As ztunnel: what an operator has to know, nothing per byte. */
  logFilter: 'info',
})

/** OpenTelemetry's own defaults, except the ratio, which is Istio's 1 %. */
export const tracingDefaults = Object.freeze({
  /** Istio's PILOT_TRACE_SAMPLING. */
  samplingRatio: 0.01,
  /** OTEL_BSP_MAX_QUEUE_SIZE: spans beyond it are dropped and counted. */
  maxQueuedSpans: 2_048,
  /** OTEL_BSP_MAX_EXPORT_BATCH_SIZE. */
  maxBatchSpans: 512,
  /** OTEL_BSP_SCHEDULE_DELAY. */
  batchDelayMs: 5_000,
  /** OTEL_EXPORTER_OTLP_TIMEOUT: a collector that is slow is a collector that is away. */
  exportTimeoutMs: 10_000,
  /** Istio's maximal length of a path in a span. */
  maxPathLength: 256,
})
