/** What a mesh shows of its nodes and pods: snapshots, with the few things that one can do to them. */
import { meshDefaults } from './defaults.ts'
import { MeshError } from './errors.ts'
import type { NodeProxy } from './plane/node-proxy.ts'
import { gatewayKey, type WaypointProcess } from './plane/waypoint-process.ts'
import type { Pod } from './pods/pod.ts'

export interface MeshNode {
  readonly name: string
  readonly address: string
  /** Of its ztunnel; absent while that is down. */
  readonly pid: number | undefined
  readonly restarts: number
  /** `http://IP:15000` */
  readonly adminUrl: string
  /** `http://IP:15020` */
  readonly statsUrl: string
  /** `http://IP:15021/healthz/ready` */
  readonly readyUrl: string
  /** Signals the ztunnel (default SIGKILL); it is started again. */
  kill(signal?: NodeJS.Signals): void
  /**
   * Replaces the ztunnel: a new process takes over the listening sockets, then the old one drains. No connection is
   * refused; present ones have 30 s to finish. Resolves when the new process serves.
   * @throws MeshError `AMBIENT_E_MESH_NOT_READY`; the present process goes on then.
   */
  restart(): Promise<void>
}

/** The waypoint of a Gateway. */
export interface MeshWaypoint {
  readonly namespace: string
  /** Of the Gateway. */
  readonly name: string
  readonly pod: string
  /** Of its process; that of its Service is another. */
  readonly address: string
  readonly node: string
  /** Absent while it is down. */
  readonly pid: number | undefined
  readonly restarts: number
  readonly ready: boolean
  /** `http://IP:15000` */
  readonly adminUrl: string
  /** `http://IP:15020` */
  readonly statsUrl: string
  /** Signals it (default SIGKILL); it is started again. */
  kill(signal?: NodeJS.Signals): void
  /**
   * Replaces it without a gap: a new process takes over the listening sockets, then the old one drains. Resolves when
   * the new process serves.
   * @throws MeshError `AMBIENT_E_MESH_NOT_READY`; the present process goes on then.
   */
  restart(): Promise<void>
}

export interface MeshPod {
  readonly name: string
  readonly namespace: string
  /** The Deployment, or the pod itself. */
  readonly workload: string
  readonly labels: Readonly<Record<string, string>>
  readonly serviceAccount: string
  readonly node: string
  readonly address: string
  readonly ports: readonly number[]
  readonly ready: boolean
  /** In the mesh: its traffic is tunnelled. */
  readonly enrolled: boolean
  /** Of its first container's program; absent while that is down. */
  readonly pid: number | undefined
  readonly restarts: number
  /** Signals its programs (default SIGKILL); they are started again as their restart policy says. */
  kill(signal?: NodeJS.Signals): void
}

export function describeNode(proxy: NodeProxy): MeshNode {
  const { program } = proxy
  return Object.freeze({
    name: proxy.node,
    address: proxy.address,
    pid: program.pid,
    restarts: program.restarts,
    adminUrl: proxy.adminUrl,
    statsUrl: proxy.statsUrl,
    readyUrl: proxy.readyUrl,
    kill: (signal?: NodeJS.Signals) => program.kill(signal),
    restart: () => proxy.restart(),
  })
}

export function describeWaypoint(waypoint: WaypointProcess): MeshWaypoint {
  const { gateway, program } = waypoint
  return Object.freeze({
    namespace: gateway.metadata.namespace,
    name: gateway.metadata.name,
    pod: waypoint.pod,
    address: waypoint.address,
    node: waypoint.node,
    pid: program.pid,
    restarts: program.restarts,
    ready: program.ready,
    adminUrl: waypoint.adminUrl,
    statsUrl: waypoint.statsUrl,
    kill: (signal?: NodeJS.Signals) => program.kill(signal),
    restart: () => program.replace({ graceMs: meshDefaults.restartDrainMs }),
  })
}

/**
 * By `namespace/name`, or the name alone.
 * @throws MeshError `AMBIENT_E_MESH_NOT_FOUND`
 */
export function findWaypoint(waypoints: readonly WaypointProcess[], wanted: string): WaypointProcess {
  const found = waypoints.find(({ gateway }) => [gatewayKey(gateway), gateway.metadata.name].includes(wanted))
  if (found !== undefined) return found
  const known = waypoints.map(({ gateway }) => gatewayKey(gateway)).join(', ')
  throw new MeshError(
    'AMBIENT_E_MESH_NOT_FOUND',
    `there is no waypoint ${wanted}; there are: ${known || 'none'}`,
  )
}

export function describePod(pod: Pod): MeshPod {
  const { template } = pod.plan
  return Object.freeze({
    name: pod.name,
    namespace: pod.plan.namespace,
    workload: pod.plan.name,
    labels: podLabels(pod),
    serviceAccount: template.serviceAccount,
    node: pod.node,
    address: pod.address,
    ports: template.containers.flatMap(container => container.ports.map(({ port }) => port)),
    ready: pod.ready,
    enrolled: pod.enrolled,
    pid: pod.programs[0]?.pid,
    restarts: pod.programs.reduce((sum, program) => sum + program.restarts, 0),
    kill: (signal?: NodeJS.Signals) => {
      for (const program of pod.programs) program.kill(signal)
    },
  })
}

/** The template's labels, and the one that a ReplicaSet adds. */
export function podLabels(pod: Pod): Readonly<Record<string, string>> {
  const { template, kind, hash } = pod.plan
  return kind === 'Pod' ? template.labels : { ...template.labels, 'pod-template-hash': hash }
}
