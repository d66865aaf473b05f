/** DestinationRules: subsets, load balancing and connection pools; the rest is taken and said to be without effect. */
import type { YamlObject, YamlReader } from '@ambient/policy'
import { checkRuleHost, checkSubsetLabels } from './check-routes.ts'
import type { ReadContext } from './context.ts'
import type {
  ConnectionPool,
  DestinationRuleResource,
  SimpleLoadBalancer,
  Subset,
  TrafficPolicy,
  TrafficPolicyGroups,
} from './destination-rule-types.ts'
import { readHost } from './hostnames.ts'
import { openConfiguration, readTexts } from './read-traffic.ts'
import { PORT_RANGE, readDurationMs, shown } from './read-values.ts'

const SPEC_FIELDS = ['host', 'trafficPolicy', 'subsets', 'exportTo', 'workloadSelector'] as const
const GROUP_FIELDS = ['loadBalancer', 'connectionPool', 'outlierDetection', 'tls'] as const
const POLICY_FIELDS = [
  ...GROUP_FIELDS,
  'portLevelSettings',
  'tunnel',
  'proxyProtocol',
  'retryBudget',
] as const
/** Taken as Istio's API has them, and not acted upon. */
const WITHOUT_EFFECT = ['outlierDetection', 'tls', 'tunnel', 'proxyProtocol', 'retryBudget'] as const
const BALANCER_FIELDS = [
  'simple',
  'consistentHash',
  'localityLbSetting',
  'warmupDurationSecs',
  'warmup',
  'zoneAwareLbSetting',
] as const
const SIMPLE = ['UNSPECIFIED', 'LEAST_CONN', 'RANDOM', 'PASSTHROUGH', 'ROUND_ROBIN', 'LEAST_REQUEST'] as const
const TCP_FIELDS = [
  'maxConnections',
  'connectTimeout',
  'tcpKeepalive',
  'maxConnectionDuration',
  'idleTimeout',
] as const
const HTTP_FIELDS = [
  'http1MaxPendingRequests',
  'http2MaxRequests',
  'maxRequestsPerConnection',
  'maxRetries',
  'idleTimeout',
  'h2UpgradePolicy',
  'useClientProtocol',
  'maxConcurrentStreams',
  'http2KeepAlive',
] as const
const COUNT = { min: 0, max: 2 ** 31 - 1 }
const NAME = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/

export function readDestinationRule(
  root: YamlReader,
  context: ReadContext,
): DestinationRuleResource | undefined {
  const opened = openConfiguration(root, SPEC_FIELDS)
  if (opened === undefined) return undefined
  const { spec, metadata, source, written } = opened
  const scope = { namespace: metadata.namespace, context }
  const hostReader = spec.required('host')
  const host = readHost(hostReader, true)
  const trafficPolicy = readPolicy(spec.get('trafficPolicy'))
  const names = new Set<string>()
  const subsets = spec.get('subsets')?.list(item => readSubset(item, names)) ?? []
  spec.get('workloadSelector')?.problem('is not acted upon: the rule applies to every waypoint', 'warning')
  if (host === undefined || hostReader === undefined) return undefined
  checkRuleHost(hostReader, host, scope)
  spec.get('subsets')?.list((item, index) => {
    const subset = subsets[index]
    if (subset !== undefined && subsets.length > index) checkSubsetLabels(item, subset, host, scope)
    return undefined
  })
  return {
    kind: 'DestinationRule',
    metadata,
    source,
    written,
    spec: {
      host,
      exportTo: readTexts(spec.get('exportTo')),
      ...(trafficPolicy !== undefined && { trafficPolicy }),
      subsets,
    },
  }
}

function readSubset(reader: YamlReader, names: Set<string>): Subset | undefined {
  const object = reader.object(['name', 'labels', 'trafficPolicy'])
  const nameReader = object?.required('name')
  const name = nameReader?.text()
  const labels = object?.get('labels')?.strings() ?? {}
  const trafficPolicy = readPolicy(object?.get('trafficPolicy'))
  if (name === undefined) return undefined
  if (!NAME.test(name))
    nameReader?.problem(`expected lower case letters, digits and dashes, found ${shown(name)}`)
  if (names.has(name)) nameReader?.problem(`two subsets have the name ${shown(name)}`)
  names.add(name)
  return { name, source: reader.position, labels, ...(trafficPolicy !== undefined && { trafficPolicy }) }
}

