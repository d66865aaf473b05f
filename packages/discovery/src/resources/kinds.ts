/** Which kinds we act on, and which of the groups that we know a cluster would refuse. */
import type { YamlDocument } from '@ambient/policy'

const ISTIO_NETWORKING = [
  'networking.istio.io/v1',
  'networking.istio.io/v1beta1',
  'networking.istio.io/v1alpha3',
]

/** apiVersions under which each kind that we act on may be written. */
const actedKinds: ReadonlyMap<string, readonly string[]> = new Map([
  ['Namespace', ['v1']],
  ['ServiceAccount', ['v1']],
  ['Node', ['v1']],
  ['ConfigMap', ['v1']],
  ['Service', ['v1']],
  ['Pod', ['v1']],
  ['Deployment', ['apps/v1']],
  ['AuthorizationPolicy', ['security.istio.io/v1', 'security.istio.io/v1beta1']],
  ['PeerAuthentication', ['security.istio.io/v1', 'security.istio.io/v1beta1']],
  ['RequestAuthentication', ['security.istio.io/v1', 'security.istio.io/v1beta1']],
  ['Gateway', ['gateway.networking.k8s.io/v1', 'gateway.networking.k8s.io/v1beta1']],
  ['HTTPRoute', ['gateway.networking.k8s.io/v1', 'gateway.networking.k8s.io/v1beta1']],
  ['VirtualService', ISTIO_NETWORKING],
  ['DestinationRule', ISTIO_NETWORKING],
])

const CLUSTER_SCOPED = new Set(['Namespace', 'Node'])

const ISTIO_SECURITY = ['AuthorizationPolicy', 'PeerAuthentication', 'RequestAuthentication']

/** Every kind of the groups that nobody can extend: another name there is a slip of the pen. */
const closedGroups: ReadonlyMap<string, readonly string[]> = new Map([
  [
    'v1',
    [
      'Namespace',
      'ServiceAccount',
      'Node',
      'Service',
      'Pod',
      'ConfigMap',
      'Secret',
      'Endpoints',
      'Event',
      'LimitRange',
      'PersistentVolume',
      'PersistentVolumeClaim',
      'PodTemplate',
      'ReplicationController',
      'ResourceQuota',
    ],
  ],
  ['apps/v1', ['Deployment', 'StatefulSet', 'DaemonSet', 'ReplicaSet', 'ControllerRevision']],
  ['batch/v1', ['Job', 'CronJob']],
  ['security.istio.io/v1', ISTIO_SECURITY],
  ['security.istio.io/v1beta1', ISTIO_SECURITY],
])

/** Namespaces that a cluster has without anybody writing them. */
export const builtInNamespaces: readonly string[] = [
  'default',
  'kube-system',
  'kube-public',
  'kube-node-lease',
  'istio-system',
]

export function isClusterScoped(kind: string): boolean {
  return CLUSTER_SCOPED.has(kind)
}

/** `acted`: a kind that we read. `other`: somebody's kind that we do not. `bad`: a cluster would refuse it too. */
export type KindVerdict = 'acted' | 'other' | 'bad'

/** Whether a document says what it is, in words that a cluster would know; records what is wrong. */
export function judgeKind({ root, kind, apiVersion }: YamlDocument): KindVerdict {
  const object = root.object()
  const version = object?.required('apiVersion')
  const written = object?.required('kind')
  if (version?.text() === undefined || written?.text() === undefined) return 'bad'
  const versions = actedKinds.get(kind) ?? []
  if (versions.includes(apiVersion)) return 'acted'
  // Ours by name and group, but of a version that does not exist.
  const misplaced = versions.some(known => groupOf(known) === groupOf(apiVersion))
  const group = closedGroups.get(apiVersion)
  if (misplaced || (group !== undefined && versions.length > 0)) {
    version.oneOf(versions)
    return 'bad'
  }
  return group === undefined || written.oneOf(group) !== undefined ? 'other' : 'bad'
}

function groupOf(apiVersion: string): string {
  const slash = apiVersion.indexOf('/')
  return slash < 0 ? '' : apiVersion.slice(0, slash)
}
