/** What readers of one kind share: the document's cursor and the checks that need all documents first. */
import type { YamlReader } from '@ambient/policy'
import type { DestinationRuleResource } from './destination-rule-types.ts'
import type { GatewayResource } from './gateway-types.ts'
import type { NamespaceResource, ServiceResource } from './types.ts'
import type { VirtualServiceResource } from './virtual-service-types.ts'

/** A pod, or the template of some, as selectors see it. */
export interface SelectablePods {
  readonly namespace: string
  readonly labels: Readonly<Record<string, string>>
  readonly serviceAccount: string
  readonly portNames: ReadonlySet<string>
}

/** Everything that a document may refer to. */
export interface Known {
  /** Empty when no namespace is written: then any is taken. */
  readonly namespaces: ReadonlySet<string>
  /** `namespace/name`. */
  readonly serviceAccounts: ReadonlySet<string>
  readonly nodes: ReadonlySet<string>
  /** `undefined` when a document with pods has errors: then nobody knows what is selected. */
  readonly pods: readonly SelectablePods[] | undefined
  /** By name; those with errors are left out. */
  readonly namespaceObjects: ReadonlyMap<string, NamespaceResource>
  /** By `namespace/name`; `undefined` for a document with errors. Empty when none is written: then any is taken. */
  readonly services: ReadonlyMap<string, ServiceResource | undefined>
  /** Hosts of ServiceEntries, which are not acted upon: what names them is no mistake. */
  readonly otherHosts: ReadonlySet<string>
  /** By `namespace/name`; `undefined` for a document with errors. */
  readonly gateways: ReadonlyMap<string, GatewayResource | undefined>
  readonly virtualServices: readonly VirtualServiceResource[]
  /** `undefined` when a DestinationRule has errors: then nobody knows which subsets there are. */
  readonly destinationRules: readonly DestinationRuleResource[] | undefined
}

/** Runs when every document was read; records its finding where the reference was written. */
export type ReferenceCheck = (known: Known) => void

export interface ReadContext {
  readonly check: (check: ReferenceCheck) => void
}

/** What readers of parts need to know of the whole. */
export interface ReadScope {
  /** Of the document. */
  readonly namespace: string
  readonly context: ReadContext
}

export function matchesLabels(
  selector: Readonly<Record<string, string>>,
  labels: Readonly<Record<string, string>>,
): boolean {
  return Object.entries(selector).every(([key, value]) => Object.hasOwn(labels, key) && labels[key] === value)
}

/** A selector that finds nobody is no mistake yet, but most often it is one. */
export function warnWhenNothingSelected(
  context: ReadContext,
  reader: YamlReader,
  namespace: string | undefined,
  selector: Readonly<Record<string, string>>,
): void {
  context.check(({ pods }) => {
    if (pods === undefined) return
    const found = pods.some(
      pod => (namespace === undefined || pod.namespace === namespace) && matchesLabels(selector, pod.labels),
    )
    const where = namespace === undefined ? 'any namespace' : `namespace ${namespace}`
    if (!found)
      reader.problem(`selects nothing: no pod or deployment of ${where} has these labels`, 'warning')
  })
}

/** The cursor of a label, to point at it. */
export function labelReader(root: YamlReader, name: string): YamlReader | undefined {
  return root.object()?.get('metadata')?.object()?.get('labels')?.object()?.get(name)
}

/** The cursor of an annotation. */
export function annotationReader(root: YamlReader, name: string): YamlReader | undefined {
  return root.object()?.get('metadata')?.object()?.get('annotations')?.object()?.get(name)
}
