/** `ambient waypoint apply`: a Gateway in the mesh's folder, and a namespace that uses it. */
import { type CliHost, EXIT_FAILED, EXIT_OK } from '../host.ts'
import { labelObject } from '../label.ts'
import { setStrings } from '../manifests/edit.ts'
import { findObject, freePath, type ManifestFolder, withFile } from '../manifests/folder.ts'
import { type OutputFormat, render } from '../output.ts'
import { type Edit, editMesh, tellEdit } from '../session/edit-mesh.ts'
import {
  DATAPLANE_MODE,
  gatewayChanges,
  gatewayYaml,
  USE_WAYPOINT,
  WAYPOINT_FOR,
  type WaypointSpec,
} from './gateway.ts'
import { noteDeprecation, type ShapeOptions, specOf } from './generate.ts'
import { waitUntilReady } from './ready.ts'

export interface ApplyOptions extends ShapeOptions {
  readonly namespace: string
  readonly enrollNamespace: boolean
  readonly overwrite: boolean
  readonly wait: boolean
  /** Milliseconds. */
  readonly waypointTimeout: number
  readonly mesh?: string
  readonly output: OutputFormat
}

interface Applied {
  /** `undefined` when it was not applied because the namespace uses another. */
  readonly waypoint: { readonly namespace: string; readonly name: string } | undefined
  readonly enrolled: boolean
  readonly warnings: readonly string[]
}

export async function apply(options: ApplyOptions, host: CliHost): Promise<number> {
  noteDeprecation(options, host)
  const spec = specOf(options, options.namespace)
  const edited = await editMesh(options.mesh, folder => applyWaypoint(folder, spec, options))
  const { waypoint, enrolled, warnings } = edited.result
  for (const warning of warnings) host.stderr(`⚠️ Warning: ${warning}\n`)
  if (waypoint === undefined) return EXIT_OK
  const key = `${waypoint.namespace}/${waypoint.name}`
  const isTable = options.output === 'table'
  const say = (text: string): void => {
    if (isTable) host.stdout(`✅ ${text}\n`)
  }
  say(`waypoint ${key} applied`)
  tellEdit(edited, host)
  const ready = options.wait ? await waitUntilReady(waypoint, options, host) : undefined
  if (ready === true) say(`waypoint ${key} is ready!`)
  if (enrolled) say(`namespace ${waypoint.namespace} labeled with "${USE_WAYPOINT}: ${waypoint.name}"`)
  if (!isTable) {
    const { files, generation } = edited
    host.stdout(render(options.output, { ...edited.result, ready, files, generation }, () => ''))
  }
  return ready === false ? EXIT_FAILED : EXIT_OK
}

/** Pure: the folder with the waypoint in it. */
export function applyWaypoint(
  folder: ManifestFolder,
  spec: WaypointSpec,
  options: Pick<ApplyOptions, 'for' | 'enrollNamespace' | 'overwrite'>,
): Edit<Applied> {
  const { namespace, name } = spec
  const home = findObject(folder, { kind: 'Namespace', namespace: '', name: namespace })
  const warnings = warningsFor(namespace, home?.labels ?? {})
  const current = home?.labels[USE_WAYPOINT]
  if (options.enrollNamespace && !options.overwrite && current !== undefined && current !== name) {
    const other = `namespace ${namespace} already uses the waypoint ${current}: nothing was applied`
    const warning = `${other}; --overwrite makes it use ${name}`
    return { folder, result: { waypoint: undefined, enrolled: false, warnings: [...warnings, warning] } }
  }
  const written = writeGateway(folder, spec, options.for !== undefined)
  const result = { waypoint: { namespace, name }, enrolled: options.enrollNamespace, warnings }
  if (!options.enrollNamespace) return { folder: written, result }
  const label = { key: USE_WAYPOINT, value: name }
  const target = { kind: 'Namespace', namespace: '', name: namespace }
  return { folder: labelObject(written, target, [label], true).folder, result }
}

function writeGateway(folder: ManifestFolder, spec: WaypointSpec, typeIsAsked: boolean): ManifestFolder {
  const { namespace, name } = spec
  const found = findObject(folder, { kind: 'Gateway', namespace, name })
  if (found === undefined)
    return withFile(folder, freePath(folder, `waypoint-${namespace}-${name}`), gatewayYaml(spec))
  const text = folder.files.get(found.place.path) ?? ''
  // What the user wrote of its traffic stays, unless the command line says otherwise.
  const keepsType = !typeIsAsked && found.labels[WAYPOINT_FOR] !== undefined
  const changes = gatewayChanges(spec).filter(({ key }) => !(keepsType && key === WAYPOINT_FOR))
  return withFile(folder, found.place.path, setStrings(text, found.place, changes))
}

function warningsFor(namespace: string, labels: Readonly<Record<string, string>>): readonly string[] {
  if (labels[DATAPLANE_MODE] === 'ambient') return []
  const cure = `ambient label ns ${namespace} ${DATAPLANE_MODE}=ambient`
  return [
    `namespace ${namespace} is not in the ambient mesh, so nothing goes through a waypoint yet: ${cure}`,
  ]
}
