/** What a mesh shows of its nodes and pods: snapshots, with the few things that one can do to them. */
import type { NodeProxy } from './plane/node-proxy.ts'
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
