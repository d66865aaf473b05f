/** Choosing an endpoint of a service: filter, rank by locality, weighted random among the best (ztunnel.md §4.2). */
import type { Directory, LoadBalancing, LoadBalancingScope, PortMap, Service, Workload } from '@ambient/core'
import { ipToBytes } from '@ambient/core'

export interface Upstream {
  readonly workload: Workload
  /** The port to reach on the workload. */
  readonly port: number
  readonly service?: Service
}

/** 0 ≤ value < 1. */
export type Random = () => number

export interface EndpointQuestion {
  readonly service: Service
  readonly servicePort: number
  readonly source: Workload
  readonly directory: Directory
  readonly random: Random
  /** A gateway is looked up by its HBONE port, which its service may not list when it has an application tunnel. */
  readonly forGateway?: boolean
}

/** `undefined` when no endpoint may take the connection. */
export function chooseEndpoint(question: EndpointQuestion): Upstream | undefined {
  const { service, servicePort, source, directory } = question
  const usable: Upstream[] = []
  for (const { workload, ports } of directory.endpoints(service)) {
    if (!isReachable(workload, source)) continue
    const hasPort = service.ports.has(servicePort)
    if (!hasPort && !(question.forGateway === true && workload.applicationTunnel !== undefined)) continue
    const port = targetPort(service, servicePort, workload, ports)
    if (port !== undefined) usable.push({ workload, port, service })
  }
  return weightedPick(bestRanked(usable, source, service.loadBalancer), question.random)
}

/** The endpoint's own mapping, then the service's, then the port of its application tunnel. */
export function targetPort(
  service: Service,
  servicePort: number,
  workload: Workload,
  endpointPorts: PortMap,
): number | undefined {
  const mapped = endpointPorts.get(servicePort)
  if (mapped !== undefined && mapped > 0) return mapped
  const common = service.ports.get(servicePort)
  if (common !== undefined && common > 0) return common
  return workload.applicationTunnel !== undefined && workload.applicationTunnel.port > 0
    ? servicePort
    : undefined
}

/** The workload's address to use: the one asked for, else one that the service's families allow, like the target's. */
export function selectAddress(
  workload: Workload,
  targetIp: string | undefined,
  service?: Service,
): string | undefined {
  if (targetIp !== undefined && workload.addresses.includes(targetIp)) return targetIp
  const families = service?.ipFamilies ?? 'Automatic'
  const allowed = workload.addresses.filter(ip => {
    const isV4 = ipToBytes(ip)?.length === 4
    return families === 'IPv4' ? isV4 : families === 'IPv6' ? !isV4 : true
  })
  const length = targetIp === undefined ? undefined : ipToBytes(targetIp)?.length
  return allowed.find(ip => ipToBytes(ip)?.length === length) ?? allowed[0]
}

function isReachable(workload: Workload, source: Workload): boolean {
  if (workload.addresses.length > 0 || workload.hostname !== '') return true
  return workload.network !== source.network && workload.networkGateway !== undefined
}

function bestRanked(
  candidates: readonly Upstream[],
  source: Workload,
  balancing: LoadBalancing,
): readonly Upstream[] {
  const { mode, routingPreferences } = balancing
  if (mode !== 'Strict' && mode !== 'Failover') return candidates
  const ranked = candidates.map(candidate => ({
    candidate,
    ...rankOf(candidate.workload, source, routingPreferences),
  }))
  const eligible =
    mode === 'Strict' ? ranked.filter(entry => entry.matches === routingPreferences.length) : ranked
  const best = Math.max(...eligible.map(entry => entry.rank))
  return eligible.filter(entry => entry.rank === best).map(entry => entry.candidate)
}

/**
 * Each scope that matches in turn counts one, and the first that differs ends the walk. A leading network scope is
 * different: another network is passed over, and the own one outweighs every locality.
 */
function rankOf(
  workload: Workload,
  source: Workload,
  preferences: readonly LoadBalancingScope[],
): { rank: number; matches: number } {
  let matches = 0
  let bonus = 0
  for (const [index, scope] of preferences.entries()) {
    if (scopeValue(workload, scope) === scopeValue(source, scope)) {
      matches++
      if (index === 0 && scope === 'Network') bonus = preferences.length - 1
    } else if (!(index === 0 && scope === 'Network')) {
      break
    }
  }
  return { rank: matches + bonus, matches }
}

function scopeValue(workload: Workload, scope: LoadBalancingScope): string {
  switch (scope) {
    case 'Region':
      return workload.locality.region
    case 'Zone':
      return workload.locality.zone
    case 'Subzone':
      return workload.locality.subzone
    case 'Node':
      return workload.node
    case 'Cluster':
      return workload.clusterId
    case 'Network':
      return workload.network
  }
}

function weightedPick(candidates: readonly Upstream[], random: Random): Upstream | undefined {
  const total = candidates.reduce((sum, { workload }) => sum + workload.capacity, 0)
  if (total <= 0) return candidates[Math.floor(random() * candidates.length)]
  let left = random() * total
  for (const candidate of candidates) {
    left -= candidate.workload.capacity
    if (left < 0) return candidate
  }
  return candidates.at(-1)
}
