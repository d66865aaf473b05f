/** Istio's standard labels as a waypoint reports them, in Istio's order. What is not known is `unknown`. */
import type { Directory, Workload } from '@ambient/core'
import { workloadIdentityOf } from '@ambient/core'
import { partyOf, type Party, sourceLabelNames, sourceLabels, workloadIdentity } from '@ambient/core/proxy'
import { parseBaggage } from '@ambient/hbone'
import type { ClusterRef } from '../route/ir.ts'
import type { InboundStream } from '../stream.ts'
import type { AccessParties } from './access-log.ts'

const PEER_LABELS: readonly string[] = [
  'reporter',
  ...sourceLabelNames,
  'destination_workload',
  'destination_workload_namespace',
  'destination_app',
  'destination_version',
  'destination_canonical_service',
  'destination_canonical_revision',
  'destination_cluster',
  'destination_principal',
  'destination_service',
  'destination_service_name',
  'destination_service_namespace',
  'request_protocol',
]

export const requestLabelNames: readonly string[] = Object.freeze([
  ...PEER_LABELS,
  'response_code',
  'response_flags',
  'grpc_response_status',
  'connection_security_policy',
])

export const tcpLabelNames: readonly string[] = Object.freeze([
  ...PEER_LABELS,
  'response_flags',
  'connection_security_policy',
])

export interface ServiceName {
  readonly hostname: string
  readonly name: string
  readonly namespace: string
}

export interface Peers {
  readonly source: Party
  readonly destination: Party
  readonly service: ServiceName | undefined
}

/** HBONE is the only way in. */
const SECURITY_POLICY = 'mutual_tls'

export interface RequestFacts {
  readonly protocol: 'http' | 'grpc'
  readonly status: number
  readonly flags: string
  readonly grpcStatus: number | undefined
}

/** The labels of requests between the same two in the same way are one array: what is counted by it is found by it. */
export type RequestLabels = (peers: Peers, request: RequestFacts) => readonly string[]

/** Ways in which requests between two ended that are remembered. */
const MAX_REMEMBERED = 64

export function createRequestLabels(): RequestLabels {
  const known = new WeakMap<Party, WeakMap<Party, Map<string, readonly string[]>>>()
  return (peers, request) => {
    const from = known.get(peers.source) ?? new WeakMap<Party, Map<string, readonly string[]>>()
    const between = from.get(peers.destination) ?? new Map<string, readonly string[]>()
    from.set(peers.destination, between)
    known.set(peers.source, from)
    const { protocol, status, flags, grpcStatus } = request
    const { namespace = '', hostname = '' } = peers.service ?? {}
    const key = `${protocol} ${status} ${flags} ${grpcStatus ?? ''} ${namespace}/${hostname}`
    const found = between.get(key)
    if (found !== undefined) return found
    if (between.size >= MAX_REMEMBERED) between.clear()
    const made = requestLabels(peers, request)
    between.set(key, made)
    return made
  }
}

function requestLabels(peers: Peers, request: RequestFacts): readonly string[] {
  const labels = peerLabels(peers, request.protocol)
  // Without gRPC there is no status of it: an empty value is an absent label.
  const grpcStatus = request.grpcStatus === undefined ? '' : String(request.grpcStatus)
  labels.push(String(request.status), request.flags, grpcStatus, SECURITY_POLICY)
  return labels
}

export function tcpLabels(peers: Peers, flags: string): readonly string[] {
  const labels = peerLabels(peers, 'tcp')
  labels.push(flags, SECURITY_POLICY)
  return labels
}

/** Discovery before baggage; the namespace is first of all that of the proven identity. */
export function sourceParty(stream: Pick<InboundStream, 'caller' | 'baggage'>): Party {
  const { workload, identity } = stream.caller
  const baggage = stream.baggage === undefined ? undefined : parseBaggage([stream.baggage])
  const party = partyOf({ workload, baggage, principal: identity })
  const namespace = workloadIdentityOf(identity)?.namespace
  return namespace === undefined ? party : { ...party, namespace }
}

/** Who called, as its HBONE connection proves it, and what was meant: for the access log, which is ztunnel's in this. */
export function accessParties(
  source: Party,
  { caller, target }: Pick<InboundStream, 'caller' | 'target'>,
): AccessParties {
  const { kind } = target
  const fields: readonly (readonly [keyof AccessParties, string])[] = [
    ['src.workload', source.logName],
    ['src.namespace', source.namespace],
    ['src.identity', caller.identity.uri],
    ['src.cluster', source.cluster],
    ['dst.service', kind === 'service' ? target.service.hostname : ''],
    ['dst.workload', kind === 'workload' ? target.workload.name : ''],
    ['dst.namespace', kind === 'workload' ? target.workload.namespace : ''],
  ]
  return Object.fromEntries(fields.filter(([, value]) => value !== ''))
}

/** Of the chosen endpoint, with the identity that its account stands for. */
export function destinationParty(workload: Workload, trustDomain: string): Party {
  return partyOf({ workload, principal: workloadIdentity(workload, trustDomain) })
}

/** The service that a request went to, or was meant for when it went nowhere. */
export function serviceOf(
  cluster: ClusterRef | undefined,
  target: InboundStream['target'],
  directory: Directory,
): ServiceName | undefined {
  if (target.kind === 'workload') return undefined
  if (cluster === undefined) return target.service
  const { namespace, hostname } = cluster
  return (
    directory.service(namespace, hostname) ?? { namespace, hostname, name: hostname.split('.', 1)[0] ?? '' }
  )
}

function peerLabels({ source, destination, service }: Peers, protocol: string): string[] {
  return [
    'waypoint',
    ...sourceLabels(source),
    destination.workload,
    destination.namespace,
    destination.app,
    destination.version,
    destination.canonicalService,
    destination.canonicalRevision,
    destination.cluster,
    destination.principal,
    service?.hostname ?? '',
    service?.name ?? '',
    service?.namespace ?? '',
    protocol,
  ].map(value => (value === '' ? 'unknown' : value))
}
