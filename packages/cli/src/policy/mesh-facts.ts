/** What the manifests beside policies say of the mesh: workloads, services, waypoints and gateways. */
import type { GatewayAddress } from '@ambient/core'
import {
  appProtocolOf,
  type DeploymentResource,
  deriveAmbient,
  effectiveReference,
  gatewayNameLabel,
  isEnrolled,
  isWaypoint,
  type PodResource,
  type PodStatus,
  readManifests,
  type Resources,
  type ServiceResource,
} from '@ambient/discovery'
import type { MeshConfig, MeshFacts, MeshService, MeshWorkload } from '@ambient/policy'
import { type OtherPods, type OtherService, readOtherPods, readServiceEntries } from './other-kinds.ts'
import type { PolicyFiles } from './read-documents.ts'

export interface MeshFactsOptions {
  readonly rootNamespace: string
  readonly trustDomain: string
}

export interface FoundMesh {
  /** The mesh's configuration, when the ConfigMap `istio` of the root namespace is among the files. */
  readonly config?: MeshConfig
  /** Absent when nothing was found, or when something that was found could not be read. */
  readonly mesh?: MeshFacts
  /** Why rules that need a mesh are silent, for people. */
  readonly silent?: string
}

const CLUSTER_DOMAIN = 'cluster.local'
const MESH_KINDS = ['Deployment', 'Pod', 'Service', 'Gateway', 'Namespace', 'ServiceAccount'] as const
const BUILT_IN = ['default', 'kube-system', 'kube-public', 'kube-node-lease']

type Labels = Readonly<Record<string, string>>

export function meshFactsOf(
  { files, others }: Pick<PolicyFiles, 'files' | 'others'>,
  options: MeshFactsOptions,
): FoundMesh {
  const { resources } = readManifests(files, options)
  const config = resources.meshConfigs[0]?.config
  const known = config === undefined ? {} : { config }
  const unread = MESH_KINDS.filter(
    kind => others.filter(document => document.kind === kind).length !== listOf(resources, kind).length,
  )
  if (unread.length > 0)
    return {
      ...known,
      silent: `a ${unread[0]} in these files cannot be read: rules about the mesh are silent`,
    }
  const more = readOtherPods(others)
  const entries = readServiceEntries(others)
  const found = [resources.deployments, resources.pods, resources.services, resources.gateways, more, entries]
  if (found.every(list => list.length === 0))
    return {
      ...known,
      silent: 'no workloads, services or gateways in these files: rules about the mesh are silent',
    }
  return { ...known, mesh: factsOf(resources, more, entries, options) }
}

function listOf(resources: Resources, kind: (typeof MESH_KINDS)[number]): readonly unknown[] {
  switch (kind) {
    case 'Deployment':
      return resources.deployments
    case 'Pod':
      return resources.pods
    case 'Service':
      return resources.services
    case 'Gateway':
      return resources.gateways
    case 'Namespace':
      return resources.namespaces
    default:
      return resources.serviceAccounts
  }
}

function factsOf(
  resources: Resources,
  more: readonly OtherPods[],
  entries: readonly OtherService[],
  options: MeshFactsOptions,
): MeshFacts {
  const labels = new Map(resources.namespaces.map(({ metadata }) => [metadata.name, metadata.labels]))
  const labelsOf = (namespace: string): Labels => labels.get(namespace) ?? {}
  const groups = [...resources.deployments.map(podsOf), ...resources.pods.map(podOf), ...more]
  const derived = derive(resources, groups, labelsOf, options)
  const namespaces = [...labels.keys(), ...groups.map(({ namespace }) => namespace), ...BUILT_IN]
  return {
    workloads: groups.map((group, index) => workloadOf(group, labelsOf(group.namespace), derived.pod(index))),
    services: [
      ...resources.services.map(service => serviceOf(service, groups, derived.service(service))),
      ...entries.map(entry => entryOf(entry, labelsOf(entry.namespace))),
    ],
    waypoints: resources.gateways.filter(isWaypoint).map(({ metadata, spec }) => ({
      namespace: metadata.namespace,
      name: metadata.name,
      serviceAccount: spec.serviceAccount,
    })),
    gateways: resources.gateways
      .filter(gateway => !isWaypoint(gateway))
      .map(({ metadata, spec }) => ({
        namespace: metadata.namespace,
        name: metadata.name,
        className: spec.className,
        labels: { ...metadata.labels, [gatewayNameLabel]: metadata.name },
      })),
    ...(labels.size > 0 && { namespaces: [...new Set([...namespaces, options.rootNamespace])].sort() }),
    serviceAccounts: accountsOf(resources, groups),
  }
}

/** Hostnames of waypoints, as the control plane would tell them. */
interface Derived {
  pod(index: number): string | undefined
  service(service: ServiceResource): string | undefined
}

