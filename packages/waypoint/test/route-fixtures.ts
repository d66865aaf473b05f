/** Routes from manifests to decisions: what is written is what the tests read. */
import type { Service, Workload } from '@ambient/core'
import { createDirectory, type HttpRouteRule, readManifests } from '@ambient/discovery'
import type { RequestHead } from '../src/http/message.ts'
import { HeaderFields } from '../src/http/header-fields.ts'
import { compileRoutes } from '../src/route/compile.ts'
import { decideRoute, type Random, type RouteDecision } from '../src/route/decide.ts'
import type { RouteTable } from '../src/route/ir.ts'

export function serviceOf(name: string, parts: Partial<Service> = {}): Service {
  const namespace = parts.namespace ?? 'shop'
  return {
    name,
    namespace,
    hostname: `${name}.${namespace}.svc.cluster.local`,
    vips: [],
    cidrVips: [],
    ports: new Map([[80, 8080]]),
    subjectAltNames: [],
    weightedWaypoints: [],
    loadBalancer: { routingPreferences: [], mode: 'Standard', healthPolicy: 'OnlyHealthy' },
    ipFamilies: 'Automatic',
    canonical: true,
    visibility: 'Public',
    ...parts,
  }
}

export function podOf(name: string, of: Service, parts: Partial<Workload> = {}): Workload {
  return {
    uid: `Kubernetes//Pod/${of.namespace}/${name}`,
    name,
    namespace: of.namespace,
    addresses: [],
    hostname: '',
    network: '',
    protocol: 'HBONE',
    trustDomain: 'cluster.local',
    serviceAccount: 'default',
    node: 'node',
    canonicalName: name,
    canonicalRevision: 'latest',
    workloadType: 'pod',
    workloadName: name,
    nativeTunnel: false,
    services: new Map([[`${of.namespace}/${of.hostname}`, of.ports]]),
    authorizationPolicies: [],
    status: 'Healthy',
    clusterId: 'Kubernetes',
    locality: { region: '', zone: '', subzone: '' },
    networkMode: 'Standard',
    capacity: 1,
    ...parts,
  }
}

export interface Setting {
  /** Indented as under `spec:`, by kind and name, or whole documents. */
  readonly documents: string
  /** For what discovery refuses at load: the same HTTPRoutes, changed. */
  readonly changed?: (rule: HttpRouteRule) => HttpRouteRule
  readonly services?: readonly Service[]
  readonly port?: number
  readonly gatewayNamespace?: string
}

export const reviews = serviceOf('reviews')
/** Several ports, so that a destination without one takes that of the request. */
export const ratings = serviceOf('ratings', {
  ports: new Map([
    [80, 8080],
    [81, 8081],
  ]),
})

export function readConfig(documents: string): ReturnType<typeof readManifests>['resources'] {
  const { resources, problems } = readManifests([{ path: 'routes.yaml', text: documents }])
  // References to what is not in the text are what some tests are about.
  const errors = problems.filter(
    ({ severity, message }) => severity === 'error' && !/refers to/.test(message),
  )
  if (errors.length > 0) throw new Error(JSON.stringify(errors, undefined, 1))
  return resources
}

export function compile(setting: Setting): RouteTable {
  const config = readConfig(setting.documents)
  const { changed = rule => rule } = setting
  const httpRoutes = config.httpRoutes.map(one => ({
    ...one,
    spec: { ...one.spec, rules: one.spec.rules.map(changed) },
  }))
  const services = setting.services ?? [reviews, ratings]
  const directory = createDirectory()
  directory.apply({ workloads: [], services })
  const [service = reviews] = services
  return compileRoutes({
    service,
    port: setting.port ?? 80,
    gatewayNamespace: setting.gatewayNamespace ?? service.namespace,
    config: { ...config, httpRoutes },
    directory,
    clusterDomain: 'cluster.local',
  })
}

export function virtualService(http: string, name = 'reviews', hosts = 'reviews'): string {
  return `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: ${name}, namespace: shop }
spec:
  hosts: [${JSON.stringify(hosts)}]
  http:
${indented(http)}
---`
}

export function httpRoute(rules: string, name = 'reviews', more = ''): string {
  return `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: ${name}, namespace: shop${more} }
spec:
  parentRefs: [{ group: "", kind: Service, name: reviews }]
  rules:
${indented(rules)}
---`
}

export function get(
  path: string,
  parts: Partial<Omit<RequestHead, 'headers'>> & { headers?: readonly (readonly [string, string])[] } = {},
): RequestHead {
  return {
    method: 'GET',
    scheme: 'http',
    authority: 'reviews',
    path,
    ...parts,
    headers: new HeaderFields(parts.headers ?? []),
  }
}

export function decide(table: RouteTable, request: RequestHead, random: Random = () => 0): RouteDecision {
  return decideRoute(table, request, { random, port: 80 })
}

/** The name of the route that was taken. */
export function taken(table: RouteTable, request: RequestHead): string {
  const decision = decide(table, request)
  return decision.kind === 'not-found' ? 'not-found' : decision.route.name
}

/** Mulberry32: the same draws in every run. */
export function seeded(seed: number): Random {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

function indented(text: string): string {
  return text.replace(/^\n|\n\s*$/g, '').replace(/^/gm, '    ')
}
