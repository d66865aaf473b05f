/**
 * A whole ambient mesh on one machine, as an object: control plane and CA, a ztunnel per node, the workloads' programs.
 * @packageDocumentation
 */
export { MeshError, type MeshErrorCode } from './errors.ts'
export type { IssuedIdentity, Mesh } from './contract.ts'
export { createMesh } from './mesh.ts'
export type { MeshOptions } from './options.ts'
export type { EventSource, MeshEvent, MeshListener } from './events.ts'
export { connectMesh, findMeshes, type MeshClient, type RunningMesh } from './control/client.ts'
export type {
  JoinFacts,
  JoinRequest,
  MeshPodFacts,
  MeshStatus,
  ProxyCertificate,
  ProxyStatus,
  SocksEntrance,
  TypeStatus,
  WaypointStatus,
} from './control/types.ts'
export type { JoinedWorkload } from './join/joined-workload.ts'
export { socksConnect, type SocksTarget } from './join/socks-client.ts'
export type { MeshNode, MeshPod, MeshWaypoint } from './views.ts'
export type { ExecOptions, ExecResult, Execution } from './process/exec.ts'
export {
  createRelay,
  type MarkerWatch,
  type Relay,
  type RelayOptions,
  type RelayStats,
} from './relay.ts'
export { formatProblem, type Problem } from '@ambient/policy'
