/** What workloads, services and policies of a local file share: addresses, gateways, ports, enums by name. */
import {
  canonicalIp,
  type GatewayAddress,
  messageOf,
  type NetworkAddress,
  parseCidr,
  type PortMap,
} from '@ambient/core'
import type { YamlObject, YamlReader } from '@ambient/policy'

const PORT_RANGE = { min: 0, max: 65535 }

/** The text of an optional field. */
export function textOf(object: YamlObject, field: string, fallback = ''): string {
  return object.get(field)?.string() ?? fallback
}

export function readIp(reader: YamlReader): string | undefined {
  const text = reader.string()
  const ip = text === undefined ? undefined : canonicalIp(text)
  if (text !== undefined && ip === undefined)
    reader.problem(`expected an IP address, found ${JSON.stringify(text)}`)
  return ip
}

/** `NETWORK/IP`; the network may be empty: `/10.0.0.1`. */
export function readNetworkAddress(reader: YamlReader): NetworkAddress | undefined {
  const text = reader.string()
  const address = text === undefined ? undefined : parseNetworkAddress(text)
  if (text !== undefined && address === undefined)
    reader.problem(`expected NETWORK/IP such as "/10.0.0.1", found ${JSON.stringify(text)}`)
  return address
}

export function readBlock(reader: YamlReader): string | undefined {
  const text = reader.string()
  if (text === undefined) return undefined
  try {
    parseCidr(text)
    return text
  } catch (error) {
    reader.problem(messageOf(error))
    return undefined
  }
}

/** Read as `network/IP` first, as `namespace/hostname` otherwise. */
export function readGateway(reader: YamlReader): GatewayAddress | undefined {
  const object = reader.object(['destination', 'hboneMtlsPort'])
  const destination = object?.required('destination')
  const text = destination?.text()
  const hboneMtlsPort = object?.required('hboneMtlsPort')?.integer(PORT_RANGE)
  if (text === undefined || hboneMtlsPort === undefined) return undefined
  const address = parseNetworkAddress(text)
  if (address !== undefined) return { destination: { kind: 'address', ...address }, hboneMtlsPort }
  const slash = text.indexOf('/')
  if (slash > 0 && slash < text.length - 1) {
    const [namespace, hostname] = [text.slice(0, slash), text.slice(slash + 1)]
    return { destination: { kind: 'hostname', namespace, hostname }, hboneMtlsPort }
  }
  destination?.problem(`expected NETWORK/IP or NAMESPACE/HOSTNAME, found ${JSON.stringify(text)}`)
  return undefined
}

/** Service port to target port. */
export function readPorts(reader: YamlReader | undefined): PortMap {
  const ports = new Map<number, number>()
  for (const [key, target] of reader?.map((value, port) => readPort(value, port)) ?? [])
    ports.set(Number(key), target)
  return ports
}

function readPort(value: YamlReader, port: string): number | undefined {
  if (!/^(0|[1-9][0-9]{0,4})$/.test(port) || Number(port) > PORT_RANGE.max) {
    value.problem(`expected a port as key, found ${JSON.stringify(port)}`)
    return undefined
  }
  return value.integer(PORT_RANGE)
}

function parseNetworkAddress(text: string): NetworkAddress | undefined {
  const slash = text.indexOf('/')
  const ip = slash < 0 ? undefined : canonicalIp(text.slice(slash + 1))
  return ip === undefined ? undefined : { network: text.slice(0, slash), ip }
}
