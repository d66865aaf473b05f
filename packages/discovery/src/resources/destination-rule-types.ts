/** `DestinationRule` as readonly data: what is acted upon of it. */
import type { SourcePosition } from '@ambient/policy'
import type { ConfigurationObject } from './traffic-types.ts'

export interface DestinationRuleResource extends ConfigurationObject {
  readonly kind: 'DestinationRule'
  readonly spec: {
    /** As written: `fullHostname` completes a short one. */
    readonly host: string
    readonly exportTo: readonly string[]
    readonly trafficPolicy?: TrafficPolicy
    readonly subsets: readonly Subset[]
  }
}

export interface Subset {
  readonly name: string
  readonly source: SourcePosition
  /** Of pods; empty selects all of them. */
  readonly labels: Readonly<Record<string, string>>
  /** Laid over the rule's own, group by group. */
  readonly trafficPolicy?: TrafficPolicy
}

export type SimpleLoadBalancer = 'LEAST_REQUEST' | 'RANDOM' | 'ROUND_ROBIN' | 'PASSTHROUGH'

export interface TrafficPolicy extends TrafficPolicyGroups {
  /** Replace the groups above for their port, those that they leave out included. */
  readonly portLevelSettings: readonly (TrafficPolicyGroups & { readonly port: number })[]
}

export interface TrafficPolicyGroups {
  readonly loadBalancer?: { readonly simple: SimpleLoadBalancer }
  readonly connectionPool?: ConnectionPool
}

/** Absent and 0 are Envoy's defaults. */
export interface ConnectionPool {
  readonly tcp: {
    readonly maxConnections?: number
    readonly connectTimeoutMs?: number
    readonly maxConnectionDurationMs?: number
    readonly idleTimeoutMs?: number
  }
  readonly http: {
    readonly http1MaxPendingRequests?: number
    readonly http2MaxRequests?: number
    readonly maxRequestsPerConnection?: number
    readonly maxRetries?: number
    readonly idleTimeoutMs?: number
    readonly h2UpgradePolicy?: 'DEFAULT' | 'DO_NOT_UPGRADE' | 'UPGRADE'
    readonly useClientProtocol?: boolean
    readonly maxConcurrentStreams?: number
  }
}
