/** Resources and running pods to what the data planes are told, as istiod derives it. */
import {
  authorizationKey,
  type Authorization,
  convertPeerAuthentications,
  toAuthorization,
} from '@ambient/policy'
import { serviceKey } from '@ambient/core'
import type { Resources } from '../resources/types.ts'
import { deriveService } from './derive-service.ts'
import { createWorkloadDerivation } from './derive-workload.ts'
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
}

/** A pure function: equal input gives equal output. */
export function deriveAmbient(input: DeriveInput): AmbientState {
  const { resources, rootNamespace } = input
  const peers = convertPeerAuthentications(resources.peerAuthentications, { rootNamespace })
  const deriveWorkload = createWorkloadDerivation(input, peers)
  const workloads = input.pods.filter(({ ip }) => ip !== '').map(deriveWorkload)
  const services = resources.services.flatMap(service => deriveService(service, input) ?? [])
  const policies = [...sentPolicies(input), ...peers.authorizations]
  return {
    workloads: new Map(workloads.map(workload => [workload.uid, workload])),
    services: new Map(services.map(service => [serviceKey(service), service])),
    authorizations: new Map(policies.map(policy => [authorizationKey(policy), policy])),
  }
}

function sentPolicies({ resources, rootNamespace }: DeriveInput): readonly Authorization[] {
  return resources.authorizationPolicies.flatMap(policy => {
    const translation = toAuthorization(policy, { rootNamespace })
    return translation.kind === 'sent' ? [translation.authorization] : []
  })
}
