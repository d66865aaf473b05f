/** HTTPRoutes of the Gateway API. */
import type { YamlObject, YamlReader } from '@ambient/policy'
import { checkParent } from './check-routes.ts'
import type { ReadContext, ReadScope } from './context.ts'
import { readBackend } from './read-backend.ts'
import { readFilters } from './read-http-filters.ts'
import type {
  HttpBackendRef,
  HttpRouteMatch,
  HttpRouteResource,
  HttpRouteRetry,
  HttpRouteRule,
  HttpValueMatch,
  ParentRef,
} from './http-route-types.ts'
import { readHost } from './hostnames.ts'
import { PORT_RANGE, readDurationMs, readHeaderName, readRegex, shown } from './read-values.ts'
import { openConfiguration } from './read-traffic.ts'
import { noModifier } from './traffic-types.ts'

const SPEC_FIELDS = ['parentRefs', 'hostnames', 'rules', 'useDefaultGateways'] as const
const RULE_FIELDS = [
  'name',
  'matches',
  'filters',
  'backendRefs',
  'timeouts',
  'retry',
  'sessionPersistence',
] as const
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH'] as const
const PATH_TYPES = ['Exact', 'PathPrefix', 'RegularExpression'] as const
const VALUE_TYPES = ['Exact', 'RegularExpression'] as const
const PARENTS: ReadonlyMap<string, ParentRef['kind']> = new Map([
  ['/Service', 'Service'],
  ['networking.istio.io/ServiceEntry', 'ServiceEntry'],
  ['gateway.networking.k8s.io/Gateway', 'Gateway'],
])
const GATEWAY_GROUP = 'gateway.networking.k8s.io'
/** The limits of the API itself. */
const MAX_RULES = 16
const MAX_MATCHES = 64
const MAX_ITEMS = 16

export function readHttpRoute(root: YamlReader, context: ReadContext): HttpRouteResource | undefined {
  const opened = openConfiguration(root, SPEC_FIELDS)
  if (opened === undefined) return undefined
  const { spec, metadata, source, written } = opened
  const scope = { namespace: metadata.namespace, context }
  const parents = spec.get('parentRefs')
  if (parents === undefined) spec.reader.problem('names no parentRefs: nothing takes this route', 'warning')
  const parentRefs = parents?.list(item => readParent(item, scope)) ?? []
  const hostnames = spec.get('hostnames')?.list(item => readHost(item, true)) ?? []
  if (hostnames.length > 0 && parentRefs.some(({ kind }) => kind === 'Service'))
    spec.get('hostnames')?.problem('has no effect for a route whose parent is a Service', 'warning')
  spec.get('useDefaultGateways')?.problem('is not acted upon', 'warning')
  const rules = spec.get('rules')
  checkLength(rules, MAX_RULES, 'rules')
  if (rules === undefined) spec.reader.problem('has no rules: every request is answered 500', 'warning')
  else if (rules.kind === 'list' && rules.list(() => true).length === 0)
    rules.problem('expected at least one rule, found none')
  return {
    kind: 'HTTPRoute',
    metadata,
    source,
    written,
    spec: { parentRefs, hostnames, rules: rules?.list(item => readRule(item, scope)) ?? [anything(root)] },
  }
}

/** What the API fills in for a route without rules. */
function anything(root: YamlReader): HttpRouteRule {
  return { source: root.position, matches: [ANY_PATH], filters: [], backendRefs: [] }
}

const ANY_PATH: HttpRouteMatch = {
  path: { type: 'PathPrefix', value: '/' },
  headers: [],
  queryParams: [],
}

