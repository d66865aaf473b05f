/** What a mesh tells those who watch it. Data only: nothing is decided by a listener. */
import type { Problem } from '@ambient/policy'

/** A pod's program, a node's proxy, or a command that was started in a pod. */
export interface EventSource {
  readonly kind: 'pod' | 'ztunnel' | 'waypoint' | 'exec'
  /** `namespace/pod`, the node's name, or a Gateway's `namespace/name`. */
  readonly name: string
  /** Of a pod with several. */
  readonly container?: string
}

export type MeshEvent =
  | {
      readonly kind: 'output'
      readonly source: EventSource
      readonly stream: 'stdout' | 'stderr'
      readonly line: string
    }
  | { readonly kind: 'started'; readonly source: EventSource; readonly pid: number }
  | {
      readonly kind: 'exited'
      readonly source: EventSource
      readonly code: number | null
      readonly signal: string | null
      /** Why it could not even be started. */
      readonly failure?: string
      /** Absent when it stays down. */
      readonly restartInMs?: number
      /** The mesh ended it, because it is no longer wanted. */
      readonly asked: boolean
    }
  /** The manifests, as they are now, were refused (any error) or have warnings only. */
  | {
      readonly kind: 'problems'
      readonly problems: readonly Problem[]
      /** What the mesh goes on with. */
      readonly serving: 'last good configuration' | 'this configuration' | 'nothing'
    }
  /** A configuration was taken: its number, and the pods that it started and ended. */
  | {
      readonly kind: 'applied'
      readonly generation: number
      readonly started: readonly string[]
      readonly ended: readonly string[]
      readonly enrolled: readonly string[]
      readonly left: readonly string[]
    }
  | { readonly kind: 'waypoint-ready'; readonly waypoint: string; readonly ready: boolean }
  | { readonly kind: 'waypoint-removed'; readonly waypoint: string }
  | { readonly kind: 'pod-ready'; readonly pod: string; readonly ready: boolean }
  | { readonly kind: 'pod-removed'; readonly pod: string }
  /** The start waits for these pods and waypoints; it goes on without them after `timeoutMs` in all. */
  | { readonly kind: 'waiting'; readonly names: readonly string[]; readonly timeoutMs: number }
  /** A proxy (a node's name, `POD.NAMESPACE` of a waypoint) asked for something that it may not have. */
  | { readonly kind: 'refused'; readonly node: string | undefined; readonly reason: string }
  | { readonly kind: 'warning'; readonly message: string }

export type MeshListener = (event: MeshEvent) => void
