/** `ambient waypoint delete`: Gateways out of the mesh's folder. */
import { CliError } from '../errors.ts'
import { type CliHost, EXIT_OK } from '../host.ts'
import { removeObject } from '../manifests/edit.ts'
import { type ManifestFolder, withFile } from '../manifests/folder.ts'
import { type OutputFormat, render } from '../output.ts'
import { type Edit, editMesh, tellEdit } from '../session/edit-mesh.ts'
import { objectsOf } from '../manifests/objects.ts'
import { USE_WAYPOINT, waypointsOf } from './gateway.ts'

export interface DeleteOptions {
  readonly namespace: string
  readonly all: boolean
  readonly revision?: string
  readonly mesh?: string
  readonly output: OutputFormat
}

interface WaypointName {
  readonly namespace: string
  readonly name: string
}

interface Deleted {
  readonly waypoints: readonly WaypointName[]
}

export async function deleteWaypoints(
  names: readonly string[],
  options: DeleteOptions,
  host: CliHost,
): Promise<number> {
  assertClear(names, options)
  const edited = await editMesh(options.mesh, folder => deleteFrom(folder, names, options))
  const { waypoints } = edited.result
  const { files, generation } = edited
  host.stdout(
    render(options.output, { ...edited.result, files, generation }, () =>
      waypoints.map(({ namespace, name }) => `waypoint ${namespace}/${name} deleted\n`).join(''),
    ),
  )
  if (waypoints.length === 0) host.stderr(`No waypoints found in namespace ${options.namespace}.\n`)
  tellEdit(edited, host)
  return EXIT_OK
}

/**
 * Pure: the folder without the waypoints.
 * @throws CliError `AMBIENT_E_CLI_NOT_FOUND`, `AMBIENT_E_CLI_MANIFESTS` when one is in use
 */
export function deleteFrom(
  folder: ManifestFolder,
  names: readonly string[],
  options: Pick<DeleteOptions, 'namespace' | 'revision'>,
): Edit<Deleted> {
  const present = waypointsOf(folder, options.namespace)
  const missing = names.find(name => present.every(waypoint => waypoint.name !== name))
  if (missing !== undefined) {
    const where = `in namespace ${options.namespace} of ${folder.shown}`
    throw new CliError('AMBIENT_E_CLI_NOT_FOUND', `there is no waypoint ${missing} ${where}`)
  }
  const chosen = present.filter(
    ({ name, revision }) =>
      (names.length === 0 || names.includes(name)) &&
      (options.revision === undefined || options.revision === revision),
  )
  // From the end of each file, so that the places of those before stay true.
  const places = chosen.map(({ object }) => object.place)
  places.sort((a, b) => b.document - a.document || (b.item ?? 0) - (a.item ?? 0))
  const after = places.reduce(
    (current, place) =>
      withFile(current, place.path, removeObject(current.files.get(place.path) ?? '', place)),
    folder,
  )
  const waypoints = chosen.map(({ namespace, name }) => ({ namespace, name }))
  for (const waypoint of waypoints) assertUnused(after, waypoint)
  return { folder: after, result: { waypoints } }
}

/**
 * A label that names nothing stops the mesh from taking the folder, and rightly so: whoever relies on a waypoint's
 * policies must not lose them unseen.
 */
function assertUnused(folder: ManifestFolder, waypoint: WaypointName): void {
  const users = usersOf(folder, waypoint)
  if (users.length === 0) return
  const cures = users.map(user => `ambient label ${user} ${USE_WAYPOINT}-`).join('; ')
  const message = `waypoint ${waypoint.namespace}/${waypoint.name} is still in use; first: ${cures}`
  throw new CliError('AMBIENT_E_CLI_MANIFESTS', message, { layer: 'config' })
}

function assertClear(names: readonly string[], { all, revision }: DeleteOptions): void {
  const isVague = names.length === 0 && !all && revision === undefined
  const isDouble = names.length > 0 && (all || revision !== undefined)
  if (isVague)
    throw new CliError('AMBIENT_E_CLI_USAGE', 'name the waypoints to delete, or --all, or --revision')
  if (isDouble) throw new CliError('AMBIENT_E_CLI_USAGE', 'either names, or --all, or --revision')
}

/** Who names it, as arguments of `ambient label`. */
function usersOf(folder: ManifestFolder, waypoint: WaypointName): readonly string[] {
  return objectsOf(folder.files)
    .objects.filter(({ kind, name, namespace, labels }) => {
      const own = kind === 'Namespace' ? name : namespace || 'default'
      const home = labels[`${USE_WAYPOINT}-namespace`] ?? own
      return labels[USE_WAYPOINT] === waypoint.name && home === waypoint.namespace
    })
    .map(({ kind, name, namespace }) =>
      kind === 'Namespace' ? `ns ${name}` : `${kind.toLowerCase()} ${name} -n ${namespace || 'default'}`,
    )
}