function readParent(reader: YamlReader, scope: ReadScope): ParentRef | undefined {
  const object = reader.object(['group', 'kind', 'namespace', 'name', 'sectionName', 'port'])
  if (object === undefined) return undefined
  const name = object.required('name')?.text()
  const group = object.get('group')?.string() ?? GATEWAY_GROUP
  const kindName = object.get('kind')?.text() ?? 'Gateway'
  const normal = group === 'core' ? '' : group
  const kind = PARENTS.get(`${normal}/${kindName}`)
  const port = object.get('port')?.integer(PORT_RANGE)
  object.get('sectionName')?.problem('is not acted upon: name the port', 'warning')
  const namespace = object.get('namespace')?.text() ?? scope.namespace
  if (kind === undefined)
    reader.problem(
      `expected a Service (group ""), a ServiceEntry (networking.istio.io) or a Gateway (${GATEWAY_GROUP}), found ${shown(`${normal}/${kindName}`)}`,
    )
  if (kind === undefined || name === undefined) return undefined
  const parent = { group: normal, kind, name, namespace, ...(port !== undefined && { port }) }
  checkParent(reader, parent, scope)
  return parent
}

function readRule(reader: YamlReader, scope: ReadScope): HttpRouteRule | undefined {
  const rule = reader.object(RULE_FIELDS)
  if (rule === undefined) return undefined
  for (const field of ['matches', 'filters', 'backendRefs'] as const)
    checkLength(rule.get(field), field === 'matches' ? MAX_MATCHES : MAX_ITEMS, field)
  const name = rule.get('name')?.text()
  const written = rule.get('matches')?.list(readMatch) ?? []
  const matches = written.length === 0 ? [ANY_PATH] : written
  const filters = readFilters(rule.get('filters'), scope, 'rule')
  const backendRefs = rule.get('backendRefs')?.list(item => readHttpBackend(item, scope)) ?? []
  if (filters.some(({ type }) => type === 'RequestRedirect') && backendRefs.length > 0)
    rule.get('backendRefs')?.problem('a rule that redirects has no backends')
  const replacesPrefix = filters.some(
    filter => 'path' in filter && filter.path?.type === 'ReplacePrefixMatch',
  )
  if (replacesPrefix && matches.some(({ path }) => path.type !== 'PathPrefix'))
    rule.get('filters')?.problem('ReplacePrefixMatch needs every match of the rule to be a PathPrefix')
  rule.get('sessionPersistence')?.problem('is not acted upon', 'warning')
  checkWeights(rule, filters.length, backendRefs)
  const timeouts = rule.get('timeouts')?.object(['request', 'backendRequest'])
  const requestTimeoutMs = readDurationMs(timeouts?.get('request'), TIMEOUT)
  const backendRequestTimeoutMs = readDurationMs(timeouts?.get('backendRequest'), TIMEOUT)
  if ((requestTimeoutMs ?? 0) > 0 && (backendRequestTimeoutMs ?? 0) > (requestTimeoutMs ?? 0))
    timeouts?.get('backendRequest')?.problem('cannot be longer than the timeout of the whole request')
  const retry = readRetry(rule.get('retry'))
  return {
    ...(name !== undefined && { name }),
    source: reader.position,
    matches,
    filters,
    backendRefs,
    ...(requestTimeoutMs !== undefined && { requestTimeoutMs }),
    ...(backendRequestTimeoutMs !== undefined && { backendRequestTimeoutMs }),
    ...(retry !== undefined && { retry }),
  }
}

const TIMEOUT = { minMs: 0, gatewayApi: true } as const

function readMatch(reader: YamlReader): HttpRouteMatch | undefined {
  const object = reader.object(['path', 'headers', 'queryParams', 'method'])
  if (object === undefined) return undefined
  const method = object.get('method')?.oneOf(METHODS)
  const path = object.get('path')
  return {
    path: path === undefined ? ANY_PATH.path : (readPath(path) ?? ANY_PATH.path),
    headers: readNamed(object.get('headers'), readHeaderName),
    queryParams: readNamed(object.get('queryParams'), item => item.text()),
    ...(method !== undefined && { method }),
  }
}

