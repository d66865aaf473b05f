/** Everything that is written for one port of one service, compiled to one table. Pure. */
import { RE2JSException } from 're2js'
import { ownCluster } from './backends.ts'
import { compareText, inOrder } from './destination-rules.ts'
import { byPrecedence, isAttached, toHttpRoute } from './http-route.ts'
import { type Destination, type HttpRoute, noEdits, type RouteTable, type TcpRoute } from './ir.ts'
import { defaultRetry } from './retry.ts'
import { resourceName, type RouteInput } from './route-config.ts'
import { appliesTo, virtualServiceRoutes, virtualServiceTcpRoutes } from './virtual-service.ts'

/** Of the route that nobody wrote, and of those without a name. */
const DEFAULT_NAME = 'default'

/** Resources that keep their routes together, with what they are ordered by. */
interface Source {
  readonly createdAt: number
  readonly name: string
  routes(problems: string[]): readonly HttpRoute[]
}

/**
 * Routes of all VirtualServices that apply, one after the other from the oldest to the newest, the HTTPRoutes of the
 * service among them as if they were one. Without any: the implicit route to the service itself. Never throws.
 */
export function compileRoutes(input: RouteInput): RouteTable {
  const problems: string[] = []
  const virtualServices = inOrder(input.config.virtualServices.filter(one => appliesTo(one, input)))
  const sources = [...virtualServices.flatMap(one => sourceOf(one, input)), ...httpRouteSource(input)].sort(
    (a, b) => a.createdAt - b.createdAt || compareText(a.name, b.name),
  )
  const http = sources.flatMap(source => source.routes(problems))
  const tcp = virtualServices.flatMap(one => virtualServiceTcpRoutes(one, input))
  return {
    // Routes of other ports only are none of this one's; a route that cannot be read is not as if it were not there.
    http: http.length > 0 || problems.length > 0 ? http : [implicitRoute(input)],
    tcp: tcp.length > 0 ? tcp : [implicitTcpRoute(input)],
    problems,
  }
}

function sourceOf(resource: RouteInput['config']['virtualServices'][number], input: RouteInput): Source[] {
  // Routes for TCP alone leave HTTP as it was.
  if (resource.spec.http.length === 0) return []
  return [
    {
      createdAt: resource.metadata.creationTimestamp ?? 0,
      name: resource.metadata.name,
      routes: problems =>
        resource.spec.http.flatMap(written =>
          guarded(resourceName(resource), problems, () => virtualServiceRoutes(resource, written, input)),
        ),
    },
  ]
}

function httpRouteSource(input: RouteInput): Source[] {
  const attached = input.config.httpRoutes.filter(route => isAttached(route, input))
  if (attached.length === 0) return []
  return [
    {
      createdAt: Math.min(...attached.map(({ metadata }) => metadata.creationTimestamp ?? 0)),
      name: attached.map(({ metadata }) => metadata.name).sort(compareText)[0] ?? '',
      routes: problems =>
        byPrecedence(attached).flatMap(ranked =>
          guarded(resourceName(ranked.resource), problems, () => [toHttpRoute(ranked, input)]),
        ),
    },
  ]
}

/** An expression that RE2 refuses got past discovery: its route is left out, and said. */
function guarded(name: string, problems: string[], make: () => readonly HttpRoute[]): readonly HttpRoute[] {
  try {
    return make()
  } catch (error) {
    if (!(error instanceof RE2JSException)) throw error
    problems.push(`${name}: a route is left out: ${error.message}`)
    return []
  }
}

function implicitRoute(input: RouteInput): HttpRoute {
  return {
    name: DEFAULT_NAME,
    origin: { kind: 'implicit', resource: '' },
    matches: () => true,
    action: { kind: 'forward', destinations: [ownDestination(input)], rewrite: undefined },
    requestHeaders: noEdits,
    responseHeaders: noEdits,
    fault: undefined,
    mirrors: [],
    timeoutMs: undefined,
    retry: defaultRetry,
    matchedPrefix: '/',
  }
}

function implicitTcpRoute(input: RouteInput): TcpRoute {
  return {
    name: DEFAULT_NAME,
    origin: { kind: 'implicit', resource: '' },
    destinations: [ownDestination(input)],
  }
}

function ownDestination(input: RouteInput): Destination {
  const backend = { kind: 'cluster', cluster: ownCluster(input) } as const
  return { weight: 1, backend, requestHeaders: noEdits, responseHeaders: noEdits }
}
