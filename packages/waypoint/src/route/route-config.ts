/** What the switchboard is compiled from; discovery's `ConfigStore` has all of it. */
import type { Directory, Service } from '@ambient/core'
import type { DestinationRuleResource, HttpRouteResource, VirtualServiceResource } from '@ambient/discovery'

export interface RouteConfig {
  readonly virtualServices: readonly VirtualServiceResource[]
  readonly httpRoutes: readonly HttpRouteResource[]
  readonly destinationRules: readonly DestinationRuleResource[]
}

export interface RouteInput {
  readonly service: Service
  /** Service port. */
  readonly port: number
  /** The waypoint's own: routes of it and of the service's namespace count, nobody else's. */
  readonly gatewayNamespace: string
  readonly config: RouteConfig
  readonly directory: Directory
  readonly clusterDomain: string
}

/** A resource by kind and name, for messages. */
export function resourceName(resource: {
  readonly kind: string
  readonly metadata: { readonly namespace: string; readonly name: string }
}): string {
  return `${resource.kind} ${resource.metadata.namespace}/${resource.metadata.name}`
}