function readPath(reader: YamlReader): HttpRouteMatch['path'] | undefined {
  const object = reader.object(['type', 'value'])
  const type = object?.get('type')?.oneOf(PATH_TYPES) ?? 'PathPrefix'
  const valueReader = object?.get('value')
  if (valueReader === undefined) return { type, value: '/' }
  if (type === 'RegularExpression') {
    const value = readRegex(valueReader)
    return value === undefined ? undefined : { type, value }
  }
  const value = valueReader.text()
  if (value === undefined) return undefined
  const bad = ['//', '/./', '/../', '%2f', '%2F', '#', '?'].find(part => value.includes(part))
  if (!value.startsWith('/')) valueReader.problem(`expected a path that begins with /, found ${shown(value)}`)
  else if (bad !== undefined) valueReader.problem(`a path cannot have ${shown(bad)} in it: ${shown(value)}`)
  else if (/\/\.{1,2}$/.test(value)) valueReader.problem(`a path cannot end with dots: ${shown(value)}`)
  return { type, value }
}

/** Of several with one name the first counts. */
function readNamed(
  reader: YamlReader | undefined,
  readName: (reader: YamlReader) => string | undefined,
): readonly HttpValueMatch[] {
  checkLength(reader, MAX_ITEMS, 'matches')
  const seen = new Set<string>()
  const list = reader?.list((item): HttpValueMatch | undefined => {
    const object = item.object(['type', 'name', 'value'])
    const type = object?.get('type')?.oneOf(VALUE_TYPES) ?? 'Exact'
    const nameReader = object?.required('name')
    const name = nameReader && readName(nameReader)
    const valueReader = object?.required('value')
    const value = type === 'Exact' ? valueReader?.text() : readRegex(valueReader)
    if (name === undefined || value === undefined) return undefined
    if (seen.has(name)) {
      nameReader?.problem(`${shown(name)} is matched twice: only the first counts`, 'warning')
      return undefined
    }
    seen.add(name)
    return { type, name, value }
  })
  return list ?? []
}

function readHttpBackend(reader: YamlReader, scope: ReadScope): HttpBackendRef | undefined {
  const object = reader.object(['group', 'kind', 'namespace', 'name', 'port', 'weight', 'filters'])
  if (object === undefined) return undefined
  const weight = object.get('weight')?.integer({ min: 0, max: 1_000_000 }) ?? 1
  const filters = readFilters(object.get('filters'), scope, 'backend')
  const modifier = (type: string) => {
    const found = filters.find(filter => filter.type === type)
    return found !== undefined && 'remove' in found
      ? { set: found.set, add: found.add, remove: found.remove }
      : noModifier
  }
  const backend = readBackend(object, scope)
  return (
    backend && {
      ...backend,
      weight,
      requestHeaders: modifier('RequestHeaderModifier'),
      responseHeaders: modifier('ResponseHeaderModifier'),
    }
  )
}

/** Nobody is chosen, so every request is answered 500: nobody means that. */
function checkWeights(rule: YamlObject, filters: number, backends: readonly HttpBackendRef[]): void {
  const reader = rule.get('backendRefs')
  const written = reader?.kind === 'list' ? reader.list(() => true).length : 0
  if (written === 0 && filters === 0 && (reader === undefined || reader.kind === 'list'))
    rule.reader.problem('has no backendRefs: every request is answered 500', 'warning')
  // One that could not be read was reported already.
  if (written > 0 && backends.length === written && backends.every(({ weight }) => weight === 0))
    reader?.problem('the weights sum to 0: no request could go anywhere')
}

function readRetry(reader: YamlReader | undefined): HttpRouteRetry | undefined {
  const object = reader?.object(['codes', 'attempts', 'backoff'])
  if (object === undefined) return undefined
  const attempts = object.get('attempts')?.integer({ min: 0, max: 1000 })
  const backoffMs = readDurationMs(object.get('backoff'), { minMs: 1, gatewayApi: true })
  return {
    codes: object.get('codes')?.list(item => item.integer({ min: 400, max: 599 })) ?? [],
    ...(attempts !== undefined && { attempts }),
    ...(backoffMs !== undefined && { backoffMs }),
  }
}

function checkLength(reader: YamlReader | undefined, max: number, what: string): void {
  if (reader?.kind !== 'list') return
  const { length } = reader.list(() => true)
  if (length > max) reader.problem(`expected at most ${max} ${what}, found ${length}`)
}
