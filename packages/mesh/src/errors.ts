/** What can go wrong with a mesh on one machine. */
import { AmbientError } from '@ambient/core'

export type MeshErrorCode =
  /** An option has a value that cannot work. */
  | 'AMBIENT_E_MESH_OPTIONS'
  /** The manifests have problems and there is no earlier good state to serve. */
  | 'AMBIENT_E_MESH_MANIFESTS'
  /** A port is taken; the message names it and, where the system says so, its holder. */
  | 'AMBIENT_E_MESH_PORT_IN_USE'
  /** This machine has no loopback addresses beside 127.0.0.1; the message says how to add them. */
  | 'AMBIENT_E_MESH_LOOPBACK'
  /** No address is left in the mesh's block. */
  | 'AMBIENT_E_MESH_ADDRESSES'
  /** A program could not be started at all. */
  | 'AMBIENT_E_MESH_SPAWN'
  /** A proxy or a pod did not become ready in time. */
  | 'AMBIENT_E_MESH_NOT_READY'
  /** No such pod or node, or more than one. */
  | 'AMBIENT_E_MESH_NOT_FOUND'
  /** A connection through the mesh could not be made; the message has the proxy's reason. */
  | 'AMBIENT_E_MESH_CONNECT'
  /** No mesh of this user runs here, or not the one that was asked for; or several, and none was named. */
  | 'AMBIENT_E_MESH_NOT_RUNNING'
  /** A running mesh refused a request, or its process ended meanwhile. */
  | 'AMBIENT_E_MESH_CONTROL'
  | 'AMBIENT_E_MESH_CLOSED'

export class MeshError extends AmbientError<MeshErrorCode> {}
