/** HTTP routes of a VirtualService: Istio's rules of what goes together, each mistake at its place. */
import type { YamlObject, YamlReader } from '@ambient/policy'
import type { ReadScope } from './context.ts'
import { readAction, readMirrors, readRewrite } from './read-vs-action.ts'
import { readCorsPolicy, readFault, readRetries } from './read-vs-resilience.ts'
import { readGateways } from './read-vs-parts.ts'
import { readHeaderMatches, readHeaderOperations, readQueryMatches, readValueMatch } from './read-traffic.ts'
import { PORT_RANGE, readDurationMs, shown } from './read-values.ts'
import type { ValueMatch } from './traffic-types.ts'
import type { VirtualServiceHttpRoute, VirtualServiceMatch } from './virtual-service-types.ts'

const ROUTE_FIELDS = [
  'name',
  'match',
  'route',
  'redirect',
  'directResponse',
  'delegate',
  'rewrite',
  'timeout',
  'retries',
  'fault',
  'mirror',
  'mirrors',
  'mirrorPercent',
  'mirrorPercentage',
  'corsPolicy',
  'headers',
] as const
const MATCH_FIELDS = [
  'name',
  'uri',
  'scheme',
  'method',
  'authority',
  'headers',
  'port',
  'sourceLabels',
  'gateways',
  'queryParams',
  'ignoreUriCase',
  'withoutHeaders',
  'sourceNamespace',
  'statPrefix',
] as const

export function readHttpRoutes(
  reader: YamlReader | undefined,
  scope: ReadScope,
): readonly VirtualServiceHttpRoute[] {
  const catchAll: { name: string }[] = []
  const routes = reader?.list(item => {
    if (catchAll.length > 0)
      item.problem(`is never reached: ${catchAll[0]?.name} before it matches everything`, 'warning')
    const route = readHttpRoute(item, scope)
    if (route !== undefined && isCatchAll(route)) catchAll.push({ name: item.path })
    return route
  })
  if (reader?.kind === 'list' && reader.list(() => true).length === 0)
    reader.problem('expected at least one route, found none')
  return routes ?? []
}

function readHttpRoute(reader: YamlReader, scope: ReadScope): VirtualServiceHttpRoute | undefined {
  const route = reader.object(ROUTE_FIELDS)
  if (route === undefined) return undefined
  const match = route.get('match')?.list(readMatch) ?? []
  const action = readAction(route, scope)
  const rewrite = readRewrite(route.get('rewrite'))
  const timeoutMs = readDurationMs(route.get('timeout'), { minMs: 0 })
  const retries = readRetries(route.get('retries'))
  const fault = readFault(route.get('fault'))
  const cors = readCorsPolicy(route.get('corsPolicy'))
  const mirrors = readMirrors(route, scope)
  const headers = readHeaderOperations(route.get('headers'))
  checkRewrite(route, match)
  if (action === undefined) return undefined
  return {
    name: route.get('name')?.text() ?? '',
    source: reader.position,
    match,
    action,
    ...(rewrite !== undefined && { rewrite }),
    ...(timeoutMs !== undefined && { timeoutMs }),
    ...(retries !== undefined && { retries }),
    ...(fault !== undefined && { fault }),
    mirrors,
    headers,
    ...(cors !== undefined && { cors }),
  }
}

function readMatch(reader: YamlReader): VirtualServiceMatch | undefined {
  const object = reader.object(MATCH_FIELDS)
  if (object === undefined) return undefined
  const value = (field: 'scheme' | 'method' | 'authority') => {
    const written = object.get(field)
    const match = written && readValueMatch(written)
    return match && { [field]: match }
  }
  const port = object.get('port')?.integer(PORT_RANGE)
  object.get('statPrefix')?.problem('is not acted upon: there are no statistics per match', 'warning')
  const uri = readPath(object.get('uri'))
  const gateways = readGateways(object.get('gateways'))
  if (gateways !== undefined && !gateways.includes('mesh'))
    object.get('gateways')?.problem('does not apply to mesh: this match is left out', 'warning')
  return {
    name: object.get('name')?.text() ?? '',
    ...(uri !== undefined && { uri }),
    ignoreUriCase: object.get('ignoreUriCase')?.boolean() ?? false,
    ...value('scheme'),
    ...value('method'),
    ...value('authority'),
    headers: readHeaderMatches(object.get('headers')),
    withoutHeaders: readHeaderMatches(object.get('withoutHeaders')),
    queryParams: readQueryMatches(object.get('queryParams')),
    ...(port !== undefined && { port }),
    ...readSource(object),
    ...(gateways !== undefined && { gateways }),
  }
}

/** Every path begins with a slash, but for that of `OPTIONS *`. */
function readPath(reader: YamlReader | undefined): ValueMatch | undefined {
  const match = reader && readValueMatch(reader)
  if (reader === undefined || match === undefined || match.kind === 'presence') return match
  const { kind, value } = match
  if (kind === 'regex' || value.startsWith('/') || value === (kind === 'exact' ? '*' : '')) return match
  reader
    .object()
    ?.get(kind)
    ?.problem(`every path begins with /, found ${shown(value)}: this never matches`, 'warning')
  return match
}

/** A waypoint knows neither the labels of its callers nor, as upstream, anybody's namespace but its own. */
function readSource(object: YamlObject): Pick<VirtualServiceMatch, 'sourceLabels' | 'sourceNamespace'> {
  const sourceLabels = object.get('sourceLabels')?.strings()
  if (sourceLabels !== undefined)
    object.get('sourceLabels')?.problem('is not known to a waypoint: this match is left out', 'warning')
  const sourceNamespace = object.get('sourceNamespace')?.text()
  if (sourceNamespace !== undefined)
    object
      .get('sourceNamespace')
      ?.problem('is compared with the namespace of the waypoint, not of the caller', 'warning')
  return {
    ...(sourceLabels !== undefined && { sourceLabels }),
    ...(sourceNamespace !== undefined && { sourceNamespace }),
  }
}

function isCatchAll({ match }: VirtualServiceHttpRoute): boolean {
  return match.length === 0 || match.some(isAnything)
}

function isAnything(match: VirtualServiceMatch): boolean {
  const { uri, scheme, method, authority, headers, withoutHeaders, queryParams } = match
  const { port, sourceLabels, sourceNamespace, gateways } = match
  const rest = [scheme, method, authority, port, sourceLabels, sourceNamespace, gateways]
  const lists = [headers, withoutHeaders, queryParams]
  return (
    (uri === undefined || (uri.kind === 'prefix' && uri.value === '/')) &&
    rest.every(value => value === undefined) &&
    lists.every(({ length }) => length === 0)
  )
}

/** Envoy cannot replace the prefix of what was matched by an expression. */
function checkRewrite(route: YamlObject, match: readonly VirtualServiceMatch[]): void {
  const uri = route.get('rewrite')?.kind === 'object' ? route.get('rewrite')?.object()?.get('uri') : undefined
  if (uri !== undefined && match.some(({ uri: matched }) => matched?.kind === 'regex'))
    uri.problem('has no prefix to replace where the path is matched by a regex: use uriRegexRewrite')
}
