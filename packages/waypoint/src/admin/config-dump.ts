/** `/config_dump` of a waypoint: what it serves and how, in JSON. Never holds keys, tokens or headers of collectors. */
import {
  type Connection,
  type Directory,
  formatHostPort,
  type GatewayAddress,
  type Service,
  serviceKey,
} from '@ambient/core'
import { dumpCertificates } from '@ambient/core/proxy'
import type { AdsClientStatus, ConfigStore } from '@ambient/discovery'
import type { AuthorizationProvider } from '@ambient/policy'
import type { CertificateStatus } from '@ambient/identity'
import type { WaypointConfig } from '../config/config.ts'
import type { WaypointProxy } from '../proxy.ts'
import { clusterName } from '../route/cluster-name.ts'
import type { Backend, Destination, HttpRoute, RouteOrigin, RouteTable, TcpRoute } from '../route/ir.ts'

export interface DumpSource {
  readonly config: WaypointConfig
  readonly directory: Directory
  /** All that are known; only those that this waypoint answers for are shown with routes. */
  readonly services: readonly Service[]
  readonly store: ConfigStore
  readonly certificates: readonly CertificateStatus[]
  readonly proxy: Pick<WaypointProxy, 'serves' | 'tableFor' | 'connections' | 'counts'>
  readonly discovery: AdsClientStatus | undefined
}

type Json = Record<string, unknown>

export function configDump(source: DumpSource): Json {
  const { config, store, proxy } = source
  const served = source.services.filter(service => proxy.serves(service))
  return {
    version: { version: config.version, nodeVersion: process.version },
    config: dumpConfig(config),
    services: served.map(service => dumpService(service, source)),
    clusters: [...new Set(served.flatMap(service => clustersOf(service, source)))].sort(),
    policies: store.authorizationPolicies.map(({ metadata, spec }) => ({
      namespace: metadata.namespace,
      name: metadata.name,
      spec,
    })),
    extensionProviders: (store.meshConfig ?? config.meshConfig)?.extensionProviders.map(dumpProvider) ?? [],
    configuration: {
      gateways: namesOf(store.gateways),
      virtualServices: namesOf(store.virtualServices),
      httpRoutes: namesOf(store.httpRoutes),
      destinationRules: namesOf(store.destinationRules),
    },
    certificates: dumpCertificates(source.certificates),
    connections: proxy.connections().map(dumpConnection),
    ...proxy.counts,
    ...(source.discovery === undefined ? {} : { discovery: dumpDiscovery(source.discovery) }),
  }
}

/** Additional headers may hold what only the provider is to know. */
function dumpProvider({ name, kind, service, port, timeoutMs, failOpen }: AuthorizationProvider): Json {
  return { name, kind, service, port, timeoutMs, failOpen }
}

function dumpConfig(config: WaypointConfig): Json {
  const { tracing } = config
  return {
    gateway: config.gateway,
    serviceAccount: config.serviceAccount,
    instanceIp: config.instanceIp,
    nodeName: config.nodeName,
    network: config.network,
    clusterId: config.clusterId,
    clusterDomain: config.clusterDomain,
    trustDomain: config.trustDomain,
    rootNamespace: config.rootNamespace,
    ports: config.ports,
    xdsAddress: config.xds.address ?? null,
    caAddress: config.ca.address ?? null,
    secretTtlMs: config.secretTtlMs,
    drainMs: config.drainMs,
    accessLog: config.accessLog,
    log: config.log,
    tracing: {
      endpoint: tracing.endpoint ?? null,
      serviceName: tracing.serviceName,
      parentBased: tracing.parentBased,
      ratio: tracing.ratio,
    },
  }
}

function dumpService(service: Service, { directory, proxy }: DumpSource): Json {
  return {
    namespace: service.namespace,
    name: service.name,
    hostname: service.hostname,
    vips: service.vips.map(({ network, ip }) => `${network}/${ip}`),
    waypoint: dumpGateway(service.waypoint),
    ports: Object.fromEntries(
      [...service.ports].map(([port, target]) => [
        String(port),
        {
          targetPort: target,
          protocol: service.appProtocols?.get(port) ?? null,
          ...dumpTable(proxy.tableFor(service, port)),
        },
      ]),
    ),
    endpoints: directory.endpoints(service).map(({ workload }) => ({
      uid: workload.uid,
      addresses: workload.addresses,
      protocol: workload.protocol,
      status: workload.status,
    })),
  }
}

