/** VirtualService to routes: Istio's own semantics, string prefixes and 503 for what is not there. */
import type {
  VirtualServiceAction,
  VirtualServiceFault,
  VirtualServiceHttpRoute,
  VirtualServiceMatch,
  VirtualServiceResource,
  VirtualServiceRouteDestination,
} from '@ambient/discovery'
import { virtualServiceBackend } from './backends.ts'
import { allOf, type Condition, onHeader, onMissingHeader, onQuery } from './conditions.ts'
import { editsOf } from './header-edits.ts'
import { hostNames } from './hosts.ts'
import type { Destination, FaultPolicy, HttpRoute, Redirect, Rewrite, RouteAction, TcpRoute } from './ir.ts'
import { type PathChange, pathOf, replaceLeading, replaceRegex, replaceWhole } from './path.ts'
import { virtualServiceRetry } from './retry.ts'
import { resourceName, type RouteInput } from './route-config.ts'
import { compileValue } from './value-match.ts'

/** What a match without a path matches by. */
const ANY_PREFIX = '/'
const MESH = 'mesh'
/** HTTP status of a gRPC abort; the code is in `grpc-status`. */
const GRPC_ABORT_STATUS = 200

/** Whether a VirtualService has a say in this service's traffic at this waypoint. */
export function appliesTo({ metadata, spec }: VirtualServiceResource, input: RouteInput): boolean {
  const { service, gatewayNamespace } = input
  const isNear = metadata.namespace === gatewayNamespace || metadata.namespace === service.namespace
  return (
    isNear &&
    (spec.gateways.length === 0 || spec.gateways.includes(MESH)) &&
    spec.hosts.some(host => hostNames(host, metadata.namespace, service.hostname))
  )
}

/**
 * One route of a VirtualService, once per match, in order.
 * @throws RE2JSException for what is not an expression of RE2.
 */
export function virtualServiceRoutes(
  resource: VirtualServiceResource,
  written: VirtualServiceHttpRoute,
  input: RouteInput,
): readonly HttpRoute[] {
  const matches = written.match.filter(match => isReachable(match, input))
  if (written.match.length === 0) return [toRoute(resource, written, undefined, input)]
  return matches.map(match => toRoute(resource, written, match, input))
}

/** TCP routes that may be taken on this port. */
export function virtualServiceTcpRoutes(
  resource: VirtualServiceResource,
  input: RouteInput,
): readonly TcpRoute[] {
  return resource.spec.tcp.flatMap(written => {
    const fits = written.match.length === 0 || written.match.some(match => isReachable(match, input))
    if (!fits) return []
    return {
      name: 'default',
      origin: originOf(resource, written.source),
      destinations: toDestinations(written.destinations, resource, input),
    }
  })
}

/** Some conditions are known before any request: a match that they exclude is left out. */
function isReachable(
  match: Pick<VirtualServiceMatch, 'port' | 'sourceLabels' | 'sourceNamespace' | 'gateways'>,
  { port, gatewayNamespace }: RouteInput,
): boolean {
  const { sourceLabels, sourceNamespace, gateways } = match
  if (match.port !== undefined && match.port !== port) return false
  // Where gateways are named they alone decide.
  if (gateways !== undefined && gateways.length > 0) return gateways.includes(MESH)
  return (
    (sourceNamespace === undefined || sourceNamespace === '' || sourceNamespace === gatewayNamespace) &&
    (sourceLabels === undefined || Object.keys(sourceLabels).length === 0)
  )
}

function toRoute(
  resource: VirtualServiceResource,
  written: VirtualServiceHttpRoute,
  match: VirtualServiceMatch | undefined,
  input: RouteInput,
): HttpRoute {
  const timeoutMs = written.timeoutMs ?? 0
  return {
    name: nameOf(written.name, match?.name ?? ''),
    origin: originOf(resource, written.source),
    matches: compileMatch(match),
    action: toAction(written, match, resource, input),
    requestHeaders: editsOf(written.headers.request),
    responseHeaders: editsOf(written.headers.response),
    fault: toFault(written.fault),
    mirrors: written.mirrors.map(({ destination, percent }) => ({
      backend: toBackend(destination, resource, input),
      percent,
    })),
    timeoutMs: timeoutMs > 0 ? timeoutMs : undefined,
    retry: virtualServiceRetry(written.retries),
    matchedPrefix: match?.uri === undefined ? ANY_PREFIX : prefixOf(match),
  }
}

function nameOf(route: string, match: string): string {
  return [route, match].filter(name => name !== '').join('.') || 'default'
}

function originOf(
  { metadata }: VirtualServiceResource,
  source: VirtualServiceHttpRoute['source'],
): HttpRoute['origin'] {
  return { kind: 'VirtualService', resource: `${metadata.namespace}/${metadata.name}`, source }
}

