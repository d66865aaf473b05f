/** Gateways of the waypoint class, as far as the mesh acts on them. */
import type { Resources } from '@ambient/discovery'

export interface GatewayResource {
  readonly metadata: { readonly namespace: string; readonly name: string }
  readonly spec: { readonly className: string; readonly serviceAccount: string; readonly waypointFor: string }
}

export function isWaypoint({ spec }: GatewayResource): boolean {
  return spec.className === 'istio-waypoint'
}

export function waypointsOf(resources: Resources | undefined): readonly GatewayResource[] {
  const gateways: unknown = resources === undefined ? [] : Reflect.get(resources, 'gateways')
  return ((gateways ?? []) as readonly GatewayResource[]).filter(isWaypoint)
}
