/** Services. */
import { readMetadata, type YamlObject, type YamlReader } from '@ambient/policy'
import { canonicalIp } from '@ambient/core'
import { matchesLabels, type ReadContext, warnWhenNothingSelected } from './context.ts'
import { objectFields, serviceSpecFields } from './fields.ts'
import { readServicePort } from './read-ports.ts'
import type { ServicePort, ServiceResource } from './types.ts'

const TYPES = ['ClusterIP', 'NodePort', 'LoadBalancer', 'ExternalName'] as const
const DISTRIBUTIONS = ['PreferClose', 'PreferSameZone', 'PreferSameNode'] as const
const FAMILIES = ['IPv4', 'IPv6'] as const
const HEADLESS = 'None'

export function readService(root: YamlReader, context: ReadContext): ServiceResource | undefined {
  const object = root.object(objectFields)
  const metadata = object && readMetadata(object)
  const spec = object?.required('spec')?.object(serviceSpecFields)
  if (metadata === undefined || spec === undefined) return undefined
  const type = spec.get('type')?.oneOf(TYPES) ?? 'ClusterIP'
  const { clusterIps, headless } = readAddresses(spec)
  const selector = spec.get('selector')?.strings()
  const distribution = spec.get('trafficDistribution')?.oneOf(DISTRIBUTIONS)
  const ports = readPorts(spec, type !== 'ExternalName' && !headless, metadata.namespace, selector, context)
  checkSelector(spec, metadata.namespace, selector, context)
  return {
    kind: 'Service',
    metadata,
    source: root.position,
    spec: {
      type,
      headless,
      clusterIps,
      ...(selector !== undefined && { selector }),
      ports,
      publishNotReadyAddresses: spec.get('publishNotReadyAddresses')?.boolean() ?? false,
      internalTrafficPolicy: spec.get('internalTrafficPolicy')?.oneOf(['Cluster', 'Local']) ?? 'Cluster',
      ...(distribution !== undefined && { trafficDistribution: distribution }),
      ipFamilies: spec.get('ipFamilies')?.list(item => item.oneOf(FAMILIES)) ?? [],
    },
  }
}

function readAddresses(spec: YamlObject): { clusterIps: readonly string[]; headless: boolean } {
  const readers: YamlReader[] = []
  spec.get('clusterIPs')?.list(item => void readers.push(item))
  const single = spec.get('clusterIP')
  if (readers.length === 0 && single !== undefined) readers.push(single)
  let headless = false
  const clusterIps = readers.flatMap(reader => {
    const text = reader.string()
    if (text === HEADLESS) headless = true
    if (text === undefined || text === '' || text === HEADLESS) return []
    const ip = canonicalIp(text)
    if (ip === undefined) reader.problem(`expected an IP address or None, found ${JSON.stringify(text)}`)
    return ip ?? []
  })
  return { clusterIps, headless }
}

function readPorts(
  spec: YamlObject,
  needed: boolean,
  namespace: string,
  selector: Readonly<Record<string, string>> | undefined,
  context: ReadContext,
): readonly ServicePort[] {
  const reader = needed ? spec.required('ports') : spec.get('ports')
  const ports =
    reader?.list(item => {
      const port = readServicePort(item)
      if (typeof port?.targetPort === 'string' && selector !== undefined)
        checkTarget(item, port.targetPort, namespace, selector, context)
      return port
    }) ?? []
  if (reader !== undefined) checkPorts(reader, ports, needed)
  return ports
}

function checkPorts(reader: YamlReader, ports: readonly ServicePort[], needed: boolean): void {
  if (reader.kind !== 'list') return
  const readers: YamlReader[] = []
  reader.list(item => void readers.push(item))
  if (needed && readers.length === 0) reader.problem('expected at least one port, found none')
  // A port that could not be read was reported already, and the others no longer stand at their places.
  if (readers.length !== ports.length) return
  for (const [index, port] of ports.entries()) {
    const earlier = ports.slice(0, index)
    if (port.name === '' && ports.length > 1)
      readers[index]?.problem('a service with several ports needs a name for each')
    else if (earlier.some(({ name }) => name === port.name))
      readers[index]?.problem(`two ports have the name ${JSON.stringify(port.name)}`)
    else if (earlier.some(other => other.port === port.port && other.protocol === port.protocol))
      readers[index]?.problem(`the port ${port.port}/${port.protocol} is there twice`)
  }
}

/** istiod leaves the port out for a pod without the name; when no pod has it, nothing can ever answer. */
function checkTarget(
  item: YamlReader,
  target: string,
  namespace: string,
  selector: Readonly<Record<string, string>>,
  context: ReadContext,
): void {
  context.check(({ pods }) => {
    if (pods === undefined) return
    const selected = pods.filter(pod => pod.namespace === namespace && matchesLabels(selector, pod.labels))
    if (selected.length === 0 || selected.some(pod => pod.portNames.has(target))) return
    const names = [...new Set(selected.flatMap(pod => [...pod.portNames]))].sort()
    item
      .object()
      ?.get('targetPort')
      ?.problem(
        `refers to the container port ${JSON.stringify(target)}, which no selected pod has (${names.join(', ') || 'no port has a name'})`,
      )
  })
}

function checkSelector(
  spec: YamlObject,
  namespace: string,
  selector: Readonly<Record<string, string>> | undefined,
  context: ReadContext,
): void {
  const reader = spec.get('selector')
  if (reader !== undefined && selector !== undefined && Object.keys(selector).length > 0)
    warnWhenNothingSelected(context, reader, namespace, selector)
}
