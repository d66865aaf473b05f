/**
 * Room 11, the back gate: what a CONNECT may reach through us (ztunnel.md §3.1). Pure. Only our own workload's address,
 * or destinations that name us as their waypoint.
 */
import {
  type Directory,
  type GatewayAddress,
  readHostPort,
  type Service,
  serviceKey,
  type Workload,
} from '@ambient/core'
import type { Target } from '../outbound/route.ts'

export interface InboundQuestion {
  readonly authority: string
  /** The local address of the accepted connection. */
  readonly connected: Target
  /** The workload that this proxy acts for. */
  readonly workload: Workload
  readonly directory: Directory
  readonly network: string
  readonly illegalPorts: ReadonlySet<number>
}

export type InboundTarget =
  | {
      readonly kind: 'deliver'
      /** Where the application listens. */
      readonly hop: Target
      /** Announced in a PROXY header to a sandwiched waypoint. */
      readonly announce: Target | undefined
      readonly onLoopback: boolean
    }
  | { readonly kind: 'refuse'; readonly status: 400 | 503; readonly reason: string }

export function decideTarget(question: InboundQuestion): InboundTarget {
  const authority = readHostPort(question.authority)
  if (!authority.ok) return refuse(400, `no valid authority pseudo header: ${authority.reason}`)
  const { host, port, kind } = authority.value
  if (kind === 'ip') {
    const problem = addressProblem(question, host)
    if (problem !== undefined) return refuse(400, problem)
    return deliver(question, port, { address: host, port })
  }
  return toHostname(question, host, port)
}

function toHostname(question: InboundQuestion, host: string, port: number): InboundTarget {
  const { workload, directory, network } = question
  const service = directory.serviceByHostname(host, workload.namespace)
  if (service === undefined) return refuse(503, `no service or workload for hostname: ${host}`)
  const mapped = workload.services.get(serviceKey(service))?.get(port) ?? service.ports.get(port)
  if (mapped === undefined || mapped === 0)
    return refuse(503, `requested service ${host}:${port} found, but cannot resolve port`)
  if (workload.applicationTunnel === undefined) return deliver(question, mapped, undefined)
  const vips = service.vips.filter(vip => vip.network === network)
  const vip = [...vips, ...service.vips].find(({ ip }) => !ip.includes(':')) ?? service.vips[0]
  if (vip === undefined) return refuse(503, `requested service ${host} found, but has no IP addresses`)
  return deliver(question, mapped, { address: vip.ip, port })
}

function deliver(question: InboundQuestion, port: number, announced: Target | undefined): InboundTarget {
  const { workload, connected } = question
  if (question.illegalPorts.has(port)) return refuse(503, 'attempted recursive call to ourselves')
  const tunnel = workload.applicationTunnel
  const hop = {
    address: connected.address,
    port: tunnel !== undefined && tunnel.port > 0 ? tunnel.port : port,
  }
  const isProxied = tunnel?.protocol === 'PROXY'
  return { kind: 'deliver', hop, announce: isProxied ? announced : undefined, onLoopback: isProxied }
}

function addressProblem(question: InboundQuestion, ip: string): string | undefined {
  const { connected, workload, directory, network } = question
  if (ip === connected.address || workload.applicationTunnel !== undefined) return undefined
  const behind =
    directory.workloadByAddress(network, ip) ?? directory.serviceByVip(network, ip, workload.namespace)
  if (behind?.waypoint !== undefined && isUs(question, behind.waypoint)) return undefined
  return `ip mismatch: ${connected.address} != ${ip}`
}

function isUs(question: InboundQuestion, { destination }: GatewayAddress): boolean {
  const { directory, workload, connected } = question
  const contains = (service: Service | undefined): boolean =>
    service !== undefined &&
    directory.endpoints(service).some(endpoint => endpoint.workload.uid === workload.uid)
  if (destination.kind === 'hostname')
    return contains(directory.service(destination.namespace, destination.hostname))
  const named = directory.workloadByAddress(destination.network, destination.ip)
  if (named !== undefined) return named.addresses.includes(connected.address)
  return contains(directory.serviceByVip(destination.network, destination.ip, workload.namespace))
}

function refuse(status: 400 | 503, reason: string): InboundTarget {
  return { kind: 'refuse', status, reason }
}

/** The service that a connection most likely meant, for telemetry only. */
export function guessService(question: {
  readonly workload: Workload
  readonly directory: Directory
  readonly port: number
  /** The `host` of the `forwarded` header. */
  readonly forwardedHost: string | undefined
}): Service | undefined {
  const { workload, directory, port, forwardedHost } = question
  let first: Service | undefined
  for (const [key, ports] of workload.services) {
    const slash = key.indexOf('/')
    const service = directory.service(key.slice(0, slash), key.slice(slash + 1))
    if (service === undefined) continue
    if (service.hostname === forwardedHost) return service
    const targets = [...service.ports].map(([port, target]) => ports.get(port) ?? target)
    if (targets.includes(port)) first ??= service
  }
  return first
}
