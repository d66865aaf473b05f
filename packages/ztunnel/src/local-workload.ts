/** The workload that a proxy acts for, as discovery knows it now, with a bounded wait for one that is not known yet. */
import type { Clock, Directory, Workload } from '@ambient/core'
import type { WorkloadName } from './config/config.ts'
import { defaults } from './defaults.ts'
import { ZtunnelError } from './errors.ts'

export interface LocalWorkloadOptions {
  readonly directory: Directory
  readonly clock: Clock
  /** Finds it. */
  readonly find: () => Workload | undefined
  /** For the message. */
  readonly description: string
}

/** Resolves at once when the workload is known; rejects after the wait, with ztunnel's words. */
export function createLocalWorkload(options: LocalWorkloadOptions): () => Promise<Workload> {
  return () => {
    const known = options.find()
    return known === undefined ? waitFor(options) : Promise.resolve(known)
  }
}

/** By name, namespace and service account among the workloads of a node; ztunnel's rule for dedicated mode. */
export function findByName(directory: Directory, node: string, wanted: WorkloadName): Workload | undefined {
  return directory
    .workloadsOnNode(node)
    .find(
      workload =>
        workload.name === wanted.name &&
        workload.namespace === wanted.namespace &&
        (workload.serviceAccount === '' ? 'default' : workload.serviceAccount) === wanted.serviceAccount,
    )
}

function waitFor(options: LocalWorkloadOptions): Promise<Workload> {
  return new Promise((resolve, reject) => {
    const timer = options.clock.after(defaults.workloadWaitMs, () => {
      unwatch()
      reject(
        new ZtunnelError(
          'AMBIENT_E_UNKNOWN_WORKLOAD',
          `failed to fetch information about local workload: ${options.description}`,
          { layer: 'discovery' },
        ),
      )
    })
    const unwatch = options.directory.watch(() => {
      const found = options.find()
      if (found === undefined) return
      timer.cancel()
      unwatch()
      resolve(found)
    })
  })
}
