/** `ambient label`: labels of the objects in the mesh's folder, with kubectl's words. */
import { type Command, InvalidArgumentError } from 'commander'
import { stringify } from 'yaml'
import { addCommand, type CommandContext, dnsLabel, meshOption, outputOption } from './command-line.ts'
import { CliError } from './errors.ts'
import { type CliHost, EXIT_OK } from './host.ts'
import { setStrings } from './manifests/edit.ts'
import { findObject, freePath, type ManifestFolder, withFile } from './manifests/folder.ts'
import type { ManifestObject } from './manifests/objects.ts'
import { type OutputFormat, render } from './output.ts'
import { type Edit, editMesh, tellEdit } from './session/edit-mesh.ts'

const EXAMPLES = `
Examples:
  $ ambient label ns bookinfo istio.io/dataplane-mode=ambient     into the mesh
  $ ambient label ns bookinfo istio.io/dataplane-mode-            out of it
  $ ambient label ns bookinfo istio.io/use-waypoint=waypoint --overwrite
  $ ambient label svc reviews -n bookinfo istio.io/use-waypoint=none
`

/** `undefined` removes the label. */
export interface LabelChange {
  readonly key: string
  readonly value: string | undefined
}

interface LabelOptions {
  readonly namespace: string
  readonly overwrite: boolean
  readonly mesh?: string
  readonly output: OutputFormat
}

/** What happened to an object, in kubectl's word for it. */
export interface Labelled {
  readonly kind: string
  readonly name: string
  readonly change: 'labeled' | 'unlabeled' | 'not labeled'
  readonly labels: Readonly<Record<string, string>>
  /** Labels that were to be removed and are not there. */
  readonly missing: readonly string[]
}

interface LabelTarget {
  readonly kind: string
  readonly namespace: string
  readonly name: string
}

const KINDS: Readonly<Record<string, string>> = {
  ns: 'Namespace',
  namespace: 'Namespace',
  namespaces: 'Namespace',
  svc: 'Service',
  service: 'Service',
  services: 'Service',
  po: 'Pod',
  pod: 'Pod',
  pods: 'Pod',
  gateway: 'Gateway',
  gateways: 'Gateway',
}

export function registerLabel(program: Command, context: CommandContext): void {
  addCommand(program, 'label', "set or remove labels in the mesh's folder", context)
    .argument('<type>', 'ns, svc, pod or gateway', kindOf)
    .argument('<name>', 'of the object')
    .argument('<labels...>', 'KEY=VALUE to set, KEY- to remove', collectLabel)
    .option('-n, --namespace <name>', 'of the object', dnsLabel, 'default')
    .option('--overwrite', 'replace values that are there', false)
    .addOption(meshOption())
    .addOption(outputOption())
    .addHelpText('after', EXAMPLES)
    .action(async (kind: string, name: string, changes: readonly LabelChange[], options: LabelOptions) => {
      const namespace = kind === 'Namespace' ? '' : options.namespace
      context.finish(await label({ kind, namespace, name }, changes, options, context.host))
    })
}

async function label(
  target: LabelTarget,
  changes: readonly LabelChange[],
  options: LabelOptions,
  host: CliHost,
): Promise<number> {
  const edited = await editMesh(options.mesh, folder =>
    labelObject(folder, target, changes, options.overwrite),
  )
  const { result, files, generation } = edited
  for (const key of result.missing) host.stderr(`label "${key}" not found.\n`)
  const facts = { objects: [result], files, generation }
  host.stdout(
    render(options.output, facts, () => `${result.kind.toLowerCase()}/${result.name} ${result.change}\n`),
  )
  tellEdit(edited, host)
  return EXIT_OK
}

/**
 * Pure: the folder with the labels set and removed. A Namespace that is not there is made.
 * @throws CliError `AMBIENT_E_CLI_LABEL_EXISTS`, `_NOT_FOUND`, `_MANIFESTS`
 */
