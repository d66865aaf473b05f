/**
 * Room 2, the map room: where a connection goes and how. Pure: the directory is asked, nothing is opened.
 *
 * The two look-ups differ on purpose (ztunnel.md §4.1): the waypoint decision asks for a workload first, the upstream
 * for a service first, so that a pod whose address equals a VIP keeps working.
 */
import {
  type Directory,
  formatHostPort,
  type GatewayAddress,
  isLoopback,
  readSpiffeId,
  type Service,
  type SpiffeId,
  type Workload,
} from '@ambient/core'
import { workloadIdentity } from '@ambient/core/proxy'
import { chooseEndpoint, type Random, selectAddress, type Upstream } from './upstream.ts'

export interface Target {
  readonly address: string
  readonly port: number
}

export interface RouteQuestion {
  readonly source: Workload
  readonly destination: Target
  readonly directory: Directory
  /** Our own network. */
  readonly network: string
  readonly trustDomain: string
  readonly random: Random
  readonly hbonePort: number
  readonly illegalPorts: ReadonlySet<number>
  /**
   * Set when the source is outside the mesh (rootless mode serves those as well): no tunnel, no waypoint, and a
   * destination inside the mesh is reached at this port, its ztunnel's plaintext entrance.
   */
  readonly plaintextEntrance?: number
}

/** What to do with a connection. `upstream` is the workload at the next hop's far end. */
export type Route =
  /** Nobody knows the destination: plain TCP to it. */
  | { readonly kind: 'passthrough'; readonly to: Target; readonly service: Service | undefined }
  /** A workload that does not speak HBONE: plain TCP to it. */
  | {
      readonly kind: 'plaintext'
      readonly to: Target
      readonly upstream: Workload
      readonly service: Service | undefined
      /** Announced in a PROXY header, because `to` is an entrance and not the target. */
      readonly announce: Target | undefined
    }
  /** A tunnel to the destination workload, or to the waypoint in front of it. */
  | {
      readonly kind: 'tunnel'
      readonly via: 'direct' | 'waypoint'
      readonly to: Target
      readonly authority: string
      readonly expect: readonly SpiffeId[]
      readonly upstream: Workload
      readonly service: Service | undefined
    }
  /** HBONE in HBONE through the gateway of another network. `upstream` is the gateway: who is behind it, it knows. */
  | {
      readonly kind: 'gateway'
      readonly to: Target
      /** Of both CONNECTs: the service's host name and port. */
      readonly authority: string
      /** Whom the gateway must prove to be. */
      readonly gateway: readonly SpiffeId[]
      /** Whom the far end must prove to be: what the service says, and never a workload's own identity. */
      readonly expect: readonly SpiffeId[]
      readonly upstream: Workload
      readonly service: Service
      /** How many endpoints the gateway stands for. */
      readonly backends: number
    }
  | { readonly kind: 'refused'; readonly reason: string }

/** Decides; never throws. */
export function decideRoute(question: RouteQuestion): Route {
  const { destination, directory, network, source } = question
  const at = formatHostPort(destination.address, destination.port)
  if (isLoopback(destination.address) && question.illegalPorts.has(destination.port))
    return refused('attempted recursive call to ourselves')
  const addressed =
    directory.workloadByAddress(network, destination.address) === undefined
      ? directory.serviceByVip(network, destination.address, source.namespace)
      : undefined
  if (addressed !== undefined && question.plaintextEntrance === undefined) {
    const route = throughServiceWaypoint(question, addressed, at)
    if (route !== undefined) return route
  }
  const found = findUpstream(question)
  if (found === undefined) {
    if (addressed !== undefined && addressed.loadBalancer.mode !== 'Passthrough')
      return refused(`no healthy upstream: ${at}`)
    return { kind: 'passthrough', to: destination, service: undefined }
  }
  return toUpstream(question, found, addressed, at)
}

function toUpstream(
  question: RouteQuestion,
  found: Upstream,
  addressed: Service | undefined,
  at: string,
): Route {
  const { source, destination } = question
  const { workload, service } = found
  if (workload.network !== source.network)
    return service === undefined
      ? refused(`no service for target address: ${at}`)
      : throughGateway(question, found, service)
  if (
    addressed === undefined &&
    question.plaintextEntrance === undefined &&
    workload.waypoint !== undefined
  ) {
    const route = throughWorkloadWaypoint(question, workload, workload.waypoint, at)
    if (route !== undefined) return route
  }
  const address = selectAddress(workload, destination.address, service)
  if (address === undefined) return refused(`no valid routing destination for workload: ${workload.uid}`)
  const target = { address, port: found.port }
  if (workload.protocol !== 'HBONE')
    return { kind: 'plaintext', to: target, upstream: workload, service, announce: undefined }
  if (question.plaintextEntrance !== undefined)
    return {
      kind: 'plaintext',
      to: { address, port: question.plaintextEntrance },
      upstream: workload,
      service,
      announce: target,
    }
  return {
    kind: 'tunnel',
    via: 'direct',
    to: { address, port: question.hbonePort },
    authority: formatHostPort(address, found.port),
    expect: expectedIdentities(question, workload, service),
    upstream: workload,
    service,
  }
}

/** Service by VIP first, then workload by address. */
function findUpstream(question: RouteQuestion): Upstream | undefined {
  const { destination, directory, network, source, random } = question
  const service = directory.serviceByVip(network, destination.address, source.namespace)
  if (service !== undefined) {
    if (service.loadBalancer.mode === 'Passthrough') return undefined
    return chooseEndpoint({ service, servicePort: destination.port, source, directory, random })
  }
  const workload = directory.workloadByAddress(network, destination.address)
  return workload === undefined ? undefined : { workload, port: destination.port }
}

