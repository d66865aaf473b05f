/** HTTPRoute to routes: the Gateway API's semantics, prefixes by whole elements and 500 for what is not there. */
import type {
  HttpBackendRef,
  HttpRouteFilter,
  HttpRouteMatch,
  HttpRouteResource,
  HttpRouteRule,
  HttpValueMatch,
  PathModifier,
} from '@ambient/discovery'
import { httpRouteBackend } from './backends.ts'
import { allOf, type Condition, onHeader, onQuery } from './conditions.ts'
import { compareText } from './destination-rules.ts'
import { editsOf } from './header-edits.ts'
import { type Destination, type HeaderEdits, type HttpRoute, noEdits, type RouteAction } from './ir.ts'
import { type PathChange, pathOf, replaceElements, replaceWhole, underPrefix } from './path.ts'
import { httpRouteRetry } from './retry.ts'
import { resourceName, type RouteInput } from './route-config.ts'
import { compileRegex, compileValue } from './value-match.ts'

const PATH_RANK = { Exact: 3, PathPrefix: 2, RegularExpression: 1 } as const

/** A rule under one of its matches: what the order of precedence compares. */
export interface RankedMatch {
  readonly resource: HttpRouteResource
  readonly rule: HttpRouteRule
  readonly ruleIndex: number
  readonly match: HttpRouteMatch
}

/** Whether a route is attached to this port of this service at this waypoint. */
export function isAttached({ metadata, spec }: HttpRouteResource, input: RouteInput): boolean {
  const { service, port, gatewayNamespace, clusterDomain } = input
  if (metadata.namespace !== gatewayNamespace && metadata.namespace !== service.namespace) return false
  return spec.parentRefs.some(parent => {
    if (parent.port !== undefined && parent.port !== port) return false
    const hostname = `${parent.name}.${parent.namespace}.svc.${clusterDomain}`
    if (parent.kind === 'Service') return service.hostname === hostname
    const isEntry = parent.kind === 'ServiceEntry' && service.hostname !== hostname
    return isEntry && service.name === parent.name && service.namespace === parent.namespace
  })
}

/**
 * Every match of every rule in the order of precedence: path type, length of the path, method, number of headers,
 * number of query parameters; then the oldest route, the first by name, the first rule, the first match.
 */
export function byPrecedence(routes: readonly HttpRouteResource[]): readonly RankedMatch[] {
  const oldestFirst = [...routes].sort(
    ({ metadata: a }, { metadata: b }) =>
      (a.creationTimestamp ?? 0) - (b.creationTimestamp ?? 0) ||
      compareText(`${a.namespace}/${a.name}`, `${b.namespace}/${b.name}`),
  )
  return oldestFirst
    .flatMap(resource =>
      resource.spec.rules.flatMap((rule, ruleIndex) =>
        rule.matches.map(match => ({ resource, rule, ruleIndex, match })),
      ),
    )
    .sort((a, b) => compareMatches(a.match, b.match))
}

/** @throws RE2JSException for what is not an expression of RE2. */
export function toHttpRoute({ resource, rule, ruleIndex, match }: RankedMatch, input: RouteInput): HttpRoute {
  const { namespace, name } = resource.metadata
  const routeName = rule.name ?? `${namespace}.${name}.${ruleIndex}`
  const requestMs = rule.requestTimeoutMs ?? 0
  const backendMs = rule.backendRequestTimeoutMs ?? 0
  // Where a rule says nothing of retries, or wants none, the time of an attempt is that of the exchange.
  const isOneAttempt = rule.retry === undefined || rule.retry.attempts === 0
  const timeouts = [requestMs, isOneAttempt ? backendMs : 0].filter(ms => ms > 0)
  return {
    name: routeName,
    origin: { kind: 'HTTPRoute', resource: `${namespace}/${name}`, source: rule.source },
    matches: compileMatch(match),
    action: toAction(rule, match, resource, input),
    requestHeaders: filterEdits(rule.filters, 'RequestHeaderModifier'),
    responseHeaders: filterEdits(rule.filters, 'ResponseHeaderModifier'),
    fault: undefined,
    mirrors: rule.filters.flatMap(filter =>
      filter.type === 'RequestMirror'
        ? [
            {
              backend: httpRouteBackend(filter.backendRef, resourceName(resource), input),
              percent: filter.percent,
            },
          ]
        : [],
    ),
    timeoutMs: timeouts.length > 0 ? Math.min(...timeouts) : undefined,
    retry: httpRouteRetry(rule.retry, rule.backendRequestTimeoutMs),
    matchedPrefix: match.path.type === 'PathPrefix' ? match.path.value : undefined,
  }
}

