/** Who enforces, where nobody says: what people mean by a destination. */
import type { PolicyRequest } from './request.ts'
import { selectorText } from './text.ts'
import type { Enforcer, PolicyDialect } from './verdict.ts'
import { defaults } from '../defaults.ts'

/** An enforcer in which everything that attachment looks at is there. */
export interface ResolvedEnforcer {
  readonly kind: Enforcer['kind']
  readonly namespace: string
  readonly name: string | undefined
  readonly labels: Readonly<Record<string, string>>
  readonly service: string | undefined
}

/** The label by which a pod is of a Gateway. */
const GATEWAY_NAME = 'gateway.networking.k8s.io/gateway-name'

/**
 * In the dialect `ztunnel` the workload's ztunnel. In Envoy's the waypoint of the service when the destination names
 * one, in the service's namespace and with the name that `istioctl waypoint apply` gives; else the workload's sidecar.
 * What the enforcer leaves out is taken from the destination.
 */
export function resolveEnforcer(
  dialect: PolicyDialect,
  { destination }: PolicyRequest,
  given: Enforcer | undefined,
): ResolvedEnforcer {
  const { namespace, workload } = destination
  const service = serviceOf(given?.service ?? destination.service, namespace)
  const kind = given?.kind ?? (dialect === 'ztunnel' || service === undefined ? 'workload' : 'waypoint')
  if (kind === 'waypoint') {
    const own = given?.namespace ?? namespaceOf(service ?? namespace)
    const name = given?.name ?? defaults.waypointName
    return { kind, namespace: own, name, labels: given?.labels ?? {}, service }
  }
  if (kind === 'gateway') return gatewayOf(given, namespace)
  const isDestination = given === undefined || given.namespace === namespace
  const labels = given?.labels ?? (isDestination ? destination.labels : undefined) ?? {}
  const name = given?.name ?? (isDestination ? workload : undefined)
  return { kind, namespace: given?.namespace ?? namespace, name, labels, service }
}

/** Pods of a Gateway carry its name as a label. */
function gatewayOf(given: Enforcer | undefined, namespace: string): ResolvedEnforcer {
  const written = given?.labels ?? {}
  const name = given?.name ?? written[GATEWAY_NAME]
  const labels = name === undefined ? written : { [GATEWAY_NAME]: name, ...written }
  return { kind: 'gateway', namespace: given?.namespace ?? namespace, name, labels, service: undefined }
}

/** A name alone is one of the destination's namespace. */
function serviceOf(service: string | undefined, namespace: string): string | undefined {
  return service === undefined || service.includes('/') ? service : `${namespace}/${service}`
}

/** Of `namespace/name`. */
export function namespaceOf(service: string): string {
  const slash = service.indexOf('/')
  return slash < 0 ? service : service.slice(0, slash)
}

/** Equal texts, equal policies. */
export function keyOfEnforcer({ kind, namespace, name, labels, service }: ResolvedEnforcer): string {
  const sorted = Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1))
  // A workload's name and service attach nothing, but explanations speak of them.
  return JSON.stringify([kind, namespace, name, service, sorted])
}

/** `the waypoint shop/waypoint`, for people. */
export function nameOfEnforcer({ kind, namespace, name }: ResolvedEnforcer): string {
  return name === undefined ? `a ${kind} in ${namespace}` : `the ${kind} ${namespace}/${name}`
}

/** As it may be given to ask the same again. */
export function plainEnforcer({ kind, namespace, name, labels, service }: ResolvedEnforcer): Enforcer {
  // A workload without labels is not one whose labels are those of the destination.
  const isSaid = kind === 'workload' || Object.keys(labels).length > 0
  return {
    kind,
    namespace,
    ...(name === undefined ? {} : { name }),
    ...(isSaid ? { labels } : {}),
    ...(service === undefined ? {} : { service }),
  }
}

/**
 * The proxy for people: `waypoint shop/waypoint`, `the sidecar of shop/web-1`, `the ztunnel of shop/web-1`; one without a
 * name by its namespace and labels.
 */
export function formatEnforcer(enforcer: Enforcer, dialect: PolicyDialect): string {
  const { kind, namespace, name, labels = {} } = enforcer
  const whose = name === undefined ? `a ${kind} in ${namespace}${withLabels(labels)}` : `${namespace}/${name}`
  if (dialect === 'ztunnel')
    return `the ztunnel of ${kind === 'workload' || name === undefined ? whose : `${kind} ${whose}`}`
  if (kind === 'workload') return `the sidecar of ${whose}`
  return name === undefined ? whose : `${kind} ${whose}`
}

function withLabels(labels: Readonly<Record<string, string>>): string {
  const text = selectorText(labels)
  return text === '' ? '' : ` with ${text}`
}
