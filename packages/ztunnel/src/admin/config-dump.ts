/** `/config_dump` with ztunnel's keys, as istioctl reads them. Never holds keys, tokens or CA headers. */
import {
  type Directory,
  type Endpoint,
  formatHostPort,
  type GatewayAddress,
  type PortMap,
  type Service,
  serviceKey,
  type Workload,
} from '@ambient/core'
import { dumpCertificates } from '@ambient/core/proxy'
import type { CertificateStatus } from '@ambient/identity'
import type { Authorization, AuthorizationMatch, StringMatch } from '@ambient/policy'
import type { ZtunnelConfig } from '../config/config.ts'
import type { ConnectionFacts } from '../telemetry/ledger.ts'

export interface DumpSource {
  readonly config: ZtunnelConfig
  readonly directory: Directory
  readonly workloads: readonly Workload[]
  readonly services: readonly Service[]
  readonly policies: readonly Authorization[]
  readonly certificates: readonly CertificateStatus[]
  readonly proxies: readonly DumpedProxy[]
}

export interface DumpedProxy {
  readonly uid: string
  readonly state: 'Pending' | 'Up'
  readonly name: string
  readonly namespace: string
  readonly serviceAccount: string
  readonly connections: readonly ConnectionFacts[]
}

type Json = Record<string, unknown>

export function configDump(source: DumpSource): Json {
  return {
    workloads: source.workloads.map(dumpWorkload),
    services: source.services.map(service => dumpService(service, source.directory.endpoints(service))),
    policies: source.policies.map(dumpPolicy),
    stagedServices: {},
    version: {
      version: source.config.version,
      istioVersion: source.config.version,
      nodeVersion: process.version,
      cryptoProvider: `openssl ${process.versions['openssl'] ?? 'unknown'}`,
    },
    config: dumpConfig(source.config),
    certificates: dumpCertificates(source.certificates),
    workloadState: Object.fromEntries(source.proxies.map(proxy => [proxy.uid, dumpProxy(proxy)])),
  }
}

function dumpWorkload(workload: Workload): Json {
  return {
    uid: workload.uid,
    workloadIps: workload.addresses,
    ...optional('waypoint', dumpGateway(workload.waypoint)),
    ...optional('networkGateway', dumpGateway(workload.networkGateway)),
    protocol: workload.protocol,
    networkMode: workload.networkMode,
    name: workload.name,
    namespace: workload.namespace,
    ...optional('trustDomain', workload.trustDomain),
    ...optional('serviceAccount', workload.serviceAccount),
    ...optional('network', workload.network),
    ...optional('workloadName', workload.workloadName),
    workloadType: workload.workloadType,
    ...optional('canonicalName', workload.canonicalName),
    ...optional('canonicalRevision', workload.canonicalRevision),
    ...optional('hostname', workload.hostname),
    ...optional('node', workload.node),
    ...(workload.nativeTunnel ? { nativeTunnel: true } : {}),
    ...optional('applicationTunnel', workload.applicationTunnel),
    ...(workload.authorizationPolicies.length === 0
      ? {}
      : { authorizationPolicies: workload.authorizationPolicies }),
    status: workload.status,
    clusterId: workload.clusterId,
    ...(Object.values(workload.locality).every(part => part === '') ? {} : { locality: workload.locality }),
    services: [...workload.services.keys()].sort(compare),
    capacity: workload.capacity,
  }
}

function dumpService(service: Service, endpoints: readonly Endpoint[]): Json {
  return {
    name: service.name,
    namespace: service.namespace,
    hostname: service.hostname,
    vips: service.vips.map(vip => `${vip.network}/${vip.ip}`),
    ...(service.cidrVips.length === 0 ? {} : { cidrVips: service.cidrVips }),
    ports: dumpPorts(service.ports),
    endpoints: Object.fromEntries(
      endpoints.map(({ workload, ports }) => [
        workload.uid,
        { workloadUid: workload.uid, port: dumpPorts(ports), status: workload.status },
      ]),
    ),
    ...(service.subjectAltNames.length === 0 ? {} : { subjectAltNames: service.subjectAltNames }),
    ...optional('waypoint', dumpGateway(service.waypoint)),
    ...(service.weightedWaypoints.length === 0
      ? {}
      : {
          weightedWaypoints: service.weightedWaypoints.map(({ destination, weight }) => ({
            destination: dumpGateway(destination),
            weight,
          })),
        }),
    ...(service.loadBalancer.mode === 'Standard' && service.loadBalancer.healthPolicy === 'OnlyHealthy'
      ? {}
      : { loadBalancer: service.loadBalancer }),
    ...(service.ipFamilies === 'Automatic' ? {} : { ipFamilies: service.ipFamilies }),
    canonical: service.canonical,
    visibility: service.visibility,
  }
}

