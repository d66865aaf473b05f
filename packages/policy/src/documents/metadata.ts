/** The part that every Kubernetes object has: kind, version, metadata. */
import { quote, type SourcePosition } from '../yaml/problem.ts'
import type { YamlObject, YamlReader } from '../yaml/reader.ts'

export interface ObjectMeta {
  readonly name: string
  /** Empty for an object without one; namespaced kinds read `default` then, as kubectl would have it. */
  readonly namespace: string
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
  /** Milliseconds since the epoch, when the object came from a cluster. */
  readonly creationTimestamp?: number
}

/** What this package's kinds have in common. `source` is where the document was read, absent for a built one. */
export interface PolicyObject {
  readonly metadata: ObjectMeta
  readonly source?: SourcePosition
}

/** Every field of `ObjectMeta` of Kubernetes: a file may come from `kubectl get -o yaml`. */
const META_FIELDS = [
  'name',
  'namespace',
  'labels',
  'annotations',
  'creationTimestamp',
  'generateName',
  'generation',
  'resourceVersion',
  'uid',
  'managedFields',
  'ownerReferences',
  'finalizers',
  'deletionTimestamp',
  'deletionGracePeriodSeconds',
  'selfLink',
] as const

/** RFC 1123: what Kubernetes takes for a name of most kinds. */
const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/
const LABEL = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/

/**
 * Reads `metadata` of an object whose fields were opened with `reader.object([...])`.
 * @returns `undefined` when it has no usable name; each mistake is recorded.
 */
export function readMetadata(
  object: YamlObject,
  scope: 'namespaced' | 'cluster' = 'namespaced',
): ObjectMeta | undefined {
  const meta = object.required('metadata')?.object(META_FIELDS)
  if (meta === undefined) return undefined
  const name = readName(meta.required('name'), SUBDOMAIN, 253)
  const namespace = readName(meta.get('namespace'), LABEL, 63)
  const created = readTimestamp(meta.get('creationTimestamp'))
  const labels = meta.get('labels')?.strings() ?? {}
  const annotations = meta.get('annotations')?.strings() ?? {}
  if (name === undefined) return undefined
  return {
    name,
    namespace: namespace ?? (scope === 'namespaced' ? 'default' : ''),
    labels,
    annotations,
    ...(created === undefined ? {} : { creationTimestamp: created }),
  }
}

function readName(reader: YamlReader | undefined, form: RegExp, maxLength: number): string | undefined {
  const name = reader?.text()
  if (name === undefined || (name.length <= maxLength && form.test(name))) return name
  const characters =
    form === SUBDOMAIN
      ? 'lower case letters, digits, dashes and dots'
      : 'lower case letters, digits and dashes'
  const expected = `at most ${maxLength} ${characters}`
  reader?.problem(`expected ${expected}, beginning and ending with a letter or digit, found ${quote(name)}`)
  return undefined
}

function readTimestamp(reader: YamlReader | undefined): number | undefined {
  const text = reader?.string()
  if (text === undefined) return undefined
  const time = /^\d{4}-\d{2}-\d{2}T/.test(text) ? Date.parse(text) : Number.NaN
  if (!Number.isNaN(time)) return time
  reader?.problem(`expected a time such as 2026-01-31T12:00:00Z, found ${quote(text)}`)
  return undefined
}
