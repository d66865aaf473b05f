/** Certificates follow the workloads of our node: fetched ahead for those in the mesh, forgotten with the last of them. */
import type { Directory, SpiffeId } from '@ambient/core'
import { workloadIdentity } from '@ambient/core/proxy'
import type { IdentityManager } from '@ambient/identity'

/** Returns the function that ends it. */
export function followIdentities(options: {
  readonly directory: Directory
  readonly nodeName: string
  readonly trustDomain: string
  readonly manager: IdentityManager
}): () => void {
  const { directory, nodeName, trustDomain, manager } = options
  let held = new Map<string, SpiffeId>()
  const reconcile = (): void => {
    const wanted = new Map<string, SpiffeId>()
    const placed = new Set<string>()
    for (const workload of directory.workloadsOnNode(nodeName)) {
      const id = workloadIdentity(workload, trustDomain)
      if (id === undefined) continue
      placed.add(id.uri)
      // One that speaks HBONE itself, such as a waypoint, has its own certificate.
      if (workload.protocol === 'HBONE' && !workload.nativeTunnel) wanted.set(id.uri, id)
    }
    for (const [uri, id] of held) {
      if (placed.has(uri)) wanted.set(uri, id)
      else manager.forget(id)
    }
    for (const [uri, id] of wanted) if (!held.has(uri)) manager.prefetch(id)
    held = wanted
  }
  reconcile()
  return directory.watch(reconcile)
}
