/** The messages that workloads and services share: ports, addresses, gateways. */
import { create } from '@bufbuild/protobuf'
import {
  type AppProtocol,
  type GatewayAddress,
  ipFromBytes,
  ipToBytes,
  type NetworkAddress,
  type PortMap,
} from '@ambient/core'
import {
  type GatewayAddress as GatewayAddressMessage,
  GatewayAddressSchema,
  type NetworkAddress as NetworkAddressMessage,
  NetworkAddressSchema,
  type Port,
  PortSchema,
} from '../gen/workload_pb.js'
import { DiscoveryError } from '../errors.ts'

const PORT_MASK = 0xffff
/** In the order of the enum, from 1. */
const APP_PROTOCOLS: readonly AppProtocol[] = ['HTTP11', 'HTTP2', 'GRPC', 'TCP', 'TLS']

/** What WDS refuses, per resource. */
export function reject(reason: string): DiscoveryError {
  return new DiscoveryError('AMBIENT_E_RESOURCE', reason, { layer: 'discovery' })
}

/** Ports keep their low 16 bits, as in ztunnel. */
export function readPorts(ports: readonly Port[]): PortMap {
  return new Map(ports.map(port => [port.servicePort & PORT_MASK, port.targetPort & PORT_MASK]))
}

export function writePorts(
  ports: PortMap,
  appProtocols: ReadonlyMap<number, AppProtocol> = new Map(),
): Port[] {
  return [...ports]
    .sort(([a], [b]) => a - b)
    .map(([servicePort, targetPort]) => {
      const spoken = appProtocols.get(servicePort)
      const appProtocol = spoken === undefined ? 0 : APP_PROTOCOLS.indexOf(spoken) + 1
      return create(PortSchema, { servicePort, targetPort, appProtocol })
    })
}

/** Values that we do not know are as good as none. */
export function readAppProtocols(ports: readonly Port[]): ReadonlyMap<number, AppProtocol> {
  return new Map(
    ports.flatMap(({ servicePort, appProtocol }) => {
      const spoken = APP_PROTOCOLS[appProtocol - 1]
      return spoken === undefined ? [] : [[servicePort & PORT_MASK, spoken] as const]
    }),
  )
}

/** @throws DiscoveryError unless there are 4 or 16 bytes. */
export function readIp(bytes: Uint8Array): string {
  const ip = ipFromBytes(bytes)
  if (ip === undefined) throw reject(`an address has ${bytes.length} bytes, not 4 or 16`)
  return ip
}

/** @throws DiscoveryError when the text is no IP literal. */
export function writeIp(ip: string): Uint8Array {
  const bytes = ipToBytes(ip)
  if (bytes === undefined) throw reject(`${JSON.stringify(ip)} is not an IP address`)
  return bytes
}

export function readNetworkAddress(message: NetworkAddressMessage): NetworkAddress {
  return { network: message.network, ip: readIp(message.address) }
}

export function writeNetworkAddress(address: NetworkAddress): NetworkAddressMessage {
  return create(NetworkAddressSchema, { network: address.network, address: writeIp(address.ip) })
}

/** @throws DiscoveryError when the oneof is empty. */
export function readGateway(message: GatewayAddressMessage): GatewayAddress {
  const hboneMtlsPort = message.hboneMtlsPort & PORT_MASK
  const { destination } = message
  if (destination.case === 'address')
    return { destination: { kind: 'address', ...readNetworkAddress(destination.value) }, hboneMtlsPort }
  if (destination.case === 'hostname') {
    const { namespace, hostname } = destination.value
    return { destination: { kind: 'hostname', namespace, hostname }, hboneMtlsPort }
  }
  throw reject('a gateway address has no destination')
}

export function writeGateway(gateway: GatewayAddress): GatewayAddressMessage {
  const { destination, hboneMtlsPort } = gateway
  if (destination.kind === 'address')
    return create(GatewayAddressSchema, {
      destination: { case: 'address', value: writeNetworkAddress(destination) },
      hboneMtlsPort,
    })
  const { namespace, hostname } = destination
  return create(GatewayAddressSchema, {
    destination: { case: 'hostname', value: { namespace, hostname } },
    hboneMtlsPort,
  })
}