function dumpPolicy(policy: Authorization): Json {
  return {
    name: policy.name,
    namespace: policy.namespace,
    scope: policy.scope,
    action: policy.action,
    rules: policy.rules.map(rule => rule.clauses.map(clause => clause.matches.map(dumpMatch))),
    ...(policy.dryRun ? { dryRun: true } : {}),
  }
}

function dumpMatch(match: AuthorizationMatch): Json {
  return Object.fromEntries(
    Object.entries(match)
      .filter(([, values]) => values.length > 0)
      .map(([attribute, values]: [string, readonly unknown[]]) => [
        attribute,
        values.map(value => (isStringMatch(value) ? dumpStringMatch(value) : value)),
      ]),
  )
}

function isStringMatch(value: unknown): value is StringMatch {
  return typeof value === 'object' && value !== null && 'kind' in value
}

function dumpStringMatch(match: StringMatch): Json {
  if (match.kind === 'presence') return { Presence: [] }
  return { [`${match.kind.slice(0, 1).toUpperCase()}${match.kind.slice(1)}`]: match.value }
}

function dumpProxy(proxy: DumpedProxy): Json {
  const connection = ({ connection, tunnelTarget, nextHop, securityPolicy }: ConnectionFacts): Json => ({
    src: formatHostPort(connection.source.address, connection.source.port),
    originalDst:
      connection.direction === 'outbound'
        ? formatHostPort(connection.destination.address, connection.destination.port)
        : (connection.destination.service?.hostname ?? null),
    actualDst: tunnelTarget ?? nextHop,
    protocol: securityPolicy === 'mutual_tls' ? 'HBONE' : 'TCP',
  })
  const of = (direction: 'inbound' | 'outbound'): Json[] =>
    proxy.connections.filter(facts => facts.connection.direction === direction).map(connection)
  return {
    state: proxy.state,
    connections: { inbound: of('inbound'), outbound: of('outbound') },
    info: { name: proxy.name, namespace: proxy.namespace, serviceAccount: proxy.serviceAccount },
  }
}

/** Without what could hold secrets: headers of the control plane, the token, the local configuration. */
function dumpConfig(config: ZtunnelConfig): Json {
  return {
    proxyMode: config.mode === 'shared' ? 'Shared' : 'Dedicated',
    ...optional('proxyWorkloadInformation', config.proxyWorkload),
    localNode: config.nodeName,
    network: config.network,
    clusterId: config.clusterId,
    clusterDomain: config.clusterDomain,
    trustDomain: config.trustDomain,
    localIp: config.instanceIp,
    ipv6Enabled: config.ipv6Enabled,
    ports: config.ports,
    socks5: config.socks5.enabled,
    xdsAddress: config.xds.address ?? null,
    caAddress: config.ca.address ?? null,
    fakeCa: config.fakeCa,
    ...optional('workloadApi', config.workloadApi),
    secretTtl: { secs: Math.floor(config.secretTtlMs / 1_000), nanos: (config.secretTtlMs % 1_000) * 1e6 },
    selfTerminationDeadline: {
      secs: Math.floor(config.terminationDeadlineMs / 1_000),
      nanos: (config.terminationDeadlineMs % 1_000) * 1e6,
    },
    enableResponseBaggage: config.responseBaggage,
    log: config.log,
  }
}

function dumpGateway(gateway: GatewayAddress | undefined): Json | undefined {
  if (gateway === undefined) return undefined
  const { destination, hboneMtlsPort } = gateway
  return {
    destination:
      destination.kind === 'address'
        ? `${destination.network}/${destination.ip}`
        : serviceKey({ namespace: destination.namespace, hostname: destination.hostname }),
    hboneMtlsPort,
  }
}

function dumpPorts(ports: PortMap): Record<string, number> {
  return Object.fromEntries([...ports].map(([port, target]) => [String(port), target]))
}

function optional(key: string, value: unknown): Json {
  return value === undefined || value === '' ? {} : { [key]: value }
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