export function labelObject(
  folder: ManifestFolder,
  target: LabelTarget,
  changes: readonly LabelChange[],
  overwrite: boolean,
): Edit<Labelled> {
  const found = findObject(folder, target)
  if (found === undefined) return createNamespace(folder, target, changes)
  if (!overwrite) assertNew(found, changes)
  const effective = changes.filter(({ key, value }) => found.labels[key] !== value)
  const text = setStrings(
    folder.files.get(found.place.path) ?? '',
    found.place,
    effective.map(({ key, value }) => ({ path: ['metadata', 'labels'], key, value })),
  )
  const sets = effective.some(({ value }) => value !== undefined)
  const change = effective.length === 0 ? 'not labeled' : sets ? 'labeled' : 'unlabeled'
  const missing = changes.filter(({ key, value }) => value === undefined && found.labels[key] === undefined)
  return {
    folder: withFile(folder, found.place.path, text),
    result: {
      kind: target.kind,
      name: target.name,
      change,
      labels: applied(found.labels, changes),
      missing: missing.map(({ key }) => key),
    },
  }
}

function createNamespace(
  folder: ManifestFolder,
  { kind, namespace, name }: LabelTarget,
  changes: readonly LabelChange[],
): Edit<Labelled> {
  const labels = applied({}, changes)
  const missing = changes.filter(({ value }) => value === undefined).map(({ key }) => key)
  if (kind !== 'Namespace') {
    const where = `in namespace ${namespace} of ${folder.shown}`
    throw new CliError('AMBIENT_E_CLI_NOT_FOUND', `there is no ${kind} ${name} ${where}`)
  }
  if (Object.keys(labels).length === 0)
    return { folder, result: { kind, name, change: 'not labeled', labels, missing } }
  const text = stringify({ apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } })
  const path = freePath(folder, `namespace-${name}`)
  return { folder: withFile(folder, path, text), result: { kind, name, change: 'labeled', labels, missing } }
}

function assertNew({ labels }: ManifestObject, changes: readonly LabelChange[]): void {
  for (const { key, value } of changes) {
    const present = labels[key]
    if (present === undefined || value === undefined || present === value) continue
    const message = `'${key}' already has a value (${present}), and --overwrite is false`
    throw new CliError('AMBIENT_E_CLI_LABEL_EXISTS', message)
  }
}

function applied(
  labels: Readonly<Record<string, string>>,
  changes: readonly LabelChange[],
): Readonly<Record<string, string>> {
  const next = new Map(Object.entries(labels))
  for (const { key, value } of changes) {
    if (value === undefined) next.delete(key)
    else next.set(key, value)
  }
  return Object.fromEntries(next)
}

function kindOf(value: string): string {
  const kind = KINDS[value.toLowerCase()]
  if (kind === undefined) throw new InvalidArgumentError('expected ns, svc, pod or gateway.')
  return kind
}

const NAME = /^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$/
const PREFIX = /^(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/

function collectLabel(text: string, previous: readonly LabelChange[] | undefined): readonly LabelChange[] {
  return [...(previous ?? []), labelChange(text)]
}

/** `KEY=VALUE` or `KEY-`, by Kubernetes' rules for both. */
export function labelChange(text: string): LabelChange {
  const [, key = '', value] = /^([^=]*?)(?:=(.*)|-)$/.exec(text) ?? []
  const slash = key.indexOf('/')
  const [prefix, name] = slash < 0 ? [undefined, key] : [key.slice(0, slash), key.slice(slash + 1)]
  if (!NAME.test(name) || (prefix !== undefined && !PREFIX.test(prefix)))
    throw new InvalidArgumentError('expected KEY=VALUE or KEY-.')
  if (value !== undefined && value !== '' && !NAME.test(value))
    throw new InvalidArgumentError('a label value has at most 63 of a-z, A-Z, 0-9, "-", "_" and ".".')
  return { key, value }
}
