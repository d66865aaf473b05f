/** Every default of this package, with its reason. */

export const defaults = Object.freeze({
  /**
   * Policies and workloads arrive as independent resources: a workload may name a policy that is still on its way.
   * Until it is here nobody knows whether it would deny.
   */
  unknownPolicy: 'deny' as const,
  /** Istio's own, in most meshes. */
  rootNamespace: 'istio-system',
  /** Istio's own. */
  trustDomain: 'cluster.local',
  /** `DEFAULT` of Istio's mesh configuration. */
  pathNormalization: 'BASE' as const,
  /** A provider that nobody asks has not said yes. */
  custom: 'deny' as const,
  /** What `istioctl waypoint apply` calls a waypoint that nobody names. */
  waypointName: 'waypoint',
  /** Istio's: a provider that hangs holds its requests for so long. */
  providerTimeoutMs: 600_000,
  /** Istio's: who cannot be asked does not say yes. */
  providerFailOpen: false,
  /** Envoy's: 403. */
  providerStatusOnError: 403,
  /** Istio's, of one fetch of an issuer's keys. */
  jwksTimeoutMs: 5_000,
  /** Istio's: keys of this age are fetched again, in the background. */
  jwksRefreshMs: 20 * 60_000,
  /** An issuer may be down for a day; a key that it has taken back is not trusted for longer than that. */
  jwksMaxStaleMs: 24 * 3_600_000,
  /** An issuer that did not answer is asked again after this long, however many tokens come. */
  jwksRetryMs: 10_000,
  /** Anybody can name a key that does not exist: one fetch in this time. */
  jwksUnknownKeyMs: 30_000,
})
