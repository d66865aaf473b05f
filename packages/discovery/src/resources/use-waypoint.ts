/** Who names which waypoint: the labels of an object and of its namespace, as istiod reads them. */
import { labelOf } from '../ambient/enrolment.ts'
import { matchesLabels } from './context.ts'
import { type GatewayResource, isWaypoint, type LabelSelector } from './gateway-types.ts'

export const useWaypointLabel = 'istio.io/use-waypoint'
export const useWaypointNamespaceLabel = 'istio.io/use-waypoint-namespace'
/** On the pods of a waypoint; the value is the name of its Gateway. */
export const gatewayNameLabel = 'gateway.networking.k8s.io/gateway-name'

type Labels = Readonly<Record<string, string>>

export interface WaypointName {
  readonly namespace: string
  readonly name: string
}

/** `none` opts out of what the namespace says. */
export type WaypointReference = ({ readonly kind: 'named' } & WaypointName) | { readonly kind: 'none' }

/** What the labels of one object say, `undefined` when nothing. */
export function referenceOf(labels: Labels, namespace: string): WaypointReference | undefined {
  const name = labelOf(labels, useWaypointLabel)
  if (name === undefined || name === '') return undefined
  if (name === 'none') return { kind: 'none' }
  return { kind: 'named', name, namespace: labelOf(labels, useWaypointNamespaceLabel) || namespace }
}

/** The object's own label wins, even when it names a waypoint that cannot be used. */
export function effectiveReference(
  labels: Labels,
  namespaceLabels: Labels,
  namespace: string,
): WaypointName | undefined {
  const reference = referenceOf(labels, namespace) ?? referenceOf(namespaceLabels, namespace)
  return reference?.kind === 'named' ? reference : undefined
}

/** Neither label says anything, `none` included. */
export function namesNoWaypoint(labels: Labels, namespaceLabels: Labels, namespace: string): boolean {
  return (referenceOf(labels, namespace) ?? referenceOf(namespaceLabels, namespace)) === undefined
}

/** Why a waypoint does not serve, or that it does. Reasons are those of istiod's status. */
export type Attachment =
  | { readonly kind: 'attached'; readonly gateway: GatewayResource }
  | {
      readonly kind: 'refused'
      readonly reason: 'WaypointMissing' | 'AttachmentDenied' | 'UnsupportedTrafficType'
    }

export function attach(
  gateway: GatewayResource | undefined,
  consumer: { readonly namespace: string; readonly namespaceLabels: Labels },
  traffic: 'service' | 'workload',
): Attachment {
  if (gateway === undefined || !isWaypoint(gateway)) return { kind: 'refused', reason: 'WaypointMissing' }
  if (!admits(gateway, consumer.namespace, consumer.namespaceLabels))
    return { kind: 'refused', reason: 'AttachmentDenied' }
  const { waypointFor } = gateway.spec
  if (waypointFor !== 'all' && waypointFor !== traffic)
    return { kind: 'refused', reason: 'UnsupportedTrafficType' }
  return { kind: 'attached', gateway }
}

function admits({ metadata, spec }: GatewayResource, namespace: string, labels: Labels): boolean {
  const listener = spec.listeners.find(({ protocol }) => protocol === 'HBONE' || protocol === 'ALL')
  const allowed = listener?.allowedNamespaces
  switch (allowed?.from) {
    case 'All':
      return true
    case 'Selector':
      return selects(allowed.selector, { 'kubernetes.io/metadata.name': namespace, ...labels })
    case 'Same':
      return metadata.namespace === namespace
    default:
      return false
  }
}

function selects({ matchLabels, matchExpressions }: LabelSelector, labels: Labels): boolean {
  if (!matchesLabels(matchLabels, labels)) return false
  return matchExpressions.every(({ key, operator, values }) => {
    const value = labelOf(labels, key)
    switch (operator) {
      case 'In':
        return value !== undefined && values.includes(value)
      case 'NotIn':
        return value === undefined || !values.includes(value)
      case 'Exists':
        return value !== undefined
      default:
        return value === undefined
    }
  })
}
