/** Which kinds we act on, and which of the groups that we know a cluster would refuse. */
import type { YamlDocument } from '@ambient/policy'

/** apiVersions under which each kind that we act on may be written. */
const actedKinds: ReadonlyMap<string, readonly string[]> = new Map([
  ['Namespace', ['v1']],
  ['ServiceAccount', ['v1']],
  ['Node', ['v1']],
  ['Service', ['v1']],
  ['Pod', ['v1']],
  ['Deployment', ['apps/v1']],
  ['AuthorizationPolicy', ['security.istio.io/v1', 'security.istio.io/v1beta1']],
  ['PeerAuthentication', ['security.istio.io/v1', 'security.istio.io/v1beta1']],
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

/** Whether a document says what it is, in words that a cluster would know; records what is wrong. */
export function checkKind({ root, kind, apiVersion }: YamlDocument): boolean {
  const object = root.object()
  const version = object?.required('apiVersion')
  const written = object?.required('kind')
  if (version?.text() === undefined || written?.text() === undefined) return false
  const versions = actedKinds.get(kind)
  const group = closedGroups.get(apiVersion)
  if (group !== undefined) {
    const known = group.includes(kind) || versions === undefined
    return known ? written.oneOf(group) !== undefined : version.oneOf(versions) !== undefined
  }
  // A kind of our name in a group of somebody else's is that somebody's kind, but these groups have no other versions.
  const ours = versions?.some(known => groupOf(known) === groupOf(apiVersion)) ?? false
  return !ours || version.oneOf(versions ?? []) !== undefined
}

function groupOf(apiVersion: string): string {
  const slash = apiVersion.indexOf('/')
  return slash < 0 ? '' : apiVersion.slice(0, slash)
}
