/** One waypoint: the process of a Gateway, on an address of its own, with an identity of its own. */
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { type Clock, formatHostPort } from '@ambient/core'
import type { GatewayResource, PodStatus } from '@ambient/discovery'
import { configFromEnvironment, createWaypoint } from '@ambient/waypoint'
import { meshDefaults, proxyPorts } from '../defaults.ts'
import type { MeshListener } from '../events.ts'
import { embedProgram } from '../process/embedded.ts'
import { createHeldSockets } from '../process/held-sockets.ts'
import type { Reaper } from '../process/reaper.ts'
import { type Program, type ProgramEvents, superviseProgram } from '../process/supervise.ts'
import { readIfPresent } from './node-proxy.ts'
import type { ProxyFiles } from './secret-files.ts'

/** What all waypoints of a mesh have in common. */
export interface WaypointHost {
  readonly controlPlaneUrl: string
  readonly clusterId: string
  readonly trustDomain: string
  readonly certificateTtlMs: number
  readonly logLevel: string
  readonly environment: Readonly<Record<string, string>>
  readonly telemetry: { readonly otlpEndpoint?: string; readonly sampling?: number }
  readonly execPath: string
  /** No process of its own. */
  readonly inProcess: boolean
  readonly clock: Clock
  readonly reaper: Reaper
  readonly emit: MeshListener
}

export interface WaypointPlacement {
  /** Of the pod. */
  readonly pod: string
  readonly node: string
  readonly address: string
  readonly files: ProxyFiles
}

export interface WaypointProcess extends WaypointPlacement {
  /** As it was when the process was made. */
  readonly gateway: GatewayResource
  readonly program: Program
  /** It takes no more traffic. */
  readonly ending: boolean
  readonly adminUrl: string
  readonly statsUrl: string
  /** As a kubelet would report its pod. */
  status(): PodStatus
  /** Takes it out of what the proxies are told. */
  retire(): void
  stop(graceMs: number): Promise<void>
}

export function createWaypointProcess(
  gateway: GatewayResource,
  placement: WaypointPlacement,
  host: WaypointHost,
  onReadiness: (ready: boolean) => void,
): WaypointProcess {
  const url = (port: number): string => `http://${formatHostPort(placement.address, port)}`
  let ending = false
  const program = createProgram(gateway, placement, host, onReadiness)
  return {
    ...placement,
    gateway,
    program,
    get ending() {
      return ending
    },
    adminUrl: url(proxyPorts.admin),
    statsUrl: url(proxyPorts.stats),
    status: () => podStatus(gateway, placement, program.ready && !ending),
    retire() {
      ending = true
    },
    async stop(graceMs) {
      ending = true
      await program.stop(graceMs)
    },
  }
}

function createProgram(
  gateway: GatewayResource,
  placement: WaypointPlacement,
  host: WaypointHost,
  onReadiness: (ready: boolean) => void,
): Program {
  const { emit, clock, reaper } = host
  const source = { kind: 'waypoint', name: gatewayKey(gateway) } as const
  const env = waypointEnvironment(gateway, placement, host)
  const events: ProgramEvents = {
    started: pid => emit({ kind: 'started', source, pid }),
    line: (stream, line) => emit({ kind: 'output', source, stream, line }),
    exited: exit => emit({ kind: 'exited', source, ...exit }),
    readiness: onReadiness,
  }
  if (host.inProcess) {
    const config = configFromEnvironment(env, { read: readIfPresent })
    return embedProgram({ clock, events, create: write => createWaypoint({ config, write, clock }) })
  }
  return superviseProgram({
    argv: [host.execPath, waypointBin()],
    cwd: placement.files.folder,
    env,
    restart: 'Always',
    clock,
    reaper,
    sockets: createHeldSockets(),
    events,
  })
}

/** `namespace/name` */
export function gatewayKey({ metadata }: GatewayResource): string {
  return `${metadata.namespace}/${metadata.name}`
}

/** The labels that istiod's template gives the pods of a waypoint. */
export function waypointLabels({ metadata, spec }: GatewayResource): Readonly<Record<string, string>> {
  return {
    'gateway.istio.io/managed': 'istio.io-mesh-controller',
    'gateway.networking.k8s.io/gateway-class-name': spec.className,
    'gateway.networking.k8s.io/gateway-name': metadata.name,
    'istio.io/dataplane-mode': 'none',
    'networking.istio.io/tunnel': 'http',
    'service.istio.io/canonical-name': metadata.name,
    'service.istio.io/canonical-revision': 'latest',
  }
}

function podStatus(gateway: GatewayResource, placement: WaypointPlacement, ready: boolean): PodStatus {
  const { name, namespace } = gateway.metadata
  return {
    name: placement.pod,
    namespace,
    labels: waypointLabels(gateway),
    serviceAccount: gateway.spec.serviceAccount,
    node: placement.node,
    ip: placement.address,
    ready,
    generateName: placement.pod.slice(0, placement.pod.lastIndexOf('-') + 1),
    owner: { kind: 'Deployment', name },
    containerPorts: [{ port: proxyPorts.hbone }, { port: proxyPorts.readiness }],
    enrolled: false,
  }
}

/** The built entry file of the waypoint package, wherever it is installed. */
function waypointBin(): string {
  const manifest = createRequire(import.meta.url).resolve('@ambient/waypoint/package.json')
  return join(dirname(manifest), 'dist', 'bin.js')
}

/** The variables of Istio's proxies. */
export function waypointEnvironment(
  gateway: GatewayResource,
  { pod, node, address, files }: WaypointPlacement,
  host: WaypointHost,
): Record<string, string> {
  const { name, namespace } = gateway.metadata
  const { otlpEndpoint, sampling } = host.telemetry
  return {
    ...host.environment,
    ...(otlpEndpoint === undefined ? {} : { OTEL_EXPORTER_OTLP_ENDPOINT: otlpEndpoint }),
    ...(sampling === undefined
      ? {}
      : { OTEL_TRACES_SAMPLER: 'parentbased_traceidratio', OTEL_TRACES_SAMPLER_ARG: `${sampling}` }),
    POD_NAME: pod,
    POD_NAMESPACE: namespace,
    GATEWAY_NAME: name,
    SERVICE_ACCOUNT: gateway.spec.serviceAccount,
    INSTANCE_IP: address,
    NODE_NAME: node,
    XDS_ADDRESS: host.controlPlaneUrl,
    CA_ADDRESS: host.controlPlaneUrl,
    XDS_ROOT_CA: files.rootFile,
    CA_ROOT_CA: files.rootFile,
    AUTH_TOKEN: files.tokenFile,
    SECRET_TTL: `${Math.max(1, Math.round(host.certificateTtlMs / 1_000))}s`,
    ISTIO_META_CLUSTER_ID: host.clusterId,
    CLUSTER_DOMAIN: meshDefaults.clusterDomain,
    NETWORK: meshDefaults.network,
    TRUST_DOMAIN: host.trustDomain,
    ROOT_NAMESPACE: meshDefaults.rootNamespace,
    RUST_LOG: host.logLevel,
    LISTEN_HANDLES: 'ipc',
  }
}