function dumpTable(table: RouteTable): Json {
  return {
    http: table.http.map(dumpHttpRoute),
    tcp: table.tcp.map(route => ({
      ...dumpRoute(route),
      destinations: route.destinations.map(dumpDestination),
    })),
    ...(table.problems.length === 0 ? {} : { problems: table.problems }),
  }
}

function dumpHttpRoute(route: HttpRoute): Json {
  const { action, retry } = route
  return {
    ...dumpRoute(route),
    ...(route.matchedPrefix === undefined ? {} : { prefix: route.matchedPrefix }),
    action: action.kind,
    ...(action.kind === 'forward' ? { destinations: action.destinations.map(dumpDestination) } : {}),
    ...(action.kind === 'respond' ? { status: action.status } : {}),
    ...(action.kind === 'redirect' ? { status: action.redirect.status } : {}),
    ...(route.timeoutMs === undefined ? {} : { timeoutMs: route.timeoutMs }),
    retries: { attempts: retry.attempts, on: [...retry.on], statusCodes: [...retry.statusCodes] },
    ...(route.fault === undefined ? {} : { fault: route.fault }),
    ...(route.mirrors.length === 0
      ? {}
      : { mirrors: route.mirrors.map(({ backend, percent }) => ({ to: dumpBackend(backend), percent })) }),
  }
}

function dumpRoute({ name, origin }: { readonly name: string; readonly origin: RouteOrigin }): Json {
  return {
    name,
    from: origin.resource === '' ? origin.kind : `${origin.kind} ${origin.resource}`,
    ...(origin.source === undefined ? {} : { source: `${origin.source.file}:${origin.source.line}` }),
  }
}

function dumpDestination({ weight, backend }: Destination): Json {
  return { weight, to: dumpBackend(backend) }
}

function dumpBackend(backend: Backend): string {
  if (backend.kind === 'missing') return `${backend.status} ${backend.flag}: ${backend.reason}`
  return clusterName(backend.cluster, 'inbound-vip', 'http')
}

function clustersOf(service: Service, { proxy }: DumpSource): readonly string[] {
  const of = (routes: readonly (HttpRoute | TcpRoute)[], protocol: 'http' | 'tcp'): string[] =>
    routes
      .flatMap(route =>
        'destinations' in route
          ? route.destinations
          : route.action.kind === 'forward'
            ? route.action.destinations
            : [],
      )
      .flatMap(({ backend }) =>
        backend.kind === 'cluster' ? [clusterName(backend.cluster, 'inbound-vip', protocol)] : [],
      )
  return [...service.ports.keys()].flatMap(port => {
    const { http, tcp } = proxy.tableFor(service, port)
    return [...of(http, 'http'), ...of(tcp, 'tcp')]
  })
}

function dumpConnection({ source, destination }: Connection): Json {
  return {
    src: formatHostPort(source.address, source.port),
    identity: source.identity?.uri ?? null,
    originalDst: formatHostPort(destination.address, destination.port),
    service: destination.service?.hostname ?? null,
  }
}

function dumpDiscovery({ connected, lastError, types }: AdsClientStatus): Json {
  return {
    connected,
    ...(lastError === undefined ? {} : { lastError }),
    types: Object.fromEntries(types),
  }
}

function dumpGateway(gateway: GatewayAddress | undefined): string | null {
  if (gateway === undefined) return null
  const { destination, hboneMtlsPort } = gateway
  return destination.kind === 'address'
    ? formatHostPort(destination.ip, hboneMtlsPort)
    : `${serviceKey(destination)}:${hboneMtlsPort}`
}

function namesOf(
  resources: readonly { readonly metadata: { readonly namespace: string; readonly name: string } }[],
): readonly string[] {
  return resources.map(({ metadata }) => `${metadata.namespace}/${metadata.name}`).sort()
}