function compileMatch(match: VirtualServiceMatch | undefined): Condition {
  if (match === undefined) return () => true
  const conditions: Condition[] = []
  const { uri, method, authority, scheme } = match
  if (method !== undefined) {
    const test = compileValue(method)
    conditions.push(request => test(request.method))
  }
  if (uri !== undefined) {
    const test = compileValue(uri, { ignoreCase: match.ignoreUriCase })
    conditions.push(request => test(pathOf(request.path)))
  }
  if (authority !== undefined) {
    const test = compileValue(authority)
    conditions.push(request => test(request.authority))
  }
  if (scheme !== undefined) {
    const test = compileValue(scheme)
    conditions.push(request => test(request.scheme))
  }
  for (const header of match.headers) conditions.push(onHeader(header.name, compileValue(header.match)))
  for (const { name, match: unwanted } of match.withoutHeaders)
    conditions.push(onMissingHeader(name, compileValue(unwanted), unwanted.kind === 'presence'))
  for (const query of match.queryParams) conditions.push(onQuery(query.name, compileValue(query.match)))
  return allOf(conditions)
}

function prefixOf({ uri }: VirtualServiceMatch): string | undefined {
  return uri?.kind === 'prefix' ? uri.value : undefined
}

function toAction(
  written: VirtualServiceHttpRoute,
  match: VirtualServiceMatch | undefined,
  resource: VirtualServiceResource,
  input: RouteInput,
): RouteAction {
  const { action } = written
  switch (action.kind) {
    case 'respond':
      return { kind: 'respond', status: action.status, body: action.body }
    case 'redirect':
      return { kind: 'redirect', redirect: toRedirect(action, match) }
    case 'route':
      return {
        kind: 'forward',
        destinations: toDestinations(action.destinations, resource, input),
        rewrite: toRewrite(written, match),
      }
  }
}

function toRedirect(
  action: Extract<VirtualServiceAction, { kind: 'redirect' }>,
  match: VirtualServiceMatch | undefined,
): Redirect {
  const { port, uri, prefixRewrite } = action
  return {
    status: action.statusCode,
    scheme: action.scheme,
    authority: action.authority,
    port: port === 'FROM_REQUEST_PORT' ? 'request' : port === 'FROM_PROTOCOL_DEFAULT' ? 'protocol' : port,
    path:
      prefixRewrite !== undefined && prefixRewrite !== ''
        ? replaceMatched(match, prefixRewrite)
        : uri !== undefined && uri !== ''
          ? replaceWhole(uri)
          : undefined,
  }
}

function toRewrite(
  { rewrite }: VirtualServiceHttpRoute,
  match: VirtualServiceMatch | undefined,
): Rewrite | undefined {
  if (rewrite === undefined) return undefined
  const { uri, uriRegex } = rewrite
  const path =
    uriRegex !== undefined
      ? replaceRegex(uriRegex.match, uriRegex.rewrite)
      : uri !== undefined && uri !== ''
        ? replaceMatched(match, uri)
        : undefined
  return { authority: rewrite.authority === '' ? undefined : rewrite.authority, path }
}

/** A prefix gives way, as long as it was; what was matched otherwise was matched whole. */
function replaceMatched(match: VirtualServiceMatch | undefined, replacement: string): PathChange {
  const prefix = match?.uri === undefined ? ANY_PREFIX : prefixOf(match)
  return prefix === undefined ? replaceWhole(replacement) : replaceLeading(prefix.length, replacement)
}

/** A destination that is alone gets everything, whatever its weight. */
function toDestinations(
  written: readonly VirtualServiceRouteDestination[],
  resource: VirtualServiceResource,
  input: RouteInput,
): readonly Destination[] {
  return written.map(({ destination, weight, headers }) => ({
    weight: written.length === 1 ? 1 : weight,
    backend: toBackend(destination, resource, input),
    requestHeaders: editsOf(headers.request),
    responseHeaders: editsOf(headers.response),
  }))
}

function toBackend(
  destination: VirtualServiceRouteDestination['destination'],
  resource: VirtualServiceResource,
  input: RouteInput,
): Destination['backend'] {
  return virtualServiceBackend(destination, resourceName(resource), resource.metadata.namespace, input)
}

function toFault(fault: VirtualServiceFault | undefined): FaultPolicy | undefined {
  const { delay, abort } = fault ?? {}
  if (delay === undefined && abort === undefined) return undefined
  return {
    delay: delay && { percent: delay.percent, ms: delay.delayMs },
    abort: abort && {
      percent: abort.percent,
      status: abort.httpStatus ?? GRPC_ABORT_STATUS,
      grpcStatus: abort.grpcStatus,
    },
  }
}
