/** What the proxies of a mesh have been told, what they answered, and what they have: gathered from all of them. */
import type { ClientStatus, GatewayResource } from '@ambient/discovery'
import type {
  MeshPodFacts,
  ProxyCertificate,
  ProxyStatus,
  TypeStatus,
  WaypointStatus,
} from '../control/types.ts'
import { meshDefaults, proxyPorts } from '../defaults.ts'
import type { Pod } from '../pods/pod.ts'
import type { Program } from '../process/supervise.ts'
import { podLabels } from '../views.ts'
import type { ControlPlane } from './control-plane.ts'
import type { NodeProxy } from './node-proxy.ts'
import { askProxy, certificatesOf } from './proxy-state.ts'
import { gatewayKey, type WaypointProcess } from './waypoint-process.ts'

type Plane = Pick<ControlPlane, 'clients' | 'versions'>

/** Ztunnels first, in the order of their nodes. */
export function proxyStatuses(
  plane: Plane,
  ztunnels: readonly NodeProxy[],
  waypoints: readonly WaypointProcess[],
): Promise<readonly ProxyStatus[]> {
  return Promise.all([
    ...ztunnels.map(({ node, program, adminUrl }) =>
      proxyStatus(plane, {
        kind: 'ztunnel',
        name: `ztunnel-${node}.${meshDefaults.rootNamespace}`,
        node,
        program,
        adminUrl,
      }),
    ),
    ...waypoints.map(({ gateway, pod, node, program, adminUrl }) =>
      proxyStatus(plane, {
        kind: 'waypoint',
        name: `${pod}.${gateway.metadata.namespace}`,
        node,
        program,
        adminUrl,
      }),
    ),
  ])
}

/** As the conditions of the Gateways. */
export function waypointStatuses(
  gateways: readonly GatewayResource[],
  waypoints: readonly WaypointProcess[],
  addressOf: (key: string) => string,
): readonly WaypointStatus[] {
  return gateways.map(gateway => {
    const { namespace, name } = gateway.metadata
    const process = waypoints.find(waypoint => gatewayKey(waypoint.gateway) === gatewayKey(gateway))
    return {
      namespace,
      name,
      revision: 'default',
      trafficType: gateway.spec.waypointFor,
      ...conditionOf(process),
      address: addressOf(gatewayKey(gateway)),
    }
  })
}

export function podFacts(pods: readonly Pod[]): readonly MeshPodFacts[] {
  return pods
    .filter(({ ending }) => !ending)
    .map(pod => ({
      namespace: pod.plan.namespace,
      name: pod.name,
      labels: podLabels(pod),
      node: pod.node,
      address: pod.address,
      ready: pod.ready,
      enrolled: pod.enrolled,
      restarts: pod.programs.reduce((sum, { restarts }) => sum + restarts, 0),
      startedAt: pod.createdAt,
    }))
}

interface Proxy {
  readonly kind: ProxyStatus['kind']
  readonly name: string
  readonly node: string
  readonly program: Program
  readonly adminUrl: string
}

async function proxyStatus(plane: Plane, proxy: Proxy): Promise<ProxyStatus> {
  const { kind, name, node, program, adminUrl } = proxy
  const { pid, startedAt } = program
  // The third part of a node id is the pod.
  const client = plane.clients().find(({ nodeId, connected }) => connected && nodeId.split('~')[2] === name)
  return {
    name,
    kind,
    node,
    ...(pid === undefined ? {} : { pid }),
    ready: program.ready,
    ...(startedAt === undefined ? {} : { startedAt }),
    restarts: program.restarts,
    types: client === undefined ? [] : typeStatuses(client, plane.versions),
    certificates: pid === undefined ? [] : await certificates(adminUrl),
  }
}

async function certificates(adminUrl: string): Promise<readonly ProxyCertificate[]> {
  return certificatesOf((await askProxy(`${adminUrl}/config_dump`)).text)
}

function typeStatuses(client: ClientStatus, versions: Plane['versions']): readonly TypeStatus[] {
  return [...client.types].map(([type, { acknowledged, sent, nack }]) => {
    const isCurrent = acknowledged === versions.get(type)
    const state = nack !== undefined ? 'NACK' : sent === '' ? 'NOT SENT' : isCurrent ? 'SYNCED' : 'STALE'
    return { type, state, version: acknowledged, ...(nack === undefined ? {} : { nack }) }
  })
}

function conditionOf(
  waypoint: WaypointProcess | undefined,
): Pick<WaypointStatus, 'programmed' | 'reason' | 'message'> {
  if (waypoint === undefined)
    return { programmed: false, reason: 'Pending', message: 'its process was not started yet' }
  const { program } = waypoint
  if (program.ready) {
    const { name, namespace } = waypoint.gateway.metadata
    const service = `${name}.${namespace}.svc.${meshDefaults.clusterDomain}:${proxyPorts.hbone}`
    return {
      programmed: true,
      reason: 'Programmed',
      message: `Resource programmed, assigned to service(s) ${service}`,
    }
  }
  const state =
    program.pid === undefined
      ? `its process is down, started again ${program.restarts} times`
      : 'not ready yet'
  return { programmed: false, reason: 'Pending', message: state }
}