function readPolicy(reader: YamlReader | undefined): TrafficPolicy | undefined {
  const object = reader?.object(POLICY_FIELDS)
  if (object === undefined) return undefined
  const ports = new Set<number>()
  const portLevelSettings = object.get('portLevelSettings')?.list(item => {
    const settings = item.object(['port', ...GROUP_FIELDS])
    const number = settings?.required('port')?.object(['number'])?.required('number')
    const port = number?.integer(PORT_RANGE)
    if (settings === undefined || port === undefined) return undefined
    if (ports.has(port)) number?.problem(`the port ${port} is there twice`)
    ports.add(port)
    return { port, ...readGroups(settings) }
  })
  return { ...readGroups(object), portLevelSettings: portLevelSettings ?? [] }
}

function readGroups(object: YamlObject): TrafficPolicyGroups {
  for (const field of WITHOUT_EFFECT) object.get(field)?.problem('is not acted upon', 'warning')
  const simple = readBalancer(object.get('loadBalancer'))
  const connectionPool = readPool(object.get('connectionPool'))
  return {
    ...(simple !== undefined && { loadBalancer: { simple } }),
    ...(connectionPool !== undefined && { connectionPool }),
  }
}

function readBalancer(reader: YamlReader | undefined): SimpleLoadBalancer | undefined {
  const object = reader?.object(BALANCER_FIELDS)
  if (object === undefined) return undefined
  for (const field of BALANCER_FIELDS)
    if (field !== 'simple')
      object.get(field)?.problem('is not acted upon: endpoints are chosen by least requests', 'warning')
  if (object.has('simple') && object.has('consistentHash'))
    object.get('consistentHash')?.problem('expected only one of simple and consistentHash')
  const simple = object.get('simple')?.oneOf(SIMPLE)
  if (simple === 'LEAST_CONN')
    object.get('simple')?.problem('LEAST_CONN is an older name: write LEAST_REQUEST', 'warning')
  return simple === 'LEAST_CONN' || simple === 'UNSPECIFIED' ? 'LEAST_REQUEST' : simple
}

function readPool(reader: YamlReader | undefined): ConnectionPool | undefined {
  const object = reader?.object(['tcp', 'http'])
  if (object === undefined) return undefined
  return { tcp: readTcpPool(object.get('tcp')), http: readHttpPool(object.get('http')) }
}

function readTcpPool(reader: YamlReader | undefined): ConnectionPool['tcp'] {
  const object = reader?.object(TCP_FIELDS)
  if (object === undefined) return {}
  object.get('tcpKeepalive')?.problem('is not acted upon', 'warning')
  const maxConnections = object.get('maxConnections')?.integer(COUNT)
  const connectTimeoutMs = readDurationMs(object.get('connectTimeout'), { minMs: 1 })
  const maxConnectionDurationMs = readDurationMs(object.get('maxConnectionDuration'), { minMs: 1 })
  const idleTimeoutMs = readDurationMs(object.get('idleTimeout'), { minMs: 0 })
  return {
    ...(maxConnections !== undefined && { maxConnections }),
    ...(connectTimeoutMs !== undefined && { connectTimeoutMs }),
    ...(maxConnectionDurationMs !== undefined && { maxConnectionDurationMs }),
    ...(idleTimeoutMs !== undefined && { idleTimeoutMs }),
  }
}

function readHttpPool(reader: YamlReader | undefined): ConnectionPool['http'] {
  const object = reader?.object(HTTP_FIELDS)
  if (object === undefined) return {}
  object.get('http2KeepAlive')?.problem('is not acted upon', 'warning')
  const counts = (
    [
      'http1MaxPendingRequests',
      'http2MaxRequests',
      'maxRequestsPerConnection',
      'maxRetries',
      'maxConcurrentStreams',
    ] as const
  ).flatMap(field => {
    const value = object.get(field)?.integer(COUNT)
    return value === undefined ? [] : [[field, value] as const]
  })
  const idleTimeoutMs = readDurationMs(object.get('idleTimeout'), { minMs: 0 })
  const h2UpgradePolicy = object.get('h2UpgradePolicy')?.oneOf(['DEFAULT', 'DO_NOT_UPGRADE', 'UPGRADE'])
  const useClientProtocol = object.get('useClientProtocol')?.boolean()
  return {
    ...Object.fromEntries(counts),
    ...(idleTimeoutMs !== undefined && { idleTimeoutMs }),
    ...(h2UpgradePolicy !== undefined && { h2UpgradePolicy }),
    ...(useClientProtocol !== undefined && { useClientProtocol }),
  }
}
