/**
 * The older waypoint of one service account: a Gateway with `istio.io/for-service-account` serves the workloads of that
 * account in its namespace, and the services that have no others, where no label says otherwise.
 */
import { matchesLabels } from './context.ts'
import { type GatewayResource, isWaypoint } from './gateway-types.ts'
import type { ServiceResource } from './types.ts'
import { gatewayNameLabel } from './use-waypoint.ts'

export const serviceAccountAnnotation = 'istio.io/for-service-account'
export const waypointForLabel = 'istio.io/waypoint-for'

/** A pod, or what makes some, as far as this looks at it. */
export interface AccountPod {
  readonly namespace: string
  readonly labels: Readonly<Record<string, string>>
  readonly serviceAccount: string
}

export function hasAccountWaypoint(gateways: readonly GatewayResource[]): boolean {
  return gateways.some(({ metadata }) => serviceAccountAnnotation in metadata.annotations)
}

/** Of several for one account the first by name. Without a label it is for services and workloads alike. */
export function waypointOfAccount(
  gateways: Iterable<GatewayResource | undefined>,
  namespace: string,
  account: string,
): GatewayResource | undefined {
  const [first] = [...gateways]
    .flatMap(gateway => gateway ?? [])
    .filter(gateway => isWaypoint(gateway) && gateway.metadata.namespace === namespace)
    .filter(({ metadata }) => metadata.annotations[serviceAccountAnnotation] === account)
    .sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1))
  if (first === undefined || waypointForLabel in first.metadata.labels) return first
  return { ...first, spec: { ...first.spec, waypointFor: 'all' } }
}

/** The only account under which pods of a service run; `undefined` when there are several, or no pods. */
export function accountOfService(
  { metadata, spec }: ServiceResource,
  pods: readonly AccountPod[],
): string | undefined {
  const { selector = {} } = spec
  if (Object.keys(selector).length === 0) return undefined
  const accounts = new Set(
    pods
      .filter(pod => pod.namespace === metadata.namespace && !(gatewayNameLabel in pod.labels))
      .filter(pod => matchesLabels(selector, pod.labels))
      .map(({ serviceAccount }) => serviceAccount),
  )
  const [account] = accounts
  return accounts.size === 1 ? account : undefined
}