function throughServiceWaypoint(question: RouteQuestion, service: Service, at: string): Route | undefined {
  const address = sampleWaypoint(service, question.random)
  if (address === undefined) return undefined
  const waypoint = findGateway(question, address)
  if (waypoint === undefined) return refused(`unknown waypoint: ${describeGateway(address)}`)
  if (waypoint.workload.network !== question.source.network)
    return throughGateway(question, waypoint, service)
  return toWaypoint(question, waypoint, service, at)
}

/** Traffic of a workload's own waypoint goes straight to it; identity and address both have to say so. */
function throughWorkloadWaypoint(
  question: RouteQuestion,
  workload: Workload,
  address: GatewayAddress,
  at: string,
): Route | undefined {
  const waypoint = findGateway(question, address)
  if (waypoint === undefined) return refused(`unknown waypoint: ${describeGateway(address)}`)
  const { source, trustDomain } = question
  const isOwn =
    workloadIdentity(waypoint.workload, trustDomain)?.uri === workloadIdentity(source, trustDomain)?.uri &&
    source.addresses.some(ip => waypoint.workload.addresses.includes(ip))
  return isOwn ? undefined : toWaypoint(question, waypoint, undefined, at, workload)
}

function toWaypoint(
  question: RouteQuestion,
  waypoint: Upstream,
  service: Service | undefined,
  at: string,
  behind?: Workload,
): Route {
  const { workload } = waypoint
  const address = selectAddress(workload, question.destination.address, waypoint.service)
  if (address === undefined)
    return refused(
      `no valid routing destination for workload: ${workload.uid}${behind === undefined ? '' : ` (waypoint of ${behind.uid})`}`,
    )
  return {
    kind: 'tunnel',
    via: 'waypoint',
    to: { address, port: waypoint.port },
    authority: at,
    expect: expectedIdentities(question, workload, waypoint.service),
    upstream: workload,
    service,
  }
}

/** `upstream` is what stands for the other network's endpoints, or for its waypoint. */
function throughGateway(question: RouteQuestion, upstream: Upstream, service: Service): Route {
  const { networkGateway } = upstream.workload
  if (networkGateway === undefined)
    return refused(`no valid routing destination for workload: ${upstream.workload.uid}`)
  const gateway = findGateway(question, networkGateway)
  if (gateway === undefined) return refused(`unknown network gateway: ${describeGateway(networkGateway)}`)
  // A gateway that is named by its address is reached in that family, one by host name in the caller's.
  const { destination } = networkGateway
  const like = destination.kind === 'address' ? destination.ip : question.destination.address
  const address = selectAddress(gateway.workload, like, gateway.service)
  if (address === undefined)
    return refused(`no valid routing destination for workload: ${gateway.workload.uid}`)
  return {
    kind: 'gateway',
    to: { address, port: gateway.port },
    authority: `${service.hostname}:${question.destination.port}`,
    gateway: expectedIdentities(question, gateway.workload, gateway.service),
    expect: serviceIdentities(upstream.service),
    upstream: gateway.workload,
    service,
    backends: upstream.workload.capacity,
  }
}

function sampleWaypoint(service: Service, random: Random): GatewayAddress | undefined {
  const total = service.weightedWaypoints.reduce((sum, { weight }) => sum + weight, 0)
  if (total <= 0) return service.waypoint
  let left = random() * total
  for (const { destination, weight } of service.weightedWaypoints) {
    left -= weight
    if (left < 0) return destination
  }
  return service.waypoint
}

function findGateway(question: RouteQuestion, gateway: GatewayAddress): Upstream | undefined {
  const { directory, source, random } = question
  const { destination, hboneMtlsPort } = gateway
  const choose = (service: Service): Upstream | undefined =>
    chooseEndpoint({ service, servicePort: hboneMtlsPort, source, directory, random, forGateway: true })
  if (destination.kind === 'address') {
    const service = directory.serviceByVip(destination.network, destination.ip, source.namespace)
    if (service !== undefined) return choose(service)
    const workload = directory.workloadByAddress(destination.network, destination.ip)
    return workload === undefined ? undefined : { workload, port: hboneMtlsPort }
  }
  const service = directory.service(destination.namespace, destination.hostname)
  if (service !== undefined) return choose(service)
  const workload = directory
    .workloadsOnNode('')
    .find(one => one.hostname === destination.hostname && one.namespace === destination.namespace)
  return workload === undefined ? undefined : { workload, port: hboneMtlsPort }
}

/** The workload's own identity, and those that its service lets endpoints prove. */
function expectedIdentities(
  question: RouteQuestion,
  workload: Workload,
  service: Service | undefined,
): readonly SpiffeId[] {
  const own = workloadIdentity(workload, question.trustDomain)
  return [...(own === undefined ? [] : [own]), ...serviceIdentities(service)]
}

/** Those that a service lets its endpoints prove. */
function serviceIdentities(service: Service | undefined): readonly SpiffeId[] {
  return (service?.subjectAltNames ?? []).flatMap(text => {
    const read = readSpiffeId(text)
    return read.ok ? [read.id] : []
  })
}

function describeGateway({ destination }: GatewayAddress): string {
  return destination.kind === 'address'
    ? `${destination.network}/${destination.ip}`
    : `${destination.namespace}/${destination.hostname}`
}

function refused(reason: string): Route {
  return { kind: 'refused', reason }
}
