/** Every default of this package, with its reason. */

export const defaults = Object.freeze({
  /**
   * Policies and workloads arrive as independent resources: a workload may name a policy that is still on its way.
   * Until it is here nobody knows whether it would deny.
   */
  unknownPolicy: 'deny' as const,
})