function compareMatches(a: HttpRouteMatch, b: HttpRouteMatch): number {
  return (
    PATH_RANK[b.path.type] - PATH_RANK[a.path.type] ||
    b.path.value.length - a.path.value.length ||
    Number(b.method !== undefined) - Number(a.method !== undefined) ||
    b.headers.length - a.headers.length ||
    b.queryParams.length - a.queryParams.length
  )
}

function compileMatch({ path, method, headers, queryParams }: HttpRouteMatch): Condition {
  const conditions: Condition[] = []
  if (method !== undefined) conditions.push(request => request.method === method)
  const test = compilePath(path)
  if (test !== undefined) conditions.push(request => test(pathOf(request.path)))
  for (const header of headers) conditions.push(onHeader(header.name, compileNamed(header)))
  for (const query of queryParams) conditions.push(onQuery(query.name, compileNamed(query)))
  return allOf(conditions)
}

function compilePath({ type, value }: HttpRouteMatch['path']): ((path: string) => boolean) | undefined {
  switch (type) {
    case 'Exact':
      return path => path === value
    case 'PathPrefix':
      return value === '/' ? undefined : underPrefix(value)
    case 'RegularExpression':
      return compileRegex(value)
  }
}

function compileNamed({ type, value }: HttpValueMatch): ReturnType<typeof compileValue> {
  return compileValue({ kind: type === 'Exact' ? 'exact' : 'regex', value })
}

function toAction(
  rule: HttpRouteRule,
  match: HttpRouteMatch,
  resource: HttpRouteResource,
  input: RouteInput,
): RouteAction {
  for (const filter of rule.filters) if (filter.type === 'RequestRedirect') return toRedirect(filter, match)
  const rewrite = rule.filters.find(filter => filter.type === 'URLRewrite')
  return {
    kind: 'forward',
    destinations: toDestinations(rule.backendRefs, resource, input),
    rewrite: rewrite && { authority: rewrite.hostname, path: changePath(rewrite.path, match) },
  }
}

/** Without a port of its own: the scheme's where one is given, else the one that the request came to. */
function toRedirect(
  filter: Extract<HttpRouteFilter, { type: 'RequestRedirect' }>,
  match: HttpRouteMatch,
): RouteAction {
  return {
    kind: 'redirect',
    redirect: {
      status: filter.statusCode,
      scheme: filter.scheme,
      authority: filter.hostname,
      port: filter.port ?? (filter.scheme === undefined ? 'request' : 'protocol'),
      path: changePath(filter.path, match),
    },
  }
}

/** A prefix can be replaced only where one was matched; the API refuses it elsewhere. */
function changePath(modifier: PathModifier | undefined, { path }: HttpRouteMatch): PathChange | undefined {
  if (modifier === undefined) return undefined
  return modifier.type === 'ReplacePrefixMatch' && path.type === 'PathPrefix'
    ? replaceElements(path.value, modifier.value)
    : replaceWhole(modifier.value)
}

/** Nothing to send to, or nothing with a weight, is a server error; a bad one among others keeps its share. */
function toDestinations(
  refs: readonly HttpBackendRef[],
  resource: HttpRouteResource,
  input: RouteInput,
): readonly Destination[] {
  const from = resourceName(resource)
  if (refs.every(({ weight }) => weight === 0)) {
    const reason = `${from} has ${refs.length === 0 ? 'a rule without backends' : 'only weights of 0 in a rule'}`
    const backend = { kind: 'missing', status: 500, flag: '-', reason } as const
    return [{ weight: 1, backend, requestHeaders: noEdits, responseHeaders: noEdits }]
  }
  return refs.map(ref => ({
    weight: ref.weight,
    backend: httpRouteBackend(ref, from, input),
    requestHeaders: editsOf(ref.requestHeaders),
    responseHeaders: editsOf(ref.responseHeaders),
  }))
}

/** The API allows each header filter once in a rule. */
function filterEdits(
  filters: readonly HttpRouteFilter[],
  type: 'RequestHeaderModifier' | 'ResponseHeaderModifier',
): HeaderEdits {
  for (const filter of filters) if (filter.type === type && 'set' in filter) return editsOf(filter)
  return noEdits
}
