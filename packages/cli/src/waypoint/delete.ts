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

interface Deleted {
  readonly waypoints: readonly { readonly namespace: string; readonly name: string }[]
  /** What still names one of them. */
  readonly users: readonly string[]
}

export async function deleteWaypoints(
  names: readonly string[],
  options: DeleteOptions,
  host: CliHost,
): Promise<number> {
  assertClear(names, options)
  const edited = await editMesh(options.mesh, folder => deleteFrom(folder, names, options))
  const { waypoints, users } = edited.result
  const { files, generation } = edited
  host.stdout(
    render(options.output, { ...edited.result, files, generation }, () =>
      waypoints.map(({ namespace, name }) => `waypoint ${namespace}/${name} deleted\n`).join(''),
    ),
  )
  if (waypoints.length === 0) host.stderr(`No waypoints found in namespace ${options.namespace}.\n`)
  for (const user of users) host.stderr(`⚠️ Warning: ${user} still names it in its label ${USE_WAYPOINT}\n`)
  tellEdit(edited, host)
  return EXIT_OK
}

/**
 * Pure: the folder without the waypoints.
 * @throws CliError `AMBIENT_E_CLI_NOT_FOUND`
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
  const users = waypoints.flatMap(waypoint => usersOf(after, waypoint))
  return { folder: after, result: { waypoints, users } }
}

function assertClear(names: readonly string[], { all, revision }: DeleteOptions): void {
  const isVague = names.length === 0 && !all && revision === undefined
  const isDouble = names.length > 0 && (all || revision !== undefined)
  if (isVague)
    throw new CliError('AMBIENT_E_CLI_USAGE', 'name the waypoints to delete, or --all, or --revision')
  if (isDouble) throw new CliError('AMBIENT_E_CLI_USAGE', 'either names, or --all, or --revision')
}

function usersOf(
  folder: ManifestFolder,
  waypoint: { readonly namespace: string; readonly name: string },
): readonly string[] {
  return objectsOf(folder.files)
    .objects.filter(({ kind, name, namespace, labels }) => {
      const own = kind === 'Namespace' ? name : namespace || 'default'
      const home = labels[`${USE_WAYPOINT}-namespace`] ?? own
      return labels[USE_WAYPOINT] === waypoint.name && home === waypoint.namespace
    })
    .map(({ kind, name, namespace }) =>
      kind === 'Namespace' ? `namespace ${name}` : `${kind} ${namespace || 'default'}/${name}`,
    )
}
