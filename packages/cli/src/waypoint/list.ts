/** `ambient waypoint list`: the waypoints of the folder, and whether the running mesh has programmed them. */
import { type CliHost, EXIT_OK } from '../host.ts'
import { readFolder } from '../manifests/folder.ts'
import { type OutputFormat, render } from '../output.ts'
import type { WaypointStatus } from '@ambient/mesh'
import { findTarget, withMesh } from '../session/target.ts'
import { formatTable } from '../table.ts'
import { type Waypoint, waypointsOf } from './gateway.ts'

export interface ListOptions {
  readonly namespace: string
  readonly allNamespaces: boolean
  readonly mesh?: string
  readonly output: OutputFormat
}

interface ListedWaypoint {
  readonly namespace: string
  readonly name: string
  readonly revision: string
  readonly trafficType: string
  /** As a condition's status: `Unknown` when no mesh runs. */
  readonly programmed: 'True' | 'False' | 'Unknown'
}

export async function list(options: ListOptions, host: CliHost): Promise<number> {
  const target = await findTarget(options.mesh)
  const folder = await readFolder(target.folder)
  const waypoints = waypointsOf(folder, options.allNamespaces ? undefined : options.namespace)
  const known = target.running
    ? await withMesh(target.folder, async mesh => (await mesh.status()).waypoints)
    : undefined
  const listed = waypoints.map(waypoint => listedAs(waypoint, known))
  if (listed.length === 0 && options.output === 'table') {
    host.stderr(
      options.allNamespaces
        ? 'No waypoints found.\n'
        : `No waypoints found in namespace ${options.namespace}.\n`,
    )
    return EXIT_OK
  }
  host.stdout(render(options.output, listed, () => table(listed, options.allNamespaces)))
  return EXIT_OK
}

function listedAs(waypoint: Waypoint, known: readonly WaypointStatus[] | undefined): ListedWaypoint {
  const { namespace, name, revision, trafficType } = waypoint
  const status = known?.find(other => other.namespace === namespace && other.name === name)
  const programmed = known === undefined ? 'Unknown' : status?.programmed === true ? 'True' : 'False'
  return { namespace, name, revision, trafficType, programmed }
}

function table(listed: readonly ListedWaypoint[], withNamespace: boolean): string {
  const rows = listed.map(({ namespace, name, revision, trafficType, programmed }) => [
    ...(withNamespace ? [namespace] : []),
    name,
    revision,
    trafficType,
    programmed,
  ])
  const head = ['NAME', 'REVISION', 'TRAFFIC TYPE', 'PROGRAMMED']
  return formatTable([withNamespace ? ['NAMESPACE', ...head] : head, ...rows])
}
