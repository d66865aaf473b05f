/** One service of a local file. */
import type { CidrVip, LoadBalancing, PortMap, Service, WeightedWaypoint } from '@ambient/core'
import type { YamlObject, YamlReader } from '@ambient/policy'
import { readBlock, readGateway, readNetworkAddress, readPorts, textOf } from './read-parts.ts'

const FIELDS = [
  'name',
  'namespace',
  'hostname',
  'vips',
  'cidrVips',
  'ports',
  'endpoints',
  'subjectAltNames',
  'waypoint',
  'weightedWaypoints',
  'loadBalancer',
  'ipFamilies',
  'canonical',
  'visibility',
] as const

/** A service, and the endpoints that the file names for it beside those that workloads claim. */
export interface LocalService {
  readonly service: Service
  readonly endpoints: readonly LocalEndpoint[]
}

export interface LocalEndpoint {
  readonly uid: string
  readonly ports: PortMap
  /** Where it is written. */
  readonly reader: YamlReader
}

export function readLocalService(reader: YamlReader): LocalService | undefined {
  const object = reader.object(FIELDS)
  const name = object?.required('name')?.text()
  const namespace = object?.required('namespace')?.text()
  const hostname = object?.required('hostname')?.text()
  const vips = object?.required('vips')?.list(readNetworkAddress)
  const ports = readPorts(object?.required('ports'))
  if (object === undefined || name === undefined || namespace === undefined) return undefined
  if (hostname === undefined || vips === undefined) return undefined
  const waypointReader = object.get('waypoint')
  const waypoint = waypointReader && readGateway(waypointReader)
  const service: Service = {
    name,
    namespace,
    hostname,
    vips,
    cidrVips: object.get('cidrVips')?.list(readCidrVip) ?? [],
    ports,
    subjectAltNames: object.get('subjectAltNames')?.list(item => item.text()) ?? [],
    ...(waypoint && { waypoint }),
    weightedWaypoints: object.get('weightedWaypoints')?.list(readWeighted) ?? [],
    loadBalancer: readBalancer(object),
    ipFamilies: object.get('ipFamilies')?.oneOf(['Automatic', 'IPv4', 'IPv6', 'Dual']) ?? 'Automatic',
    canonical: object.get('canonical')?.boolean() ?? false,
    visibility: object.get('visibility')?.oneOf(['Public', 'Namespace']) ?? 'Public',
  }
  return { service, endpoints: readEndpoints(object) }
}

function readCidrVip(reader: YamlReader): CidrVip | undefined {
  const object = reader.object(['network', 'cidr'])
  const block = object?.required('cidr')
  const cidr = block && readBlock(block)
  if (object === undefined || cidr === undefined) return undefined
  return { network: textOf(object, 'network'), cidr }
}

function readWeighted(reader: YamlReader): WeightedWaypoint | undefined {
  const object = reader.object(['destination', 'weight'])
  const written = object?.required('destination')
  const destination = written && readGateway(written)
  const weight = object?.required('weight')?.integer({ min: 0, max: 0xffff_ffff })
  return destination && weight !== undefined ? { destination, weight } : undefined
}

function readBalancer(object: YamlObject): LoadBalancing {
  const balancer = object.get('loadBalancer')?.object(['routingPreferences', 'mode', 'healthPolicy'])
  return {
    routingPreferences:
      balancer
        ?.get('routingPreferences')
        ?.list(item => item.oneOf(['Region', 'Zone', 'Subzone', 'Node', 'Cluster', 'Network'])) ?? [],
    mode: balancer?.get('mode')?.oneOf(['Standard', 'Strict', 'Failover', 'Passthrough']) ?? 'Standard',
    healthPolicy: balancer?.get('healthPolicy')?.oneOf(['OnlyHealthy', 'AllowAll']) ?? 'OnlyHealthy',
  }
}

function readEndpoints(object: YamlObject): readonly LocalEndpoint[] {
  const endpoints = object.get('endpoints')?.map((reader, key) => {
    const fields = reader.object(['workloadUid', 'port', 'status'])
    if (fields === undefined) return undefined
    fields.get('status')?.oneOf(['Healthy', 'Unhealthy'])
    return { uid: textOf(fields, 'workloadUid') || key, ports: readPorts(fields.get('port')), reader }
  })
  return [...(endpoints?.values() ?? [])]
}
