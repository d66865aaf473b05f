/** Every default of a mesh, each with its reason. */

export const meshDefaults = Object.freeze({
  /** Two nodes: the smallest number at which traffic crosses between proxies. */
  nodes: Object.freeze(['node-a', 'node-b']) as readonly string[],
  /** Istio's default. */
  trustDomain: 'cluster.local',
  /** Istio's default for a single cluster. */
  clusterId: 'Kubernetes',
  /** Kubernetes' default. */
  clusterDomain: 'cluster.local',
  /** One network: every pod reaches every other. Istio sends it as the empty string. */
  network: '',
  /** Where mesh-wide policies live in Istio. */
  rootNamespace: 'istio-system',
  /** A day, as istiod signs. */
  certificateTtlMs: 86_400_000,
  /** A first restart is quick, because most deaths of a program under development are single. */
  restartFirstMs: 250,
  /** Doubled up to this: a program that keeps dying must not take the machine's time. */
  restartMaxMs: 10_000,
  /** A program that lived this long was healthy: its next restart is a first one again. */
  restartResetMs: 10_000,
  /** Kubernetes gives 30 s; a mesh on a developer's machine ends sooner. */
  closeGraceMs: 3_000,
  /** How long connections of a proxy that was replaced may go on: as long as Kubernetes gives a pod. */
  restartDrainMs: 30_000,
  /** How long a proxy that leaves waits for the others to have heard of it; beyond this one of them is stuck. */
  settleTimeoutMs: 2_000,
  /** Proxies start in under a second; beyond this something is wrong. */
  proxyReadyTimeoutMs: 20_000,
  /** How long `start()` waits for pods; those that are not ready then go on trying. */
  podReadyTimeoutMs: 30_000,
  /** Programs that start well are ready by now: whoever waits longer is told for what. */
  tellWaitingMs: 5_000,
  /** Between two looks at something that has no event to wait for: a port that opens, a first readiness. */
  pollMs: 50,
  /** A control socket whose process does not even greet in this time is of no use. */
  greetTimeoutMs: 2_000,
  /** For each message of a client of the relay: it is a ztunnel, which says all at once. */
  socksTimeoutMs: 10_000,
  /** For each answer of a ztunnel to a workload; it may dial for 10 s, hand-shake for 10 s and wait 30 s for an answer. */
  tunnelTimeoutMs: 60_000,
  /** Lines of a program's output are cut here; programs may print without newlines. */
  maxLineBytes: 16_384,
  /** Candidate blocks tried before giving up; each is one bind. */
  blockAttempts: 12,
})

/** Ports of a node's proxy, as Istio has them. */
export const proxyPorts = Object.freeze({
  hbone: 15008,
  plaintext: 15006,
  socks: 15080,
  admin: 15000,
  stats: 15020,
  readiness: 15021,
})

/** Where the embedded control plane listens, as istiod. */
export const CONTROL_PLANE_PORT = 15012
