/** `ambient waypoint status`: the Programmed condition of each waypoint of the running mesh. */
import { type CliHost, EXIT_FAILED, EXIT_OK } from '../host.ts'
import { type OutputFormat, render } from '../output.ts'
import type { WaypointStatus } from '@ambient/mesh'
import { withMesh } from '../session/target.ts'
import { formatTable } from '../table.ts'
import { programmed, type ReadyOptions } from './ready.ts'

export interface StatusOptions extends ReadyOptions {
  readonly namespace: string
  readonly allNamespaces: boolean
  readonly wait: boolean
  readonly output: OutputFormat
}

/** Exit code 1 when one is not programmed. */
export async function status(options: StatusOptions, host: CliHost): Promise<number> {
  const isAskedFor = ({ namespace }: WaypointStatus): boolean =>
    options.allNamespaces || namespace === options.namespace
  const waypoints = await withMesh(options.mesh, async mesh => {
    const now = (await mesh.status()).waypoints.filter(isAskedFor)
    // None is an answer; there is nothing to wait for.
    return now.length === 0 || !options.wait ? now : programmed(mesh, isAskedFor, options.waypointTimeout)
  })
  if (waypoints.length === 0 && options.output === 'table') {
    host.stderr(
      options.allNamespaces
        ? 'No waypoints found.\n'
        : `No waypoints found in namespace ${options.namespace}.\n`,
    )
    return EXIT_OK
  }
  host.stdout(render(options.output, waypoints, () => table(waypoints)))
  return waypoints.every(waypoint => waypoint.programmed) ? EXIT_OK : EXIT_FAILED
}

function table(waypoints: readonly WaypointStatus[]): string {
  const rows = waypoints.map(({ namespace, name, programmed: isProgrammed, reason, message }) => [
    namespace,
    name,
    isProgrammed ? 'True' : 'False',
    'Programmed',
    reason,
    message,
  ])
  return formatTable([['NAMESPACE', 'NAME', 'STATUS', 'TYPE', 'REASON', 'MESSAGE'], ...rows])
}
