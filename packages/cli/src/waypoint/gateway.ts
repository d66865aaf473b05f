/** A waypoint as a Gateway in a manifest: written as istioctl writes it, read as istiod does. */
import { stringify } from 'yaml'
import type { ManifestFolder } from '../manifests/folder.ts'
import { listObjects } from '../manifests/folder.ts'
import type { ManifestObject } from '../manifests/objects.ts'
import type { StringChange } from '../manifests/splice.ts'

export const WAYPOINT_CLASS = 'istio-waypoint'
export const WAYPOINT_FOR = 'istio.io/waypoint-for'
export const USE_WAYPOINT = 'istio.io/use-waypoint'
export const DATAPLANE_MODE = 'istio.io/dataplane-mode'
const REVISION = 'istio.io/rev'
const FOR_SERVICE_ACCOUNT = 'istio.io/for-service-account'

export const TRAFFIC_TYPES = ['service', 'workload', 'all', 'none'] as const
export type TrafficType = (typeof TRAFFIC_TYPES)[number]

export interface WaypointSpec {
  /** Empty when the one who applies it says. */
  readonly namespace: string
  readonly name: string
  readonly trafficType?: TrafficType
  readonly revision?: string
  readonly serviceAccount?: string
}

/** As it stands in the folder. */
export interface Waypoint {
  readonly namespace: string
  readonly name: string
  readonly revision: string
  /** `none` without the label, as istioctl says it. */
  readonly trafficType: string
  readonly object: ManifestObject
}

export function gatewayYaml(spec: WaypointSpec): string {
  const labels = Object.fromEntries(labelsOf(spec))
  const annotations = Object.fromEntries(annotationsOf(spec))
  return stringify(
    {
      apiVersion: 'gateway.networking.k8s.io/v1',
      kind: 'Gateway',
      metadata: {
        ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
        ...(Object.keys(labels).length === 0 ? {} : { labels }),
        name: spec.name,
        ...(spec.namespace === '' ? {} : { namespace: spec.namespace }),
      },
      spec: {
        gatewayClassName: WAYPOINT_CLASS,
        listeners: [{ name: 'mesh', port: 15008, protocol: 'HBONE' }],
      },
    },
    { indentSeq: false },
  )
}

/** What applying a spec changes of a Gateway that is there; its listeners are its owner's. */
export function gatewayChanges(spec: WaypointSpec): readonly StringChange[] {
  const at = (name: string, [key, value]: readonly [string, string]): StringChange => ({
    path: ['metadata', name],
    key,
    value,
  })
  return [
    ...labelsOf(spec).map(label => at('labels', label)),
    ...annotationsOf(spec).map(annotation => at('annotations', annotation)),
  ]
}

/** The waypoints of a folder by namespace and name; `namespace` `undefined` means all. */
export function waypointsOf(folder: ManifestFolder, namespace: string | undefined): readonly Waypoint[] {
  return listObjects(folder, 'Gateway')
    .filter(({ value }) => classOf(value) === WAYPOINT_CLASS)
    .map(object => ({
      namespace: object.namespace || 'default',
      name: object.name,
      revision: object.labels[REVISION] ?? 'default',
      trafficType: object.labels[WAYPOINT_FOR] ?? 'none',
      object,
    }))
    .filter(waypoint => namespace === undefined || waypoint.namespace === namespace)
    .sort((a, b) => `${a.namespace}/${a.name}`.localeCompare(`${b.namespace}/${b.name}`))
}

function labelsOf({ trafficType, revision }: WaypointSpec): readonly (readonly [string, string])[] {
  return [
    ...(revision === undefined ? [] : [[REVISION, revision] as const]),
    ...(trafficType === undefined ? [] : [[WAYPOINT_FOR, trafficType] as const]),
  ]
}

function annotationsOf({ serviceAccount }: WaypointSpec): readonly (readonly [string, string])[] {
  return serviceAccount === undefined ? [] : [[FOR_SERVICE_ACCOUNT, serviceAccount]]
}

function classOf(value: Readonly<Record<string, unknown>>): unknown {
  const spec = value['spec']
  return typeof spec === 'object' && spec !== null && 'gatewayClassName' in spec
    ? spec.gatewayClassName
    : undefined
}
