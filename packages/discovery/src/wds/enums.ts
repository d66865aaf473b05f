/** Enum values of WDS and our words for them, both ways. A number that is not in a table is unknown. */
import type {
  ApplicationTunnel,
  LoadBalancing,
  LoadBalancingMode,
  LoadBalancingScope,
  NetworkMode,
  Service,
  TunnelProtocol,
  WorkloadStatus,
  WorkloadType,
} from '@ambient/core'
import { Action, Scope } from '../gen/authorization_pb.js'
import {
  ApplicationTunnel_Protocol,
  IPFamilies,
  LoadBalancing_HealthPolicy,
  LoadBalancing_Mode,
  LoadBalancing_Scope,
  NetworkMode as NetworkModeNumber,
  Service_Visibility,
  TunnelProtocol as TunnelProtocolNumber,
  WorkloadStatus as WorkloadStatusNumber,
  WorkloadType as WorkloadTypeNumber,
} from '../gen/workload_pb.js'
import { DiscoveryError } from '../errors.ts'

/** A closed enum: number to word and back. */
export interface EnumTable<Word extends string, Value extends number> {
  readonly name: string
  read(value: number): Word | undefined
  write(word: Word): Value
}

export const tunnelProtocol = table<TunnelProtocol, TunnelProtocolNumber>('tunnel_protocol', {
  TCP: TunnelProtocolNumber.NONE,
  HBONE: TunnelProtocolNumber.HBONE,
})

export const workloadStatus = table<WorkloadStatus, WorkloadStatusNumber>('status', {
  Healthy: WorkloadStatusNumber.HEALTHY,
  Unhealthy: WorkloadStatusNumber.UNHEALTHY,
})

export const workloadType = table<WorkloadType, WorkloadTypeNumber>('workload_type', {
  deployment: WorkloadTypeNumber.DEPLOYMENT,
  cronjob: WorkloadTypeNumber.CRONJOB,
  pod: WorkloadTypeNumber.POD,
  job: WorkloadTypeNumber.JOB,
})

export const networkMode = table<NetworkMode, NetworkModeNumber>('network_mode', {
  Standard: NetworkModeNumber.STANDARD,
  HostNetwork: NetworkModeNumber.HOST_NETWORK,
})

export const applicationProtocol = table<ApplicationTunnel['protocol'], ApplicationTunnel_Protocol>(
  'application_tunnel.protocol',
  { NONE: ApplicationTunnel_Protocol.NONE, PROXY: ApplicationTunnel_Protocol.PROXY },
)

export const ipFamilies = table<Service['ipFamilies'], IPFamilies>('ip_families', {
  Automatic: IPFamilies.AUTOMATIC,
  IPv4: IPFamilies.IPV4_ONLY,
  IPv6: IPFamilies.IPV6_ONLY,
  Dual: IPFamilies.DUAL,
})

export const visibility = table<Service['visibility'], Service_Visibility>('visibility', {
  Public: Service_Visibility.PUBLIC,
  Namespace: Service_Visibility.NAMESPACE,
})

/** UNSPECIFIED_SCOPE has no word: it rejects the resource. */
export const balancingScope = table<LoadBalancingScope, LoadBalancing_Scope>('routing_preference', {
  Region: LoadBalancing_Scope.REGION,
  Zone: LoadBalancing_Scope.ZONE,
  Subzone: LoadBalancing_Scope.SUBZONE,
  Node: LoadBalancing_Scope.NODE,
  Cluster: LoadBalancing_Scope.CLUSTER,
  Network: LoadBalancing_Scope.NETWORK,
})

export const balancingMode = table<LoadBalancingMode, LoadBalancing_Mode>('load_balancing.mode', {
  Standard: LoadBalancing_Mode.UNSPECIFIED_MODE,
  Strict: LoadBalancing_Mode.STRICT,
  Failover: LoadBalancing_Mode.FAILOVER,
  Passthrough: LoadBalancing_Mode.PASSTHROUGH,
})

export const healthPolicy = table<LoadBalancing['healthPolicy'], LoadBalancing_HealthPolicy>(
  'health_policy',
  {
    OnlyHealthy: LoadBalancing_HealthPolicy.ONLY_HEALTHY,
    AllowAll: LoadBalancing_HealthPolicy.ALLOW_ALL,
  },
)

export const policyScope = table<'Global' | 'Namespace' | 'WorkloadSelector', Scope>('scope', {
  Global: Scope.GLOBAL,
  Namespace: Scope.NAMESPACE,
  WorkloadSelector: Scope.WORKLOAD_SELECTOR,
})

export const policyAction = table<'Allow' | 'Deny', Action>('action', {
  Allow: Action.ALLOW,
  Deny: Action.DENY,
})

/** @throws DiscoveryError `AMBIENT_E_RESOURCE` for a number without a word. */
export function readEnum<Word extends string, Value extends number>(
  of: EnumTable<Word, Value>,
  value: number,
): Word {
  const word = of.read(value)
  if (word === undefined) throw new DiscoveryError('AMBIENT_E_RESOURCE', `unknown ${of.name} ${value}`)
  return word
}

function table<Word extends string, Value extends number>(
  name: string,
  values: Readonly<Record<Word, Value>>,
): EnumTable<Word, Value> {
  const words = new Map<number, Word>()
  for (const word in values) words.set(values[word], word)
  return { name, read: value => words.get(value), write: word => values[word] }
}
