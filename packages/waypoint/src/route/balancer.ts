/** Choosing one endpoint of a cluster for one request. */
import type { Random } from './decide.ts'
import type { ClusterEndpoint, ResolvedCluster } from './endpoints.ts'

/** Clusters whose turn is remembered; the one that was idle longest starts anew. */
const MAX_TURNS = 10_000

/** An endpoint that counts as busy until it is released. */
export interface Lease {
  readonly endpoint: ClusterEndpoint
  /** Of the request or connection that is over; more than once is once. */
  release(): void
}

export interface Balancer {
  /** `tried`: keys of endpoints to leave out, as long as there are others. `undefined`: there is none at all. */
  pick(cluster: ResolvedCluster, tried?: ReadonlySet<string>): Lease | undefined
  /** Requests under way, over all clusters. */
  readonly active: number
}

/** One for a waypoint: the counts of LEAST_REQUEST and the turns of ROUND_ROBIN are kept per cluster. */
export function createBalancer(random: Random): Balancer {
  const counts = new Map<string, number>()
  const turns = new Map<string, number>()
  let active = 0
  return {
    pick(cluster, tried) {
      const fresh = tried === undefined ? [] : cluster.endpoints.filter(({ key }) => !tried.has(key))
      const candidates = fresh.length > 0 ? fresh : cluster.endpoints
      const keyOf = (endpoint: ClusterEndpoint): string => `${cluster.key}|${endpoint.key}`
      const endpoint = choose(cluster, candidates, one => counts.get(keyOf(one)) ?? 0, turns, random)
      if (endpoint === undefined) return undefined
      const key = keyOf(endpoint)
      counts.set(key, (counts.get(key) ?? 0) + 1)
      active++
      let isHeld = true
      return {
        endpoint,
        release() {
          if (!isHeld) return
          isHeld = false
          active--
          const left = (counts.get(key) ?? 1) - 1
          if (left > 0) counts.set(key, left)
          else counts.delete(key)
        },
      }
    },
    get active() {
      return active
    },
  }
}

function choose(
  { loadBalancer, key }: ResolvedCluster,
  candidates: readonly ClusterEndpoint[],
  activeOf: (endpoint: ClusterEndpoint) => number,
  turns: Map<string, number>,
  random: Random,
): ClusterEndpoint | undefined {
  if (candidates.length < 2 || loadBalancer === 'RANDOM') return any(candidates, random)
  const capacity = candidates[0]?.workload.capacity ?? 1
  const areEqual = candidates.every(({ workload }) => workload.capacity === capacity)
  if (loadBalancer === 'ROUND_ROBIN')
    return areEqual
      ? nextInTurn(key, candidates, turns, random)
      : byWeight(candidates, ({ workload }) => workload.capacity, random)
  // PASSTHROUGH: the original destination was the service, which has no host of its own.
  return areEqual
    ? lessBusyOfTwo(candidates, activeOf, random)
    : byWeight(candidates, one => one.workload.capacity / (activeOf(one) + 1), random)
}

function any(candidates: readonly ClusterEndpoint[], random: Random): ClusterEndpoint | undefined {
  return candidates[Math.floor(random() * candidates.length)]
}

/** Two different ones by lot; at a tie the first. */
function lessBusyOfTwo(
  candidates: readonly ClusterEndpoint[],
  activeOf: (endpoint: ClusterEndpoint) => number,
  random: Random,
): ClusterEndpoint | undefined {
  const first = Math.floor(random() * candidates.length)
  const second = (first + 1 + Math.floor(random() * (candidates.length - 1))) % candidates.length
  const [a, b] = [candidates[first], candidates[second]]
  return a !== undefined && b !== undefined && activeOf(b) < activeOf(a) ? b : a
}

/** The first turn is drawn, so that many waypoints do not begin with the same endpoint. */
function nextInTurn(
  key: string,
  candidates: readonly ClusterEndpoint[],
  turns: Map<string, number>,
  random: Random,
): ClusterEndpoint | undefined {
  const turn = turns.get(key) ?? Math.floor(random() * candidates.length)
  turns.delete(key)
  turns.set(key, (turn + 1) % Number.MAX_SAFE_INTEGER)
  const [oldest] = turns.keys()
  if (turns.size > MAX_TURNS && oldest !== undefined) turns.delete(oldest)
  return candidates[turn % candidates.length]
}

function byWeight(
  candidates: readonly ClusterEndpoint[],
  weightOf: (endpoint: ClusterEndpoint) => number,
  random: Random,
): ClusterEndpoint | undefined {
  const weights = candidates.map(weightOf)
  const total = weights.reduce((sum, weight) => sum + weight, 0)
  if (total <= 0) return any(candidates, random)
  let left = random() * total
  return (
    candidates.find((_, index) => {
      left -= weights[index] ?? 0
      return left < 0
    }) ?? candidates.at(-1)
  )
}
