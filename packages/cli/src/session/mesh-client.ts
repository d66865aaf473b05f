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
  readonly pods: readonly MeshPodFacts[]
}
export interface MeshClient {
  readonly folder: string
  readonly cidr: string
  status(): Promise<MeshStatus>
  synced(signal?: AbortSignal): Promise<void>
  join(o: {
    namespace: string
    serviceAccount: string
    name?: string
    ports?: readonly number[]
  }): Promise<JoinedWorkload>
  close(): Promise<void>
}
export async function findMeshes(): Promise<readonly RunningMesh[]> {
  return []
}
export async function connectMesh(_o: { folder?: string } = {}): Promise<MeshClient> {
  throw new Error('not there yet')
}

export interface MeshPodFacts {
  readonly namespace: string
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly node: string
  readonly address: string
  readonly ready: boolean
  readonly restarts: number
  readonly startedAt: number
}
export interface JoinedWorkload {
  readonly name: string
  readonly namespace: string
  readonly address: string
  readonly node: string
  readonly identity: string
  readonly enrolled: boolean
  readonly environment: Readonly<Record<string, string>>
  readonly socks: {
    readonly address: string
    readonly port: number
    readonly username: string
    readonly password: string
  }
  leave(): Promise<void>
}
