/** A mesh, as those who use it see it. */
import type { ClientStatus } from '@ambient/discovery'
import type { Problem } from '@ambient/policy'
import type { JoinRequest, MeshStatus } from './control/types.ts'
import type { MeshListener } from './events.ts'
import type { JoinedWorkload } from './join/joined-workload.ts'
import type { ExecOptions, Execution } from './process/exec.ts'
import type { Relay } from './relay.ts'
import type { MeshNode, MeshPod, MeshWaypoint } from './views.ts'

/** A certificate of the mesh's CA, for a peer that is not one of its workloads. */
export interface IssuedIdentity {
  /** PEM, leaf first. */
  readonly certificateChain: string
  /** PKCS#8 PEM. */
  readonly privateKey: string
  readonly rootPem: string
}

export interface Mesh {
  /**
   * Resolves when the ztunnels are ready and the pods had their time to become so.
   * @throws MeshError `AMBIENT_E_MESH_MANIFESTS`, `_PORT_IN_USE`, `_LOOPBACK`, `_NOT_READY`; everything is closed then.
   */
  start(): Promise<void>
  /** Ends every process that it started, removes every file that it wrote. Idempotent. */
  close(options?: { readonly graceMs?: number }): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
  /** The manifests' folder. */
  readonly folder: string
  /** `127.R.0.0/16`, empty before `start`. */
  readonly cidr: string
  readonly nodes: readonly MeshNode[]
  /** @throws MeshError `AMBIENT_E_MESH_NOT_FOUND` */
  ztunnel(node: string): MeshNode
  readonly waypoints: readonly MeshWaypoint[]
  /**
   * By `namespace/name` of its Gateway, or the name alone.
   * @throws MeshError `AMBIENT_E_MESH_NOT_FOUND`
   */
  waypoint(name: string): MeshWaypoint
  readonly pods: readonly MeshPod[]
  /**
   * By pod or Deployment, with or without `namespace/`; of several the first.
   * @throws MeshError `AMBIENT_E_MESH_NOT_FOUND`
   */
  pod(name: string): MeshPod
  /** The network between nodes; `undefined` without one or before `start`. */
  readonly relay: Relay | undefined
  readonly controlPlane: {
    readonly url: string
    readonly rootPem: string
    clients(): readonly ClientStatus[]
  }
  /** Problems of the manifests as they are now; with an error among them the last good configuration is served. */
  readonly problems: readonly Problem[]
  /** Counts the configurations that were taken. */
  readonly generation: number
  /** Resolves when every ztunnel and waypoint has acknowledged what was last published. */
  synced(signal?: AbortSignal): Promise<void>
  /** Of proxies, waypoints and pods: what they were told, and what they have. */
  status(): Promise<MeshStatus>
  /**
   * A workload for this process: connections and requests in its name, until it leaves.
   * @throws MeshError `AMBIENT_E_MESH_OPTIONS`, `AMBIENT_E_MESH_NOT_FOUND`
   */
  join(request: JoinRequest, signal?: AbortSignal): Promise<JoinedWorkload>
  /** Runs a command as a pod: its environment, its address, its identity. */
  exec(pod: string, argv: readonly string[], options?: ExecOptions): Promise<Execution>
  /** Signs for any identity of the mesh: for tests and for tools that speak HBONE themselves. */
  issueIdentity(id: string | { namespace: string; serviceAccount: string }): Promise<IssuedIdentity>
  /** Returns the function that unsubscribes. */
  subscribe(listener: MeshListener): () => void
}
