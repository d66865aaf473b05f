/** Resources and running pods to what the data planes are told, as istiod derives it. */
import {
  authorizationKey,
  type Authorization,
  convertPeerAuthentications,
  toAuthorization,
  withoutExpired,
} from '@ambient/policy'
import { serviceKey } from '@ambient/core'
import type { Resources } from '../resources/types.ts'
import { deriveService } from './derive-service.ts'
import { createWorkloadDerivation } from './derive-workload.ts'
import { configurationOf } from '../configuration/document.ts'
import { planWaypoints } from './derive-waypoints.ts'
import type { PodStatus } from './pod-status.ts'
import type { AmbientState } from './state.ts'

export interface DeriveInput {
  readonly resources: Resources
  readonly pods: readonly PodStatus[]
  /** Addresses of each service, by `namespace/name`; a service without an entry has those of its manifest. */
  readonly clusterIps: ReadonlyMap<string, readonly string[]>
  readonly trustDomain: string
  readonly clusterId: string
  readonly network: string
  /** Policies of this namespace without selector are for all; `istio-system` in most meshes. */
  readonly rootNamespace: string
  /** `cluster.local` in most clusters. */
  readonly clusterDomain: string
  /**
   * Workloads behind a waypoint take connections from it only, as far as no other policy allows more: istiod's
   * `PILOT_AUTO_ALLOW_WAYPOINT_POLICY`. When the waypoint that is named is missing, nobody may connect.
   */
  readonly requireWaypoint?: boolean
  /** The time, in milliseconds since the epoch, by which an ALLOW may have ended. Absent: none has. */
  readonly nowMs?: number
}

/** A pure function: equal input gives equal output. */
export function deriveAmbient(input: DeriveInput): AmbientState {
  const { resources, rootNamespace } = input
  const peers = convertPeerAuthentications(resources.peerAuthentications, { rootNamespace })
  const waypoints = planWaypoints(input)
  const deriveWorkload = createWorkloadDerivation(input, peers, waypoints)
  const workloads = input.pods.filter(({ ip }) => ip !== '').map(deriveWorkload)
  const own = new Map(waypoints.services.map(service => [serviceKey(service), service]))
  const services = resources.services.flatMap(service => deriveService(service, input, waypoints) ?? [])
  // After the workloads: those say which waypoints somebody is behind.
  const policies = [...sentPolicies(input), ...peers.authorizations, ...waypoints.authorizations]
  return {
    workloads: new Map(workloads.map(workload => [workload.uid, workload])),
    services: new Map([...services.map(service => [serviceKey(service), service] as const), ...own]),
    authorizations: new Map(policies.map(policy => [authorizationKey(policy), policy])),
    configuration: configurationOf(resources, input.pods),
  }
}

function sentPolicies({ resources, rootNamespace, nowMs }: DeriveInput): readonly Authorization[] {
  const { authorizationPolicies: all } = resources
  const policies = nowMs === undefined ? all : withoutExpired(all, nowMs)
  return policies.flatMap(policy => {
    const translation = toAuthorization(policy, { rootNamespace })
    return translation.kind === 'sent' ? [translation.authorization] : []
  })
}
