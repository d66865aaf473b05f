/** One container: the program that a workload is. */
import type { YamlReader } from '@ambient/policy'
import {
  containerFields,
  envFields,
  envSourceFields,
  httpGetFields,
  probeFields,
  tcpSocketFields,
} from './fields.ts'
import { readContainerPort, readPortReference } from './read-ports.ts'
import type { Container, ContainerPort, EnvironmentVariable, PodField, ReadinessProbe } from './types.ts'

const POD_FIELDS: readonly PodField[] = [
  'metadata.name',
  'metadata.namespace',
  'metadata.uid',
  'spec.nodeName',
  'spec.serviceAccountName',
  'status.podIP',
  'status.podIPs',
  'status.hostIP',
  'status.hostIPs',
]
const METADATA_ENTRY = /^metadata\.(label|annotation)s\['([^']+)'\]$/
const ENV_NAME = /^[^=\s][^=]*$/
const SECONDS = { min: 0, max: 86_400 }
const COUNT = { min: 1, max: 10_000 }

export function readContainer(reader: YamlReader): Container | undefined {
  const object = reader.object(containerFields)
  if (object === undefined) return undefined
  const name = object.required('name')?.text()
  const strings = (field: 'command' | 'args'): readonly string[] =>
    object.get(field)?.list(item => item.string()) ?? []
  const env = object.get('env')?.list(readVariable) ?? []
  const ports = object.get('ports')?.list(readContainerPort) ?? []
  checkPortNames(reader, ports)
  object.get('envFrom')?.problem('is not provided here: its variables are not set', 'warning')
  const workingDir = object.get('workingDir')?.text()
  const probe = object.get('readinessProbe')
  const readinessProbe = probe === undefined ? undefined : readProbe(probe, ports)
  if (name === undefined) return undefined
  return {
    name,
    image: object.get('image')?.string() ?? '',
    command: strings('command'),
    args: strings('args'),
    env,
    ports,
    ...(workingDir !== undefined && { workingDir }),
    ...(readinessProbe !== undefined && { readinessProbe }),
  }
}

function checkPortNames(reader: YamlReader, ports: readonly ContainerPort[]): void {
  const names = ports.flatMap(({ name }) => name ?? [])
  const twice = names.find((name, index) => names.indexOf(name) !== index)
  if (twice !== undefined) reader.problem(`two ports have the name ${JSON.stringify(twice)}`)
}

function readVariable(reader: YamlReader): EnvironmentVariable | undefined {
  const object = reader.object(envFields)
  const nameReader = object?.required('name')
  const name = nameReader?.text()
  if (object === undefined || name === undefined) return undefined
  if (!ENV_NAME.test(name)) {
    nameReader?.problem(`expected a variable name without "=", found ${JSON.stringify(name)}`)
    return undefined
  }
  const source = object.get('valueFrom')
  if (source === undefined) return { kind: 'value', name, value: object.get('value')?.string() ?? '' }
  if (object.has('value')) object.problemAt('value', 'expected only one of value and valueFrom')
  return readSource(source, name)
}

function readSource(reader: YamlReader, name: string): EnvironmentVariable | undefined {
  const object = reader.object(envSourceFields)
  const reference = object?.get('fieldRef')
  if (object === undefined) return undefined
  if (reference === undefined) {
    if (object.keys.length === 0) reader.problem('expected fieldRef, found nothing')
    else reader.problem(`${object.keys.join(', ')} is not provided here: the variable is not set`, 'warning')
    return undefined
  }
  const pathReader = reference.object(['apiVersion', 'fieldPath'])?.required('fieldPath')
  const path = pathReader?.text()
  if (path === undefined) return undefined
  const entry = METADATA_ENTRY.exec(path)
  if (entry?.[2] !== undefined)
    return { kind: entry[1] === 'label' ? 'label' : 'annotation', name, key: entry[2] }
  const field = POD_FIELDS.find(known => known === path)
  if (field !== undefined) return { kind: 'field', name, field }
  pathReader?.problem(
    `expected one of ${POD_FIELDS.join(', ')}, metadata.labels['KEY'], metadata.annotations['KEY'], found ${JSON.stringify(path)}`,
  )
  return undefined
}

function readProbe(reader: YamlReader, ports: readonly ContainerPort[]): ReadinessProbe | undefined {
  const object = reader.object(probeFields)
  if (object === undefined) return undefined
  const number = (
    field: (typeof probeFields)[number],
    range: { min: number; max: number },
    fallback: number,
  ) => object.get(field)?.integer(range) ?? fallback
  const check = readCheck(reader, ports)
  if (check === undefined) return undefined
  return {
    check,
    initialDelaySeconds: number('initialDelaySeconds', SECONDS, 0),
    periodSeconds: number('periodSeconds', { ...SECONDS, min: 1 }, 10),
    timeoutSeconds: number('timeoutSeconds', { ...SECONDS, min: 1 }, 1),
    failureThreshold: number('failureThreshold', COUNT, 3),
    successThreshold: number('successThreshold', COUNT, 1),
  }
}

function readCheck(reader: YamlReader, ports: readonly ContainerPort[]): ReadinessProbe['check'] | undefined {
  const object = reader.object()
  const kinds = (['httpGet', 'tcpSocket', 'exec', 'grpc'] as const).filter(kind => object?.has(kind) === true)
  if (kinds.length !== 1) {
    reader.problem(`expected one of httpGet, tcpSocket, exec, grpc, found ${kinds.join(' and ') || 'none'}`)
    return undefined
  }
  const http = object?.get('httpGet')?.object(httpGetFields)
  const tcp = object?.get('tcpSocket')?.object(tcpSocketFields)
  const written = (http ?? tcp)?.required('port')
  if (http === undefined && tcp === undefined) {
    if (object?.has('exec') === true || object?.has('grpc') === true)
      reader.problem(
        `${kinds[0]} probes are not run here: the container counts as ready when it runs`,
        'warning',
      )
    return { kind: 'none' }
  }
  const port = written === undefined ? undefined : readPortReference(written)
  if (typeof port === 'string' && !ports.some(({ name }) => name === port))
    written?.problem(`refers to the port ${JSON.stringify(port)}, which the container does not have`)
  if (port === undefined) return undefined
  return http === undefined
    ? { kind: 'tcp', port }
    : { kind: 'http', port, path: http.get('path')?.text() ?? '/' }
}
