/** The mesh as its data planes see it. */
import type { Service, Workload } from '@ambient/core'
import type { Authorization } from '@ambient/policy'
import type { Configuration } from '../configuration/document.ts'

/** Everything that WDS carries, by resource name. */
export interface AmbientState {
  /** By uid. */
  readonly workloads: ReadonlyMap<string, Workload>
  /** By `namespace/hostname`. */
  readonly services: ReadonlyMap<string, Service>
  /** By `namespace/name`. */
  readonly authorizations: ReadonlyMap<string, Authorization>
  /** What waypoints are told beside; none when absent. */
  readonly configuration?: Configuration
}
