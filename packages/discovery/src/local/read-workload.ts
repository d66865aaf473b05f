/** One workload of a local file: the object of ztunnel's config_dump, with `services` as a map of ports. */
import type { Locality, PortMap, Workload } from '@ambient/core'
import type { YamlObject, YamlReader } from '@ambient/policy'
import { wdsDefaults } from '../limits.ts'
import { readGateway, readIp, readPorts, textOf } from './read-parts.ts'

const FIELDS = [
  'workloadIps',
  'waypoint',
  'networkGateway',
  'protocol',
  'networkMode',
  'uid',
  'name',
  'namespace',
  'trustDomain',
  'serviceAccount',
  'network',
  'workloadName',
  'workloadType',
  'canonicalName',
  'canonicalRevision',
  'hostname',
  'node',
  'nativeTunnel',
  'applicationTunnel',
  'authorizationPolicies',
  'status',
  'clusterId',
  'locality',
  'services',
  'capacity',
] as const

const PORT_RANGE = { min: 0, max: 65535 }

export function readLocalWorkload(reader: YamlReader): Workload | undefined {
  const object = reader.object(FIELDS)
  const addresses = object?.required('workloadIps')?.list(readIp)
  const namespace = object?.required('namespace')?.text()
  const services = object?.required('services')
  if (object === undefined || addresses === undefined || namespace === undefined) return undefined
  const name = textOf(object, 'name')
  const clusterId = textOf(object, 'clusterId', wdsDefaults.clusterId)
  const waypoint = object.get('waypoint')
  const gateway = object.get('networkGateway')
  return {
    uid: textOf(object, 'uid') || `${clusterId}//Pod/${namespace}/${name}`,
    name,
    namespace,
    addresses,
    hostname: textOf(object, 'hostname'),
    network: textOf(object, 'network'),
    protocol: object.get('protocol')?.oneOf(['TCP', 'HBONE']) ?? 'TCP',
    trustDomain: textOf(object, 'trustDomain', wdsDefaults.trustDomain),
    serviceAccount: textOf(object, 'serviceAccount', wdsDefaults.serviceAccount),
    ...optional('waypoint', waypoint && readGateway(waypoint)),
    ...optional('networkGateway', gateway && readGateway(gateway)),
    node: textOf(object, 'node'),
    canonicalName: textOf(object, 'canonicalName'),
    canonicalRevision: textOf(object, 'canonicalRevision'),
    workloadType: object.get('workloadType')?.oneOf(['deployment', 'cronjob', 'pod', 'job']) ?? 'deployment',
    workloadName: textOf(object, 'workloadName'),
    nativeTunnel: object.get('nativeTunnel')?.boolean() ?? false,
    ...optional('applicationTunnel', readTunnel(object)),
    services: services === undefined ? new Map() : readServices(services),
    authorizationPolicies: object.get('authorizationPolicies')?.list(readPolicyName) ?? [],
    status: object.get('status')?.oneOf(['Healthy', 'Unhealthy']) ?? 'Healthy',
    clusterId,
    locality: readLocality(object),
    networkMode: object.get('networkMode')?.oneOf(['Standard', 'HostNetwork']) ?? 'Standard',
    capacity: object.get('capacity')?.integer({ min: 0, max: 0xffff_ffff }) ?? wdsDefaults.capacity,
  }
}

function readServices(reader: YamlReader): ReadonlyMap<string, PortMap> {
  return reader.map((ports, key) => {
    if (key.includes('/')) return readPorts(ports)
    ports.problem(`expected NAMESPACE/HOSTNAME as key, found ${JSON.stringify(key)}`)
    return undefined
  })
}

function readPolicyName(reader: YamlReader): string | undefined {
  const name = reader.text()
  if (name === undefined || name.includes('/')) return name
  reader.problem(`expected NAMESPACE/NAME, found ${JSON.stringify(name)}`)
  return undefined
}

function readTunnel(object: YamlObject): Workload['applicationTunnel'] {
  const tunnel = object.get('applicationTunnel')?.object(['protocol', 'port'])
  const protocol = tunnel?.required('protocol')?.oneOf(['NONE', 'PROXY'])
  return protocol && { protocol, port: tunnel?.get('port')?.integer(PORT_RANGE) ?? 0 }
}

function readLocality(object: YamlObject): Locality {
  const locality = object.get('locality')?.object(['region', 'zone', 'subzone'])
  const part = (field: string): string => (locality === undefined ? '' : textOf(locality, field))
  return { region: part('region'), zone: part('zone'), subzone: part('subzone') }
}

/** A field that is there only with a value. */
function optional<K extends string, T>(key: K, value: T | undefined): { readonly [P in K]?: T } {
  const fields: { [P in K]?: T } = {}
  if (value !== undefined) fields[key] = value
  return fields
}
