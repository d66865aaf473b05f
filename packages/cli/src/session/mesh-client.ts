/** INTERIM: what @ambient/mesh will export. */
import type { Problem } from '@ambient/policy'
export interface RunningMesh {
  readonly folder: string
  readonly pid: number
  readonly socketPath: string
}
export interface ProxyStatus {
  readonly name: string
  readonly kind: 'ztunnel' | 'waypoint'
  readonly node: string
  readonly pid?: number | undefined
  readonly ready: boolean
  readonly startedAt?: number | undefined
  readonly restarts: number
  readonly types: readonly {
    readonly type: string
    readonly state: string
    readonly version: string
    readonly nack?: string
  }[]
  readonly certificates: readonly {
    readonly identity: string
    readonly state: string
    readonly serial?: string
    readonly notBefore?: number
    readonly notAfter?: number
  }[]
}
export interface WaypointStatus {
  readonly namespace: string
  readonly name: string
  readonly revision: string
  readonly trafficType: string
  readonly programmed: boolean
  readonly reason: string
  readonly message: string
  readonly address: string
}
export interface MeshStatus {
  readonly folder: string
  readonly cidr: string
  readonly generation: number
  readonly problems: readonly Problem[]
  readonly proxies: readonly ProxyStatus[]
  readonly waypoints: readonly WaypointStatus[]
}
export interface MeshClient {
  readonly folder: string
  readonly cidr: string
  status(): Promise<MeshStatus>
  synced(signal?: AbortSignal): Promise<void>
  close(): Promise<void>
}
export async function findMeshes(): Promise<readonly RunningMesh[]> {
  return []
}
export async function connectMesh(_o: { folder?: string } = {}): Promise<MeshClient> {
  throw new Error('not there yet')
}
