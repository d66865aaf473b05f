/** Room 6, pure: what the authority of a CONNECT names, and whether this waypoint answers for it. */
import {
  type Directory,
  formatHostPort,
  type GatewayAddress,
  readHostPort,
  type Service,
  serviceKey,
  type Workload,
} from '@ambient/core'
import type { GatewayName, WaypointConfig } from './config/config.ts'
import type { ServedTarget } from './stream.ts'

/** This waypoint as services and workloads refer to it. */
export interface OwnGateway extends GatewayName {
  /** Of the Gateway's service, `NAME.NAMESPACE.svc.DOMAIN`. */
  readonly hostname: string
  /** Of this process. */
  readonly instanceIp: string
}

export function ownGateway({ gateway, clusterDomain, instanceIp }: WaypointConfig): OwnGateway {
  return { ...gateway, hostname: `${gateway.name}.${gateway.namespace}.svc.${clusterDomain}`, instanceIp }
}

export interface ServedQuestion {
  /** `host:port` as it was sent. */
  readonly authority: string
  /** Whose view of services counts. */
  readonly callerNamespace: string
  readonly gateway: OwnGateway
  readonly directory: Directory
  readonly network: string
  /** Of a service's key or a workload's uid: behind us until a moment ago, which its callers may not know yet. */
  readonly leftJustNow: (key: string) => boolean
}

export type ServedAnswer =
  | {
      readonly kind: 'served'
      readonly target: ServedTarget
      readonly destination: { readonly address: string; readonly port: number }
    }
  /** 400 for what is no authority; 503, as Envoy, for everything that is not ours to serve. */
  | {
      readonly kind: 'refused'
      readonly status: 400 | 503
      readonly reason: string
      /** It is known, and may be on its way to us. */
      readonly mayArrive?: true
    }

/** The proxies' own ports; nothing behind them may be reached through a tunnel. */
const ILLEGAL_PORTS: ReadonlySet<number> = new Set([15_001, 15_006, 15_008])

export function decideServed(question: ServedQuestion): ServedAnswer {
  const { authority, directory, network } = question
  const read = readHostPort(authority)
  if (!read.ok) return { kind: 'refused', status: 400, reason: `malformed authority: ${read.reason}` }
  const { kind, host: address, port } = read.value
  if (kind !== 'ip') return refused(`the authority ${authority} is a name; tunnels name an address`)
  const destination = { address, port }
  const service = directory.serviceByVip(network, address, question.callerNamespace)
  if (service !== undefined) return serviceAnswer(question, service, destination)
  const workload = directory.workloadByAddress(network, address)
  if (workload !== undefined) return workloadAnswer(question, workload, destination)
  return refused(`nobody is known at ${formatHostPort(address, port)}`)
}

/** Whether a waypoint reference means this one. */
export function isOwn(
  reference: GatewayAddress | undefined,
  gateway: OwnGateway,
  directory: Directory,
): boolean {
  if (reference === undefined) return false
  const { destination } = reference
  if (destination.kind === 'hostname')
    return destination.namespace === gateway.namespace && destination.hostname === gateway.hostname
  if (destination.ip === gateway.instanceIp) return true
  const own = directory.service(gateway.namespace, gateway.hostname)
  return own?.vips.some(vip => vip.ip === destination.ip) ?? false
}

/** The services that this waypoint answers for, one of several by weight included. */
export function servesService(service: Service, gateway: OwnGateway, directory: Directory): boolean {
  return (
    isOwn(service.waypoint, gateway, directory) ||
    service.weightedWaypoints.some(({ destination }) => isOwn(destination, gateway, directory))
  )
}

/** Whether this waypoint answers for the workload's own address. */
export function servesWorkload(workload: Workload, gateway: OwnGateway, directory: Directory): boolean {
  return isOwn(workload.waypoint, gateway, directory)
}

function serviceAnswer(
  { gateway, directory, leftJustNow }: ServedQuestion,
  service: Service,
  destination: { readonly address: string; readonly port: number },
): ServedAnswer {
  const { hostname } = service
  if (!servesService(service, gateway, directory) && !leftJustNow(serviceKey(service)))
    return notOurs(`${hostname} is not behind the waypoint ${gateway.namespace}/${gateway.name}`)
  if (!service.ports.has(destination.port))
    return refused(`${hostname} does not declare the port ${destination.port}`)
  const protocol = service.appProtocols?.get(destination.port)
  const { port } = destination
  return { kind: 'served', target: { kind: 'service', service, port, protocol }, destination }
}

function workloadAnswer(
  { gateway, directory, leftJustNow }: ServedQuestion,
  workload: Workload,
  destination: { readonly address: string; readonly port: number },
): ServedAnswer {
  const { port } = destination
  if (!servesWorkload(workload, gateway, directory) && !leftJustNow(workload.uid))
    return notOurs(`${workload.uid} is not behind the waypoint ${gateway.namespace}/${gateway.name}`)
  if (ILLEGAL_PORTS.has(port)) return refused(`port ${port} belongs to the mesh itself`)
  return { kind: 'served', target: { kind: 'workload', workload, port }, destination }
}

function refused(reason: string): ServedAnswer {
  return { kind: 'refused', status: 503, reason }
}

function notOurs(reason: string): ServedAnswer {
  return { kind: 'refused', status: 503, reason, mayArrive: true }
}
