/** `istio.workload.Service` to and from our own words. */
import { create } from '@bufbuild/protobuf'
import { type CidrVip, type NetworkAddress, parseCidr, type Service } from '@ambient/core'
import {
  LoadBalancingSchema,
  type NetworkAddress as NetworkAddressMessage,
  NetworkAddressSchema,
  type Service as ServiceMessage,
  ServiceSchema,
  type WeightedWaypoint,
  WeightedWaypointSchema,
} from '../gen/workload_pb.js'
import * as enums from './enums.ts'
import {
  readAppProtocols,
  readGateway,
  readIp,
  readPorts,
  reject,
  writeGateway,
  writeNetworkAddress,
  writePorts,
} from './parts.ts'

/** @throws DiscoveryError `AMBIENT_E_RESOURCE` where ztunnel rejects the resource. */
export function readService(message: ServiceMessage): Service {
  const { loadBalancing: balancing } = message
  return {
    name: message.name,
    namespace: message.namespace,
    hostname: message.hostname,
    ...readVips(message.addresses),
    ports: readPorts(message.ports),
    ...appProtocolsOf(message.ports),
    subjectAltNames: message.subjectAltNames,
    ...(message.waypoint && { waypoint: readGateway(message.waypoint) }),
    weightedWaypoints: message.weightedWaypoints.map(readWeighted),
    loadBalancer: {
      routingPreferences: (balancing?.routingPreference ?? []).map(scope =>
        enums.readEnum(enums.balancingScope, scope),
      ),
      mode: enums.readEnum(enums.balancingMode, balancing?.mode ?? 0),
      healthPolicy: enums.readEnum(enums.healthPolicy, balancing?.healthPolicy ?? 0),
    },
    ipFamilies: enums.readEnum(enums.ipFamilies, message.ipFamilies),
    canonical: message.canonical,
    visibility: enums.visibility.read(message.visibility) ?? 'Public',
  }
}

/** Writes as istiod does: no load balancing when all of it is the default. */
export function writeService(service: Service): ServiceMessage {
  const { loadBalancer } = service
  const balances =
    loadBalancer.routingPreferences.length > 0 ||
    loadBalancer.mode !== 'Standard' ||
    loadBalancer.healthPolicy !== 'OnlyHealthy'
  return create(ServiceSchema, {
    name: service.name,
    namespace: service.namespace,
    hostname: service.hostname,
    addresses: [...service.vips.map(writeNetworkAddress), ...service.cidrVips.map(writeBlock)],
    ports: writePorts(service.ports, service.appProtocols),
    subjectAltNames: [...service.subjectAltNames],
    ...(service.waypoint && { waypoint: writeGateway(service.waypoint) }),
    weightedWaypoints: service.weightedWaypoints.map(({ destination, weight }) =>
      create(WeightedWaypointSchema, { destination: writeGateway(destination), weight }),
    ),
    ...(balances && {
      loadBalancing: create(LoadBalancingSchema, {
        routingPreference: loadBalancer.routingPreferences.map(enums.balancingScope.write),
        mode: enums.balancingMode.write(loadBalancer.mode),
        healthPolicy: enums.healthPolicy.write(loadBalancer.healthPolicy),
      }),
    }),
    ipFamilies: enums.ipFamilies.write(service.ipFamilies),
    canonical: service.canonical,
    visibility: enums.visibility.write(service.visibility),
  })
}

/** Absent when no port says. */
function appProtocolsOf(ports: ServiceMessage['ports']): Pick<Service, 'appProtocols'> {
  const appProtocols = readAppProtocols(ports)
  return appProtocols.size === 0 ? {} : { appProtocols }
}

function readVips(addresses: readonly NetworkAddressMessage[]): Pick<Service, 'vips' | 'cidrVips'> {
  const vips: NetworkAddress[] = []
  const cidrVips: CidrVip[] = []
  for (const { network, address, length } of addresses) {
    const ip = readIp(address)
    const bits = ip.includes(':') ? 128 : 32
    // A block inside ::ffff:0:0/96 is a block of IPv4.
    const prefix = length === undefined ? bits : length - (address.length * 8 - bits)
    if (prefix < 0 || prefix > bits) throw reject(`${ip}/${length} is not an IP block`)
    if (prefix === bits) vips.push({ network, ip })
    else cidrVips.push({ network, cidr: `${ip}/${prefix}` })
  }
  return { vips, cidrVips }
}

function writeBlock({ network, cidr }: CidrVip): NetworkAddressMessage {
  const { bytes, prefixLength } = parseCidr(cidr)
  return create(NetworkAddressSchema, { network, address: bytes, length: prefixLength })
}

function readWeighted({ destination, weight }: WeightedWaypoint): Service['weightedWaypoints'][number] {
  if (destination === undefined) throw reject('a weighted waypoint has no destination')
  return { destination: readGateway(destination), weight }
}
