/** Route tables and clusters of a waypoint, compiled when first asked for and kept until what they say may differ. */
import type { Directory, Service } from '@ambient/core'
import { compileRoutes } from './compile.ts'
import { type ClusterConfig, clusterKey, resolveCluster, type ResolvedCluster } from './endpoints.ts'
import type { ClusterRef, RouteTable } from './ir.ts'
import type { RouteConfig } from './route-config.ts'

export interface SwitchboardOptions {
  readonly directory: Directory
  readonly config: RouteConfig & ClusterConfig & { watch(listener: () => void): () => void }
  readonly gatewayNamespace: string
  readonly clusterDomain: string
  /** Each sentence of a new table that cannot be carried out. */
  readonly onProblem?: (problem: string) => void
}

export interface Switchboard {
  tableFor(service: Service, port: number): RouteTable
  resolve(cluster: ClusterRef): ResolvedCluster
  /** Ends both watches. */
  close(): void
}

export function createSwitchboard(options: SwitchboardOptions): Switchboard {
  const { directory, config, gatewayNamespace, clusterDomain } = options
  // By service object: it is another one as soon as anything of the service has changed.
  let tables = new WeakMap<Service, Map<number, RouteTable>>()
  const clusters = new Map<string, ResolvedCluster>()
  const forget = (): void => {
    tables = new WeakMap()
    clusters.clear()
  }
  const endings = [
    config.watch(forget),
    directory.watch(({ services }) => (services.length > 0 ? forget() : clusters.clear())),
  ]
  return {
    tableFor(service, port) {
      const ports = tables.get(service) ?? new Map<number, RouteTable>()
      tables.set(service, ports)
      const known = ports.get(port)
      if (known !== undefined) return known
      const table = compileRoutes({ service, port, gatewayNamespace, config, directory, clusterDomain })
      for (const problem of table.problems) options.onProblem?.(problem)
      ports.set(port, table)
      return table
    },
    resolve(cluster) {
      const key = clusterKey(cluster)
      const known = clusters.get(key)
      if (known !== undefined) return known
      const resolved = resolveCluster({ cluster, directory, config, gatewayNamespace })
      clusters.set(key, resolved)
      return resolved
    },
    close() {
      for (const end of endings.splice(0)) end()
      forget()
    },
  }
}
