/** From what a route names to the cluster it means, or to why there is none. */
import type { Service } from '@ambient/core'
import { type BackendRef, fullHostname, type VirtualServiceDestination } from '@ambient/discovery'
import { findSubset, rulesFor } from './destination-rules.ts'
import type { Backend, ClusterRef } from './ir.ts'
import type { RouteInput } from './route-config.ts'

/** Of a VirtualService: what is not there is answered 503 `NC`. `from` names the resource, `namespace` is its own. */
export function virtualServiceBackend(
  destination: VirtualServiceDestination,
  from: string,
  namespace: string,
  input: RouteInput,
): Backend {
  const missing = (what: string): Backend => ({
    kind: 'missing',
    status: 503,
    flag: 'NC',
    reason: `${from} sends to ${what}`,
  })
  const hostname = fullHostname(destination.host, namespace, input.clusterDomain)
  const service = input.directory.serviceByHostname(hostname, namespace)
  if (service === undefined) return missing(`${hostname}, which is not a service of the mesh`)
  const port = destination.port ?? onlyPort(service) ?? input.port
  if (!service.ports.has(port)) return missing(`port ${port} of ${hostname}, which the service does not have`)
  const { subset } = destination
  if (subset !== undefined && !hasSubset(service, subset, input))
    return missing(`subset ${JSON.stringify(subset)} of ${hostname}, which no DestinationRule defines`)
  return toCluster(service, port, subset)
}

/** Of an HTTPRoute: what is not there is answered 500. */
export function httpRouteBackend(ref: BackendRef, from: string, input: RouteInput): Backend {
  const missing = (what: string): Backend => ({
    kind: 'missing',
    status: 500,
    flag: '-',
    reason: `${from} sends to ${what}`,
  })
  const hostname =
    ref.kind === 'Hostname'
      ? ref.name.toLowerCase()
      : `${ref.name}.${ref.namespace}.svc.${input.clusterDomain}`
  const service = input.directory.serviceByHostname(hostname, ref.namespace)
  if (service === undefined) return missing(`${hostname}, which is not a service of the mesh`)
  if (!service.ports.has(ref.port))
    return missing(`port ${ref.port} of ${hostname}, which the service does not have`)
  return toCluster(service, ref.port, undefined)
}

/** The service itself, where nothing is written. */
export function ownCluster({ service, port }: RouteInput): ClusterRef {
  return { namespace: service.namespace, hostname: service.hostname, port, subset: undefined }
}

function toCluster(service: Service, port: number, subset: string | undefined): Backend {
  const { namespace, hostname } = service
  return { kind: 'cluster', cluster: { namespace, hostname, port, subset } }
}

function onlyPort({ ports }: Service): number | undefined {
  const [port] = ports.keys()
  return ports.size === 1 ? port : undefined
}

function hasSubset(service: Service, subset: string, { config, gatewayNamespace }: RouteInput): boolean {
  const found = rulesFor({ destinationRules: config.destinationRules, service, gatewayNamespace })
  return findSubset(found, subset) !== undefined
}