function derive(
  resources: Resources,
  groups: readonly OtherPods[],
  labelsOf: (namespace: string) => Labels,
  { rootNamespace, trustDomain }: MeshFactsOptions,
): Derived {
  const pods = groups.map((group, index) => statusOf(group, index, labelsOf(group.namespace)))
  const { workloads, services } = deriveAmbient({
    resources,
    pods,
    clusterIps: new Map(),
    trustDomain,
    clusterId: 'Kubernetes',
    network: '',
    rootNamespace,
    clusterDomain: CLUSTER_DOMAIN,
  })
  const byName = new Map(
    [...workloads.values()].map(workload => [`${workload.namespace}/${workload.name}`, workload]),
  )
  return {
    pod(index) {
      const { namespace = '', name = '' } = pods[index] ?? {}
      return hostOf(byName.get(`${namespace}/${name}`)?.waypoint)
    },
    service: ({ metadata: { namespace, name } }) =>
      hostOf(services.get(`${namespace}/${name}.${namespace}.svc.${CLUSTER_DOMAIN}`)?.waypoint),
  }
}

function hostOf(waypoint: GatewayAddress | undefined): string | undefined {
  return waypoint?.destination.kind === 'hostname' ? waypoint.destination.hostname : undefined
}

function workloadOf(group: OtherPods, namespaceLabels: Labels, waypoint: string | undefined): MeshWorkload {
  const captured = isEnrolled(namespaceLabels, group.labels)
  return {
    ...group,
    proxy: captured ? 'ztunnel' : hasSidecar(namespaceLabels, group.labels) ? 'sidecar' : 'none',
    ...(waypoint !== undefined && { waypoint: nameOfHost(waypoint) }),
  }
}

function accountsOf(resources: Resources, groups: readonly OtherPods[]): readonly string[] {
  return [
    ...new Set([
      ...groups.map(({ namespace, serviceAccount }) => `${namespace}/${serviceAccount}`),
      ...resources.serviceAccounts.map(({ metadata }) => `${metadata.namespace}/${metadata.name}`),
      ...resources.gateways.map(({ metadata, spec }) => `${metadata.namespace}/${spec.serviceAccount}`),
    ]),
  ].sort()
}

function podsOf({ metadata, spec }: DeploymentResource): OtherPods {
  const { template } = spec
  return {
    namespace: metadata.namespace,
    name: metadata.name,
    labels: template.labels,
    serviceAccount: template.spec.serviceAccountName,
    ports: template.spec.containers.flatMap(({ ports }) => ports.map(({ port }) => port)),
  }
}

function podOf({ metadata, spec }: PodResource): OtherPods {
  return {
    namespace: metadata.namespace,
    name: metadata.name,
    labels: metadata.labels,
    serviceAccount: spec.serviceAccountName,
    ports: spec.containers.flatMap(({ ports }) => ports.map(({ port }) => port)),
  }
}

/** As if one pod of each ran: what it would be told is what its policies are. */
function statusOf(group: OtherPods, index: number, namespaceLabels: Labels): PodStatus {
  return {
    name: `${group.name}-${index}`,
    namespace: group.namespace,
    labels: group.labels,
    serviceAccount: group.serviceAccount,
    node: '',
    ip: `198.18.${index >> 8}.${index & 255}`,
    ready: true,
    containerPorts: group.ports.map(port => ({ port })),
    enrolled: isEnrolled(namespaceLabels, group.labels),
  }
}

function hasSidecar(namespaceLabels: Labels, labels: Labels): boolean {
  const own = labels['sidecar.istio.io/inject']
  if (own !== undefined) return own === 'true'
  return namespaceLabels['istio-injection'] === 'enabled'
}

/** `waypoint.shop.svc.cluster.local` as `shop/waypoint`. */
function nameOfHost(hostname: string): string {
  const [name = '', namespace = ''] = hostname.split('.')
  return `${namespace}/${name}`
}

function serviceOf(
  { metadata, spec }: ServiceResource,
  groups: readonly OtherPods[],
  waypoint: string | undefined,
): MeshService {
  const selector = Object.entries(spec.selector ?? {})
  const selected = groups.filter(
    ({ namespace, labels }) =>
      selector.length > 0 &&
      namespace === metadata.namespace &&
      selector.every(([key, value]) => labels[key] === value),
  )
  return {
    namespace: metadata.namespace,
    name: metadata.name,
    hostname: `${metadata.name}.${metadata.namespace}.svc.${CLUSTER_DOMAIN}`,
    ports: spec.ports.map(port => ({
      port: port.port,
      targetPort: typeof port.targetPort === 'number' ? port.targetPort : 0,
      protocol: ['TCP', 'TLS'].includes(appProtocolOf(port) ?? '') ? 'opaque' : 'http',
    })),
    workloads: selected.map(({ namespace, name }) => `${namespace}/${name}`),
    ...(waypoint !== undefined && { waypoint: nameOfHost(waypoint) }),
  }
}

function entryOf(entry: OtherService, namespaceLabels: Labels): MeshService {
  const waypoint = effectiveReference(entry.labels, namespaceLabels, entry.namespace)
  return {
    kind: 'ServiceEntry',
    namespace: entry.namespace,
    name: entry.name,
    hostname: entry.hostname,
    ports: entry.ports.map(port => ({ port, targetPort: port, protocol: 'http' })),
    workloads: [],
    ...(waypoint !== undefined && { waypoint: `${waypoint.namespace}/${waypoint.name}` }),
  }
}
