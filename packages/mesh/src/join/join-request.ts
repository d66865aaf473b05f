/** A request for a place in the mesh, read from JSON and judged by Kubernetes' rules for names. */
import type { JoinRequest } from '../control/types.ts'
import { MeshError } from '../errors.ts'

const DNS_LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/
const DNS_NAME = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/
const FIELDS = ['namespace', 'serviceAccount', 'name', 'ports', 'labels']

/** @throws MeshError `AMBIENT_E_MESH_OPTIONS` */
export function readJoinRequest(text: string): JoinRequest {
  const value: unknown = parse(text)
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw wrong('a join request is a JSON object')
  const unknown = Object.keys(value).find(key => !FIELDS.includes(key))
  if (unknown !== undefined) throw wrong(`unknown field ${unknown}`)
  const of = (key: string): unknown => Reflect.get(value, key)
  return checkJoinRequest({
    namespace: String(of('namespace') ?? ''),
    serviceAccount: String(of('serviceAccount') ?? ''),
    ...(of('name') === undefined ? {} : { name: String(of('name')) }),
    ...(Array.isArray(of('ports')) ? { ports: [of('ports')].flat().map(Number) } : {}),
    ...(of('labels') === undefined ? {} : { labels: textValues(of('labels')) }),
  })
}

/** @throws MeshError `AMBIENT_E_MESH_OPTIONS` */
export function checkJoinRequest(request: JoinRequest): JoinRequest {
  const { namespace, serviceAccount, name, ports = [] } = request
  if (!DNS_LABEL.test(namespace)) throw wrong(`namespace ${JSON.stringify(namespace)} is not a DNS label`)
  if (!DNS_NAME.test(serviceAccount))
    throw wrong(`service account ${JSON.stringify(serviceAccount)} is not a DNS name`)
  if (name !== undefined && !DNS_NAME.test(name))
    throw wrong(`name ${JSON.stringify(name)} is not a DNS name`)
  const port = ports.find(number => !Number.isInteger(number) || number < 1 || number > 65_535)
  if (port !== undefined) throw wrong(`${port} is no port`)
  return request
}

function textValues(value: unknown): Record<string, string> {
  if (typeof value !== 'object' || value === null) throw wrong('labels are an object')
  return Object.fromEntries(Object.entries(value).map(([key, text]) => [key, String(text)]))
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new MeshError('AMBIENT_E_MESH_OPTIONS', 'a join request is JSON', { cause, layer: 'config' })
  }
}

function wrong(message: string): MeshError {
  return new MeshError('AMBIENT_E_MESH_OPTIONS', message, { layer: 'config' })
}
