/** Which waypoint a service or a pod is behind: labels first, and where they are silent, the service account. */
import {
  type AccountPod,
  accountOfService,
  hasAccountWaypoint,
  waypointOfAccount,
} from '../resources/account-waypoint.ts'
import { type GatewayResource, isWaypoint } from '../resources/gateway-types.ts'
import type { Resources, ServiceResource } from '../resources/types.ts'
import {
  type Attachment,
  attach,
  effectiveReference,
  gatewayNameLabel,
  namesNoWaypoint,
} from '../resources/use-waypoint.ts'
import type { DeriveInput } from './derive.ts'
import { labelOf } from './enrolment.ts'
import type { PodStatus } from './pod-status.ts'

/** What is part of the mesh itself never has a waypoint. */
const MANAGED_LABEL = 'gateway.istio.io/managed'
const MANAGERS = ['istio.io-mesh-controller', 'istio.io-eastwest-controller']

/** A waypoint that is named, and whether it serves. */
export interface WaypointReference {
  readonly namespace: string
  readonly name: string
  readonly attachment: Attachment
}

export interface WaypointLookUp {
  /** By `namespace/name`; those of other classes too. */
  readonly gateways: ReadonlyMap<string, GatewayResource>
  ofService(service: ServiceResource): WaypointReference | undefined
  ofPod(pod: PodStatus): WaypointReference | undefined
}

export function createWaypointLookUp({ resources, pods }: DeriveInput): WaypointLookUp {
  const gateways = new Map(resources.gateways.map(gateway => [keyOf(gateway.metadata), gateway]))
  const namespaces = new Map(resources.namespaces.map(({ metadata }) => [metadata.name, metadata.labels]))
  const accountOf = createAccountLookUp(resources, pods)
  const lookUp = (
    { namespace, labels }: Consumer,
    traffic: 'service' | 'workload',
    account: () => string | undefined,
  ): WaypointReference | undefined => {
    if (isManaged(labels)) return undefined
    const namespaceLabels = namespaces.get(namespace) ?? {}
    const consumer = { namespace, namespaceLabels }
    if (namesNoWaypoint(labels, namespaceLabels, namespace)) {
      const name = account()
      const gateway = name === undefined ? undefined : waypointOfAccount(gateways.values(), namespace, name)
      return gateway && { ...nameOf(gateway.metadata), attachment: attach(gateway, consumer, traffic) }
    }
    const named = effectiveReference(labels, namespaceLabels, namespace)
    return named && { ...nameOf(named), attachment: attach(gateways.get(keyOf(named)), consumer, traffic) }
  }
  return {
    gateways,
    ofService(service) {
      const gateway = gateways.get(keyOf(service.metadata))
      if (gateway !== undefined && isWaypoint(gateway)) return undefined
      return lookUp(service.metadata, 'service', () => accountOf(service))
    },
    ofPod: pod => lookUp(pod, 'workload', () => pod.serviceAccount),
  }
}

/** Pods of a waypoint, and what istiod deployed. */
export function isManaged(labels: Readonly<Record<string, string>>): boolean {
  return (
    labelOf(labels, gatewayNameLabel) !== undefined || MANAGERS.includes(labelOf(labels, MANAGED_LABEL) ?? '')
  )
}

interface Consumer {
  readonly namespace: string
  readonly labels: Readonly<Record<string, string>>
}

interface Named {
  readonly namespace: string
  readonly name: string
}

function nameOf({ namespace, name }: Named): Named {
  return { namespace, name }
}

function keyOf({ namespace, name }: Named): string {
  return `${namespace}/${name}`
}

/** Each service is looked at once, and none where no waypoint is for an account. */
function createAccountLookUp(
  resources: Resources,
  pods: readonly PodStatus[],
): (service: ServiceResource) => string | undefined {
  if (!hasAccountWaypoint(resources.gateways)) return () => undefined
  const all = [...accountPods(resources), ...pods]
  const found = new Map(resources.services.map(service => [service, accountOfService(service, all)]))
  return service => found.get(service)
}

/** What pods there will be: a service keeps its waypoint while none of them runs. */
function accountPods({ deployments, pods }: Resources): readonly AccountPod[] {
  return [
    ...deployments.map(({ metadata, spec }) => ({
      namespace: metadata.namespace,
      labels: spec.template.labels,
      serviceAccount: spec.template.spec.serviceAccountName,
    })),
    ...pods.map(({ metadata, spec }) => ({
      namespace: metadata.namespace,
      labels: metadata.labels,
      serviceAccount: spec.serviceAccountName,
    })),
  ]
}
