/** What of a mesh lint and where ask about, as plain data: whoever has manifests or a cluster makes it from them. */

export interface MeshFacts {
  readonly workloads: readonly MeshWorkload[]
  readonly services: readonly MeshService[]
  readonly waypoints: readonly MeshWaypoint[]
  /** Ingress gateways: Gateways of any other class. */
  readonly gateways: readonly MeshGateway[]
  /** Absent: nobody knows which there are. */
  readonly namespaces?: readonly string[]
  /** `namespace/name`. Absent: nobody knows which there are. */
  readonly serviceAccounts?: readonly string[]
}

/** Pods that are alike, mostly those of one Deployment. */
export interface MeshWorkload {
  readonly namespace: string
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly serviceAccount: string
  /** Those that its containers name; others may be open. */
  readonly ports: readonly number[]
  /** `none`: not in the mesh. */
  readonly proxy: 'ztunnel' | 'sidecar' | 'none'
  /** `namespace/name` of the waypoint for traffic to the pod's own address. */
  readonly waypoint?: string
}

export interface MeshService {
  /** `Service` when absent. */
  readonly kind?: 'Service' | 'ServiceEntry'
  readonly namespace: string
  readonly name: string
  readonly hostname: string
  readonly ports: readonly MeshServicePort[]
  /** `namespace/name` of the workloads that it selects. */
  readonly workloads: readonly string[]
  /** `namespace/name` of the waypoint for traffic to the service. */
  readonly waypoint?: string
}

export interface MeshServicePort {
  readonly port: number
  /** By number; 0 for one that each container names for itself. */
  readonly targetPort: number
  /** `opaque`: its bytes are not looked at as HTTP. */
  readonly protocol: 'http' | 'opaque'
}

export interface MeshWaypoint {
  readonly namespace: string
  readonly name: string
  readonly serviceAccount: string
}

export interface MeshGateway {
  readonly namespace: string
  readonly name: string
  readonly className: string
  /** Of its pods. */
  readonly labels: Readonly<Record<string, string>>
}

/** `namespace/name`. */
export function keyOfNamed({
  namespace,
  name,
}: {
  readonly namespace: string
  readonly name: string
}): string {
  return `${namespace}/${name}`
}

/** The waypoints that traffic to a workload may come through, by `namespace/name`: its own, and those of its services. */
export function waypointsOf(workload: MeshWorkload, mesh: MeshFacts): readonly string[] {
  const key = keyOfNamed(workload)
  const behind = mesh.services.filter(({ workloads }) => workloads.includes(key))
  const named = [workload.waypoint, ...behind.map(({ waypoint }) => waypoint)]
  return [...new Set(named.flatMap(name => name ?? []))].sort()
}
