/** VirtualServices: hosts and what applies as a whole; the routes are read next door. */
import type { ObjectMeta, YamlObject, YamlReader } from '@ambient/policy'
import { checkHosts } from './check-routes.ts'
import type { ReadContext, ReadScope } from './context.ts'
import { readHost } from './hostnames.ts'
import { readHttpRoutes } from './read-vs-http.ts'
import { readDestinations, readGateways } from './read-vs-parts.ts'
import { readTexts, openConfiguration } from './read-traffic.ts'
import { PORT_RANGE } from './read-values.ts'
import type {
  VirtualServiceResource,
  VirtualServiceTcpMatch,
  VirtualServiceTcpRoute,
} from './virtual-service-types.ts'

const SPEC_FIELDS = ['hosts', 'gateways', 'http', 'tls', 'tcp', 'exportTo'] as const
const TCP_MATCH_FIELDS = [
  'destinationSubnets',
  'port',
  'sourceSubnet',
  'sourceLabels',
  'gateways',
  'sourceNamespace',
] as const
const MESH = 'mesh'

export function readVirtualService(
  root: YamlReader,
  context: ReadContext,
): VirtualServiceResource | undefined {
  const opened = openConfiguration(root, SPEC_FIELDS)
  if (opened === undefined) return undefined
  const { spec, metadata, source, written } = opened
  const scope = { namespace: metadata.namespace, context }
  const hosts = readHosts(spec, metadata, context)
  const gateways = readGateways(spec.get('gateways')) ?? [MESH]
  if (!gateways.includes(MESH))
    spec
      .get('gateways')
      ?.problem('does not apply to mesh: there are no Istio gateways here, so nothing uses it', 'warning')
  spec
    .get('tls')
    ?.problem('TLS routes are not supported: what they match goes to the service itself', 'warning')
  const http = spec.get('http') === undefined ? [] : readHttpRoutes(spec.get('http'), scope)
  const tcpReader = spec.get('tcp')
  const tcp = tcpReader?.list(item => readTcpRoute(item, scope)) ?? []
  if (tcpReader?.kind === 'list' && tcpReader.list(() => true).length === 0)
    tcpReader.problem('expected at least one route, found none')
  if (!spec.has('http') && !spec.has('tcp') && !spec.has('tls'))
    spec.reader.problem('expected http, tcp or both')
  return {
    kind: 'VirtualService',
    metadata,
    source,
    written,
    spec: { hosts, gateways, exportTo: readTexts(spec.get('exportTo')), http, tcp },
  }
}

function readHosts(spec: YamlObject, metadata: ObjectMeta, context: ReadContext): readonly string[] {
  const reader = spec.get('hosts')
  if (reader === undefined) {
    spec.reader.problem(
      'a VirtualService without hosts is only for others to delegate to, which is not supported here',
    )
    return []
  }
  const readers: YamlReader[] = []
  const hosts = reader.list(item => {
    readers.push(item)
    return readHost(item, true)
  })
  if (reader.kind === 'list' && readers.length === 0) reader.problem('expected at least one host, found none')
  if (readers.length === hosts.length) checkHosts(readers, hosts, metadata, context)
  return hosts
}

function readTcpRoute(reader: YamlReader, scope: ReadScope): VirtualServiceTcpRoute | undefined {
  const object = reader.object(['match', 'route'])
  if (object === undefined) return undefined
  const match = object.get('match')?.list(readTcpMatch) ?? []
  const route = object.required('route')
  const destinations = route === undefined ? [] : readDestinations(route, scope, false)
  return { source: reader.position, match, destinations }
}

function readTcpMatch(reader: YamlReader): VirtualServiceTcpMatch | undefined {
  const object = reader.object(TCP_MATCH_FIELDS)
  if (object === undefined) return undefined
  const port = object.get('port')?.integer(PORT_RANGE)
  for (const field of ['sourceSubnet', 'sourceLabels', 'destinationSubnets'] as const)
    object.get(field)?.problem('is not looked at by a waypoint', 'warning')
  const sourceLabels = object.get('sourceLabels')?.strings()
  const sourceNamespace = object.get('sourceNamespace')?.text()
  const gateways = readGateways(object.get('gateways'))
  return {
    ...(port !== undefined && { port }),
    destinationSubnets: readTexts(object.get('destinationSubnets')),
    ...(sourceLabels !== undefined && { sourceLabels }),
    ...(sourceNamespace !== undefined && { sourceNamespace }),
    ...(gateways !== undefined && { gateways }),
  }
}
