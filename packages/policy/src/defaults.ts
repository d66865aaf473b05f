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
})
