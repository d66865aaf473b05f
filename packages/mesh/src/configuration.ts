/** The manifests as the mesh takes them: what was last good, what is wrong now, and what follows for pods and proxies. */
import {
  type AmbientState,
  deriveAmbient,
  type GatewayResource,
  isEnrolled,
  isWaypoint,
  noResources,
  type PodStatus,
  readManifests,
  type Resources,
} from '@ambient/discovery'
import type { Problem } from '@ambient/policy'
import { meshDefaults } from './defaults.ts'
import type { ResolvedMeshOptions } from './options.ts'
import { plansOf } from './pods/plans-of.ts'
import type { WorkloadPlan } from './pods/plan.ts'
import type { Pod } from './pods/pod.ts'
import { podLabels } from './views.ts'

export interface ManifestText {
  /** Relative to the folder. */
  readonly path: string
  readonly text: string
}

export interface Configuration {
  /** There is a configuration to serve. */
  readonly good: boolean
  /** Of the manifests as they are now. */
  readonly problems: readonly Problem[]
  readonly serving: 'last good configuration' | 'this configuration' | 'nothing'
  /** Counts good configurations. */
  readonly generation: number
  readonly plans: readonly WorkloadPlan[]
  /** Gateways that are waypoints. */
  readonly waypoints: readonly GatewayResource[]
  /** Every namespace that something of the manifests is in, and `default`, which every cluster has. */
  readonly namespaces: readonly string[]
  /** `unchanged` when the texts are the ones that were read last. */
  read(files: readonly ManifestText[]): 'good' | 'refused' | 'unchanged'
  /** What is served now, for whoever waits for the end of one. */
  readonly policies: Resources['authorizationPolicies']
  /** What the proxies are to know; marks each pod as enrolled or not. */
  derive(running: RunningParts): AmbientState
}

/** What is not in the manifests but follows from them. */
export interface RunningParts {
  readonly pods: readonly Pod[]
  /** Pods of waypoints. */
  readonly waypoints: readonly PodStatus[]
  readonly serviceAddress: (key: string) => string
}

export function createConfiguration(options: ResolvedMeshOptions): Configuration {
  return new FolderConfiguration(options)
}

class FolderConfiguration implements Configuration {
  readonly #options: ResolvedMeshOptions
  #texts = ''
  #resources: Resources | undefined
  problems: readonly Problem[] = []
  plans: readonly WorkloadPlan[] = []
  generation = 0
  #refused = false

  constructor(options: ResolvedMeshOptions) {
    this.#options = options
  }

  get good(): boolean {
    return this.#resources !== undefined
  }

  get waypoints(): readonly GatewayResource[] {
    return (this.#resources?.gateways ?? []).filter(isWaypoint)
  }

  get policies(): Resources['authorizationPolicies'] {
    return this.#resources?.authorizationPolicies ?? []
  }

  get namespaces(): readonly string[] {
    const { namespaces = [], serviceAccounts = [], services = [] } = this.#resources ?? {}
    const named = namespaces.map(({ metadata }) => metadata.name)
    const used = [...serviceAccounts, ...services, ...this.waypoints].map(
      ({ metadata }) => metadata.namespace,
    )
    return [
      ...new Set(['default', ...named, ...used, ...this.plans.map(({ namespace }) => namespace)]),
    ].sort()
  }

  get serving(): Configuration['serving'] {
    if (!this.good) return 'nothing'
    return this.#refused ? 'last good configuration' : 'this configuration'
  }

  read(all: readonly ManifestText[]): 'good' | 'refused' | 'unchanged' {
    const files = all.filter(({ path }) => !this.#options.exclude.has(path))
    const texts = JSON.stringify(files)
    if (texts === this.#texts) return 'unchanged'
    this.#texts = texts
    const { resources, problems } = readManifests(files)
    const planned = plansOf(resources)
    this.problems = [...this.#folderProblems(all), ...problems, ...planned.problems]
    this.#refused = this.problems.some(({ severity }) => severity === 'error')
    if (this.#refused) return 'refused'
    this.#resources = resources
    this.plans = planned.plans
    this.generation++
    return 'good'
  }

  /** What is wrong with the folder as a whole. A name that is left out and is not there is a typo, at the start. */
  #folderProblems(all: readonly ManifestText[]): readonly Problem[] {
    const at = { line: 1, column: 1 }
    if (all.length === 0) {
      const message = 'no manifests (*.yaml, *.yml, *.json) in this folder'
      return [{ ...at, file: '.', message, severity: 'warning' }]
    }
    if (this.generation > 0) return []
    const present = new Set(all.map(({ path }) => path))
    return [...this.#options.exclude]
      .filter(name => !present.has(name))
      .map(file => ({
        ...at,
        file,
        message: 'to be left out, but there is no such manifest',
        severity: 'error',
      }))
  }

  derive({ pods, waypoints, serviceAddress }: RunningParts): AmbientState {
    const resources = this.#resources ?? noResources
    const labels = new Map(resources.namespaces.map(({ metadata }) => [metadata.name, metadata.labels]))
    for (const pod of pods)
      pod.enrolled = isEnrolled(labels.get(pod.plan.namespace) ?? {}, pod.plan.template.labels)
    return deriveAmbient({
      resources,
      pods: [...pods.map(statusOf), ...waypoints],
      clusterIps: clusterIps(resources, serviceAddress),
      trustDomain: this.#options.trustDomain,
      clusterId: this.#options.clusterId,
      network: meshDefaults.network,
      rootNamespace: meshDefaults.rootNamespace,
      clusterDomain: meshDefaults.clusterDomain,
      requireWaypoint: this.#options.requireWaypoint,
      nowMs: this.#options.clock.now(),
    })
  }
}

/** As kubelet and CNI would report the pod. */
function statusOf(pod: Pod): PodStatus {
  const { namespace, name, kind, template } = pod.plan
  return {
    name: pod.name,
    namespace,
    labels: podLabels(pod),
    serviceAccount: template.serviceAccount,
    node: pod.node,
    ip: pod.address,
    ready: pod.ready,
    containerPorts: template.containers.flatMap(({ ports }) => ports),
    enrolled: pod.enrolled,
    ...(kind === 'Pod' ? {} : { generateName: `${name}-${pod.plan.hash}-`, owner: { kind, name } }),
  }
}

/** What the manifest asks for, else an address of the mesh; headless Services and aliases have none. */
function clusterIps(
  resources: Resources,
  serviceAddress: (key: string) => string,
): Map<string, readonly string[]> {
  const addresses = new Map<string, readonly string[]>()
  for (const { metadata, spec } of resources.services) {
    if (spec.headless || spec.type === 'ExternalName') continue
    const key = `${metadata.namespace}/${metadata.name}`
    addresses.set(key, spec.clusterIps.length > 0 ? spec.clusterIps : [serviceAddress(key)])
  }
  for (const { metadata } of resources.gateways.filter(isWaypoint)) {
    const key = `${metadata.namespace}/${metadata.name}`
    addresses.set(key, [serviceAddress(key)])
  }
  return addresses
}
