/** The parts that several kinds of `security.istio.io` share. */
import type { PolicyTargetReference, WorkloadSelector } from './authorization-policy.ts'
import { type ObjectMeta, readMetadata } from './metadata.ts'
import { limits } from '../limits.ts'
import { quote, type SourcePosition } from '../yaml/problem.ts'
import type { YamlObject, YamlReader } from '../yaml/reader.ts'

const API_VERSIONS = ['security.istio.io/v1', 'security.istio.io/v1beta1'] as const
const OBJECT_FIELDS = ['apiVersion', 'kind', 'metadata', 'spec', 'status'] as const
const TARGETS = new Set([
  '/Service',
  'networking.istio.io/ServiceEntry',
  'gateway.networking.k8s.io/Gateway',
  'gateway.networking.k8s.io/GatewayClass',
])

const EMPTY_SELECTOR =
  'an empty selector selects no workload in ambient mode, so nothing would be enforced; leave `selector` out to mean every workload of the namespace'

/** How strictly a document is read. */
export interface ReadOptions {
  /**
   * A selector without labels: refused by default, because nothing would be enforced; `warned` takes it as Istio does,
   * for whoever wants to know what Istio makes of it.
   */
  readonly emptySelector?: 'refused' | 'warned'
}

interface OpenedObject {
  readonly metadata: ObjectMeta
  readonly source: SourcePosition
  /** Absent for an empty spec. */
  readonly spec: YamlReader | undefined
}

/** Opens an object of the security API; `undefined` when it is no object of this kind or has no name. */
export function openObject(reader: YamlReader, kind: string): OpenedObject | undefined {
  const object = reader.object(OBJECT_FIELDS)
  if (object === undefined) return undefined
  const version = object.required('apiVersion')?.oneOf(API_VERSIONS)
  const found = object.required('kind')?.oneOf([kind])
  const metadata = readMetadata(object)
  if (version === undefined || found === undefined || metadata === undefined) return undefined
  return { metadata, source: reader.position, spec: object.get('spec') }
}

/**
 * `matchLabels` of a workload selector. Istio refuses wildcards; an empty one selects no workload in ambient mode
 * and every workload elsewhere, so whoever wrote it gets something else than meant: refused for the kinds that say so.
 */
export function readSelector(
  reader: YamlReader | undefined,
  empty: 'refused' | 'warned' | 'allowed',
): WorkloadSelector | undefined {
  const object = reader?.object(['matchLabels'])
  if (reader === undefined || object === undefined) return undefined
  const labels = object.get('matchLabels')
  const matchLabels = labels?.strings() ?? {}
  for (const [key, value] of Object.entries(matchLabels)) {
    if (key === '') labels?.problem('expected a label name, found an empty string')
    if (key.includes('*') || value.includes('*'))
      labels?.problem(`wildcards are not supported in a selector: ${quote(`${key}: ${value}`)}`)
  }
  if (empty !== 'allowed' && Object.keys(matchLabels).length === 0)
    reader.problem(EMPTY_SELECTOR, empty === 'refused' ? 'error' : 'warning')
  return { matchLabels }
}

/** `targetRefs`, or the older single `targetRef`. */
export function readTargetRefs(spec: YamlObject): readonly PolicyTargetReference[] | undefined {
  const one = spec.get('targetRef')
  const many = spec.get('targetRefs')
  if (one !== undefined && many !== undefined) one.problem('expected only one of targetRef and targetRefs')
  if (many === undefined) {
    const target = one === undefined ? undefined : readTargetRef(one)
    return target === undefined ? undefined : [target]
  }
  const targets = many.list(readTargetRef)
  if (targets.length > limits.maxTargetRefs)
    many.problem(`expected at most ${limits.maxTargetRefs} references, found ${targets.length}`)
  return targets.length === 0 ? undefined : targets
}

function readTargetRef(reader: YamlReader): PolicyTargetReference | undefined {
  const object = reader.object(['group', 'kind', 'name', 'namespace'])
  const kind = object?.required('kind')?.text()
  const name = object?.required('name')?.text()
  if (object === undefined || kind === undefined || name === undefined) return undefined
  const namespace = object.get('namespace')?.text()
  const written = object.get('group')?.string() ?? ''
  const target = { group: written === 'core' ? '' : written, kind, name }
  if (!TARGETS.has(`${target.group}/${kind}`)) {
    reader.problem(
      `expected ${[...TARGETS].map(text => text.replace(/^\//, '')).join(', ')}, found ${quote(`${target.group}/${kind}`)}`,
    )
    return undefined
  }
  return namespace === undefined ? target : { ...target, namespace }
}
