/** Ports of services, containers and probes. */
import type { YamlReader } from '@ambient/policy'
import type { ServicePort, TransportProtocol } from './types.ts'
import type { ContainerPort } from './types.ts'
import { containerPortFields, servicePortFields } from './fields.ts'

const PROTOCOLS = ['TCP', 'UDP', 'SCTP'] as const
const PORT_RANGE = { min: 1, max: 65535 }
/** What Kubernetes calls IANA_SVC_NAME. */
const PORT_NAME = /^(?!.*--)(?=.*[a-z])[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?$/

export function readServicePort(reader: YamlReader): ServicePort | undefined {
  const object = reader.object(servicePortFields)
  if (object === undefined) return undefined
  const name = object.get('name')?.text() ?? ''
  const port = object.required('port')?.integer(PORT_RANGE)
  const target = object.get('targetPort')
  const targetPort = target === undefined ? port : readPortReference(target)
  const protocol = readProtocol(object.get('protocol'))
  const appProtocol = object.get('appProtocol')?.text()
  if (port === undefined || targetPort === undefined) return undefined
  return { name, port, targetPort, protocol, ...(appProtocol !== undefined && { appProtocol }) }
}

export function readContainerPort(reader: YamlReader): ContainerPort | undefined {
  const object = reader.object(containerPortFields)
  if (object === undefined) return undefined
  const port = object.required('containerPort')?.integer(PORT_RANGE)
  const written = object.get('name')
  const name = written === undefined ? undefined : readPortName(written)
  const protocol = readProtocol(object.get('protocol'))
  return port === undefined ? undefined : { port, protocol, ...(name !== undefined && { name }) }
}

/** A number, or the name of a container port. */
export function readPortReference(reader: YamlReader): number | string | undefined {
  return reader.kind === 'string' ? readPortName(reader) : reader.integer(PORT_RANGE)
}

function readPortName(reader: YamlReader): string | undefined {
  const name = reader.text()
  if (name === undefined || PORT_NAME.test(name)) return name
  reader.problem(
    `expected a port name of at most 15 lower case letters, digits and dashes, found ${JSON.stringify(name)}`,
  )
  return undefined
}

function readProtocol(reader: YamlReader | undefined): TransportProtocol {
  return reader?.oneOf(PROTOCOLS) ?? 'TCP'
}
