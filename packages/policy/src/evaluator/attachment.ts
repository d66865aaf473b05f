/**
 * Which documents an Envoy enforces: a sidecar those of its namespace, of the root namespace and those whose selector
 * has its labels; a waypoint those whose targetRefs name it or its service; an ingress gateway both.
 *
 * Source: Istio's policy attachment (`pilot/pkg/model/policyattachment.go`).
 */
import { namespaceOf, type ResolvedEnforcer } from './enforcer.ts'
import { selectorText } from './text.ts'
import { type AttachableDocument, keysOfPolicy } from '../waypoint/attachment.ts'
import { matchesSelector, selectsAll } from '../ztunnel/selector.ts'

export type Attachment =
  /** `Service shop/web`, `namespace shop`, `selector app=web`. */
  | { readonly attached: true; readonly by: string }
  /** Somebody could expect it here. */
  | { readonly attached: false; readonly why: string }

/** `undefined` for a document that nobody would look for here. */
export function attachmentAtEnvoy(
  document: AttachableDocument,
  enforcer: ResolvedEnforcer,
  rootNamespace: string,
): Attachment | undefined {
  const { namespace } = document.metadata
  const { kind, service } = enforcer
  const near = [rootNamespace, enforcer.namespace, ...(service === undefined ? [] : [namespaceOf(service)])]
  if (!near.includes(namespace)) return undefined
  const targeted = (document.spec.targetRefs?.length ?? 0) > 0
  if (kind === 'waypoint' && !targeted) return not(withoutTargetRefs(document))
  if (targeted && kind !== 'workload') return byReference(document, enforcer, rootNamespace)
  if (namespace !== rootNamespace && namespace !== enforcer.namespace) return undefined
  return targeted
    ? not(elsewhere(document, enforcer, rootNamespace))
    : bySelector(document, enforcer, rootNamespace)
}

/** Of a document with targetRefs, at a proxy that does not look at them: who would enforce it. */
export function elsewhere(
  document: AttachableDocument,
  { service }: ResolvedEnforcer,
  rootNamespace: string,
): string {
  const keys = keysOfPolicy(document, rootNamespace)
  if (keys.length === 0) return NAMES_NOTHING
  const own = keys.find(key => service !== undefined && isOfService(key, service))
  return own === undefined
    ? `it is for ${keys.join(', ')} and would apply ${placesOf(keys)}`
    : `it would apply at the waypoint of ${own}, and you have none here`
}

function placesOf(keys: readonly string[]): string {
  return [...new Set(keys.map(placeOf))].join(', ')
}

/** Where what a key names is enforced: a service has no proxy of its own. */
function placeOf(key: string): string {
  if (key.startsWith('GatewayClass ')) return 'at every waypoint'
  return key.startsWith('Gateway ') ? 'there' : 'at its waypoint'
}

const NAMES_NOTHING =
  'its targetRefs can name nothing: they reach their own namespace only, and GatewayClass istio-waypoint from the root namespace'

function not(why: string): Attachment {
  return { attached: false, why }
}

function withoutTargetRefs({ spec }: AttachableDocument): string {
  const what = spec.selector === undefined ? 'without targetRefs' : 'with a selector'
  return `${what} it is enforced by the ztunnels of the workloads, not at a waypoint`
}

function byReference(
  document: AttachableDocument,
  { kind, namespace, name, service }: ResolvedEnforcer,
  rootNamespace: string,
): Attachment {
  const keys = keysOfPolicy(document, rootNamespace)
  const isHere = (key: string): boolean =>
    key === `Gateway ${namespace}/${name}` ||
    (kind === 'waypoint' &&
      (key.startsWith('GatewayClass ') || (service !== undefined && isOfService(key, service))))
  const by = keys.find(isHere)
  if (by !== undefined) return { attached: true, by }
  return not(keys.length === 0 ? NAMES_NOTHING : `it is for ${keys.join(', ')}`)
}

/** A request says a name, and not whether a Service or a ServiceEntry has it. */
function isOfService(key: string, service: string): boolean {
  return key === `Service ${service}` || key === `ServiceEntry ${service}`
}

/** An empty selector is every workload here; ztunnel's side of istiod reads it as none. */
function bySelector(
  { metadata, spec }: AttachableDocument,
  { labels }: ResolvedEnforcer,
  rootNamespace: string,
): Attachment {
  const { namespace } = metadata
  const isRoot = namespace === rootNamespace
  if (spec.selector === undefined || selectsAll(spec.selector))
    return { attached: true, by: `${isRoot ? 'root namespace' : 'namespace'} ${namespace}` }
  const wanted = selectorText(spec.selector.matchLabels)
  if (matchesSelector(spec.selector, labels)) return { attached: true, by: `selector ${wanted}` }
  return not(`its selector ${wanted} does not select ${selectorText(labels) || 'a workload without labels'}`)
}
