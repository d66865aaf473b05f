/** `Gateway` of the Gateway API, as far as it is a waypoint. */
import type { ConfigurationObject } from './traffic-types.ts'

/** What a waypoint is for: traffic addressed to services, to workloads, to both, or to nobody. */
export type WaypointFor = 'service' | 'workload' | 'all' | 'none'

/** Whose namespaces may use a waypoint, or attach routes. */
export type AllowedNamespaces =
  | { readonly from: 'Same' | 'All' }
  | { readonly from: 'Selector'; readonly selector: LabelSelector }

export interface LabelSelector {
  readonly matchLabels: Readonly<Record<string, string>>
  readonly matchExpressions: readonly {
    readonly key: string
    readonly operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist'
    readonly values: readonly string[]
  }[]
}

export interface GatewayListener {
  readonly name: string
  readonly port: number
  /** `HBONE` for a waypoint; the older `ALL` is read as it. */
  readonly protocol: string
  readonly hostname?: string
  readonly allowedNamespaces: AllowedNamespaces
}

export interface GatewayResource extends ConfigurationObject {
  readonly kind: 'Gateway'
  readonly spec: {
    readonly className: string
    readonly listeners: readonly GatewayListener[]
    readonly waypointFor: WaypointFor
    /** Under whose identity the waypoint runs: that of its own name, unless an annotation says another. */
    readonly serviceAccount: string
  }
}

/** The class that is run here. */
export const WAYPOINT_CLASS = 'istio-waypoint'

export function isWaypoint({ spec }: GatewayResource): boolean {
  return spec.className === WAYPOINT_CLASS
}
