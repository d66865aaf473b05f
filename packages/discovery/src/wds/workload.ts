/** `istio.workload.Workload` to and from our own words. */
import { create } from '@bufbuild/protobuf'
import type { PortMap, Workload } from '@ambient/core'
import {
  ApplicationTunnelSchema,
  LocalitySchema,
  type Workload as WorkloadMessage,
  PortListSchema,
  WorkloadSchema,
} from '../gen/workload_pb.js'
import { wdsDefaults } from '../limits.ts'
import * as enums from './enums.ts'
import { readGateway, readIp, readPorts, reject, writeGateway, writeIp, writePorts } from './parts.ts'

/** @throws DiscoveryError `AMBIENT_E_RESOURCE` where ztunnel rejects the resource. */
export function readWorkload(message: WorkloadMessage): Workload {
  const { locality, applicationTunnel: tunnel } = message
  return {
    uid: message.uid,
    name: message.name,
    namespace: message.namespace,
    addresses: message.addresses.map(readIp),
    hostname: message.hostname,
    network: message.network,
    protocol: enums.readEnum(enums.tunnelProtocol, message.tunnelProtocol),
    trustDomain: message.trustDomain || wdsDefaults.trustDomain,
    serviceAccount: message.serviceAccount || wdsDefaults.serviceAccount,
    ...(message.waypoint && { waypoint: readGateway(message.waypoint) }),
    ...(message.networkGateway && { networkGateway: readGateway(message.networkGateway) }),
    node: message.node,
    canonicalName: message.canonicalName,
    canonicalRevision: message.canonicalRevision,
    workloadType: enums.workloadType.read(message.workloadType) ?? 'deployment',
    workloadName: message.workloadName,
    nativeTunnel: message.nativeTunnel,
    ...(tunnel && {
      applicationTunnel: {
        protocol: enums.readEnum(enums.applicationProtocol, tunnel.protocol),
        port: tunnel.port & 0xffff,
      },
    }),
    services: readServices(message),
    authorizationPolicies: message.authorizationPolicies,
    status: enums.readEnum(enums.workloadStatus, message.status),
    clusterId: message.clusterId || wdsDefaults.clusterId,
    locality: {
      region: locality?.region ?? '',
      zone: locality?.zone ?? '',
      subzone: locality?.subzone ?? '',
    },
    networkMode: enums.readEnum(enums.networkMode, message.networkMode),
    capacity: message.capacity ?? wdsDefaults.capacity,
  }
}

/** Writes as istiod does: defaults are absent, map entries sorted, so that equal workloads give equal bytes. */
export function writeWorkload(workload: Workload): WorkloadMessage {
  const { locality, applicationTunnel: tunnel } = workload
  const hasLocality = locality.region !== '' || locality.zone !== '' || locality.subzone !== ''
  return create(WorkloadSchema, {
    uid: workload.uid,
    name: workload.name,
    namespace: workload.namespace,
    addresses: workload.addresses.map(writeIp),
    hostname: workload.hostname,
    network: workload.network,
    tunnelProtocol: enums.tunnelProtocol.write(workload.protocol),
    trustDomain: workload.trustDomain === wdsDefaults.trustDomain ? '' : workload.trustDomain,
    serviceAccount: workload.serviceAccount,
    ...(workload.waypoint && { waypoint: writeGateway(workload.waypoint) }),
    ...(workload.networkGateway && { networkGateway: writeGateway(workload.networkGateway) }),
    node: workload.node,
    canonicalName: workload.canonicalName,
    canonicalRevision: workload.canonicalRevision,
    workloadType: enums.workloadType.write(workload.workloadType),
    workloadName: workload.workloadName,
    nativeTunnel: workload.nativeTunnel,
    ...(tunnel && {
      applicationTunnel: create(ApplicationTunnelSchema, {
        protocol: enums.applicationProtocol.write(tunnel.protocol),
        port: tunnel.port,
      }),
    }),
    services: writeServices(workload.services),
    authorizationPolicies: [...workload.authorizationPolicies],
    status: enums.workloadStatus.write(workload.status),
    clusterId: workload.clusterId,
    ...(hasLocality && { locality: create(LocalitySchema, { ...locality }) }),
    networkMode: enums.networkMode.write(workload.networkMode),
    ...(workload.capacity !== wdsDefaults.capacity && { capacity: workload.capacity }),
  })
}

function readServices(message: WorkloadMessage): ReadonlyMap<string, PortMap> {
  const services = new Map<string, PortMap>()
  for (const [key, list] of Object.entries(message.services)) {
    if (!key.includes('/')) throw reject(`service ${JSON.stringify(key)} is not namespace/hostname`)
    services.set(key, readPorts(list.ports))
  }
  return services
}

function writeServices(services: ReadonlyMap<string, PortMap>): WorkloadMessage['services'] {
  const entries = [...services].sort(([a], [b]) => (a < b ? -1 : 1))
  return Object.fromEntries(
    entries.map(([key, ports]) => [key, create(PortListSchema, { ports: writePorts(ports) })]),
  )
}
