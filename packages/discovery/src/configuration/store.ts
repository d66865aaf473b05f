/** What a waypoint knows beside WDS: configuration objects as they were last good, read as manifests are. */
import {
  type AuthorizationPolicy,
  type MeshConfig,
  readMeshConfig,
  readYaml,
  type RequestAuthentication,
  type YamlReader,
} from '@ambient/policy'
import type { DestinationRuleResource } from '../resources/destination-rule-types.ts'
import type { GatewayResource } from '../resources/gateway-types.ts'
import type { HttpRouteResource } from '../resources/http-route-types.ts'
import { createCollector, kindReaders } from '../resources/kind-readers.ts'
import type { Resources } from '../resources/types.ts'
import type { VirtualServiceResource } from '../resources/virtual-service-types.ts'
import type { ResourceProblem } from '../directory/directory.ts'
import { type Configuration, type ConfigDocument, type ConfigType, configTypes } from './document.ts'

/** Lists are in Istio's order: the oldest first, then by name, then by namespace. One that did not change is the same array as before. */
export interface ConfigStore {
  readonly virtualServices: readonly VirtualServiceResource[]
  readonly destinationRules: readonly DestinationRuleResource[]
  readonly httpRoutes: readonly HttpRouteResource[]
  readonly gateways: readonly GatewayResource[]
  /** Those with `targetRefs`, and one that denies for each policy or request authentication that cannot be read. */
  readonly authorizationPolicies: readonly AuthorizationPolicy[]
  /** Those with `targetRefs`. */
  readonly requestAuthentications: readonly RequestAuthentication[]
  /** What the mesh says of itself; `undefined` when the control plane says nothing. The same object until it changes. */
  readonly meshConfig: MeshConfig | undefined
  /** `undefined` for a pod that is not known. */
  podLabels(namespace: string, name: string): Readonly<Record<string, string>> | undefined
  /** Called after each change. Returns the function that ends the watch. */
  watch(listener: () => void): () => void
}

export interface ConfigUpdate {
  /** By `namespace/name`. */
  readonly upsert: ReadonlyMap<string, ConfigDocument>
  readonly remove: readonly string[]
}

/** The writing side. */
export interface ConfigSink {
  /** Takes what can be read; what cannot keeps its last good version and comes back with the reason. */
  apply(type: ConfigType, update: ConfigUpdate): readonly ResourceProblem[]
}

export interface WritableConfigStore extends ConfigStore, ConfigSink {
  /** Makes this the whole configuration. */
  replace(configuration: Configuration): readonly ResourceProblem[]
}

export function createConfigStore(): WritableConfigStore {
  return new MemoryConfigStore()
}

/** How the objects of a type are written in a manifest, and in which list of {@link Resources} they end. */
interface Kind {
  readonly apiVersion: string
  readonly kind: string
  readonly list: keyof Resources
}

const kinds: ReadonlyMap<ConfigType, Kind> = new Map([
  kindOf('networking.istio.io/v1', 'VirtualService', 'virtualServices'),
  kindOf('networking.istio.io/v1', 'DestinationRule', 'destinationRules'),
  kindOf('gateway.networking.k8s.io/v1', 'HTTPRoute', 'httpRoutes'),
  kindOf('gateway.networking.k8s.io/v1', 'Gateway', 'gateways'),
  kindOf('security.istio.io/v1', 'AuthorizationPolicy', 'authorizationPolicies'),
  kindOf('security.istio.io/v1', 'RequestAuthentication', 'requestAuthentications'),
])

function kindOf(apiVersion: string, kind: string, list: keyof Resources): readonly [ConfigType, Kind] {
  const type = configTypes.find(known => known === `${apiVersion}/${kind}`)
  if (type === undefined) throw new TypeError(`${apiVersion}/${kind} is no type of configuration`)
  return [type, { apiVersion, kind, list }]
}

/** Of Kubernetes. */
const MAX_NAME = 253

type Lists = { -readonly [List in keyof Resources]: Resources[List] }

class MemoryConfigStore implements WritableConfigStore {
  readonly #objects = new Map<ConfigType, Map<string, Partial<Lists>>>()
  readonly #lists = new Map<keyof Resources, readonly unknown[]>()
  readonly #pods = new Map<string, Readonly<Record<string, string>>>()
  /** By the request authentication that nobody understands: what denies its targets meanwhile. */
  readonly #denials = new Map<string, readonly AuthorizationPolicy[]>()
  readonly #meshConfigs = new Map<string, MeshConfig>()
  readonly #listeners = new Set<() => void>()

  get virtualServices(): readonly VirtualServiceResource[] {
    return this.#list('networking.istio.io/v1/VirtualService', 'virtualServices')
  }

  get destinationRules(): readonly DestinationRuleResource[] {
    return this.#list('networking.istio.io/v1/DestinationRule', 'destinationRules')
  }

  get httpRoutes(): readonly HttpRouteResource[] {
    return this.#list('gateway.networking.k8s.io/v1/HTTPRoute', 'httpRoutes')
  }

  get gateways(): readonly GatewayResource[] {
    return this.#list('gateway.networking.k8s.io/v1/Gateway', 'gateways')
  }

  get authorizationPolicies(): readonly AuthorizationPolicy[] {
    return this.#list('security.istio.io/v1/AuthorizationPolicy', 'authorizationPolicies', () =>
      [...this.#denials.values()].flat(),
    )
  }

  get requestAuthentications(): readonly RequestAuthentication[] {
    return this.#list('security.istio.io/v1/RequestAuthentication', 'requestAuthentications')
  }

  get meshConfig(): MeshConfig | undefined {
    return this.#meshConfigs.values().next().value
  }

  podLabels(namespace: string, name: string): Readonly<Record<string, string>> | undefined {
    return this.#pods.get(`${namespace}/${name}`)
  }

  watch(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  apply(type: ConfigType, update: ConfigUpdate): readonly ResourceProblem[] {
    const problems = this.#take(type, update)
    this.#announce()
    return problems
  }

  replace(configuration: Configuration): readonly ResourceProblem[] {
    const problems = configTypes.flatMap(type => {
      const upsert = configuration.get(type) ?? new Map<string, ConfigDocument>()
      const remove = this.#present(type).filter(name => !upsert.has(name))
      return this.#take(type, { upsert, remove })
    })
    this.#announce()
    return problems
  }

  #present(type: ConfigType): readonly string[] {
    if (type === 'core/v1/Pod') return [...this.#pods.keys()]
    if (type === 'core/v1/ConfigMap') return [...this.#meshConfigs.keys()]
    const denied = type === 'security.istio.io/v1/RequestAuthentication' ? this.#denials.keys() : []
    return [...(this.#objects.get(type)?.keys() ?? []), ...denied]
  }

  #announce(): void {
    for (const listener of [...this.#listeners]) listener()
  }

  #take(type: ConfigType, { upsert, remove }: ConfigUpdate): readonly ResourceProblem[] {
    if (type === 'core/v1/ConfigMap') return this.#takeMeshConfig({ upsert, remove })
    const kind = kinds.get(type)
    if (kind === undefined) {
      for (const name of remove) this.#pods.delete(name)
      for (const [name, { metadata }] of upsert) this.#pods.set(name, metadata.labels)
      return []
    }
    const objects = this.#objects.get(type) ?? new Map<string, Partial<Lists>>()
    this.#objects.set(type, objects)
    this.#lists.delete(kind.list)
    for (const name of remove) objects.delete(name)
    if (kind.kind === 'RequestAuthentication') this.#forgetDenials([...remove, ...upsert.keys()])
    const problems: ResourceProblem[] = []
    for (const [name, document] of upsert) {
      const read = readDocument(kind, name, document)
      if (read.ok) objects.set(name, read.value)
      else {
        problems.push({ name, reason: read.reason })
        if (!objects.has(name)) this.#denyUnread(kind, name, document)
      }
    }
    return problems
  }

  /** What was never good cannot be kept; it may be what protects somebody. */
  #denyUnread({ kind }: Kind, name: string, document: ConfigDocument): void {
    if (kind === 'AuthorizationPolicy')
      this.#objects
        .get('security.istio.io/v1/AuthorizationPolicy')
        ?.set(name, { authorizationPolicies: denyUnread(name, document) })
    if (kind !== 'RequestAuthentication') return
    const { metadata, spec } = document
    // Its own name: an AuthorizationPolicy may have the same.
    const ownName = `unread-request-authentication.${metadata.name}`.slice(0, MAX_NAME).replace(/[.-]+$/, '')
    this.#denials.set(name, denyUnread(name, { metadata: { ...metadata, name: ownName }, spec }))
    this.#lists.delete('authorizationPolicies')
  }

  #forgetDenials(names: readonly string[]): void {
    for (const name of names) if (this.#denials.delete(name)) this.#lists.delete('authorizationPolicies')
  }

  #takeMeshConfig({ upsert, remove }: ConfigUpdate): readonly ResourceProblem[] {
    for (const name of remove) this.#meshConfigs.delete(name)
    return [...upsert].flatMap(([name, { spec }]): readonly ResourceProblem[] => {
      const { value, problems } = readMeshConfig(String(spec['mesh'] ?? ''), name)
      if (value === undefined) return [{ name, reason: problems.map(({ message }) => message).join('; ') }]
      this.#meshConfigs.set(name, value)
      return []
    })
  }

  #list<List extends keyof Resources>(
    type: ConfigType,
    list: List,
    others: () => readonly Aged[] = () => [],
  ): Resources[List] {
    const cached = this.#lists.get(list)
    // What was put there came from the reader of this very list.
    if (cached !== undefined) return cached as unknown as Resources[List]
    const objects = [...(this.#objects.get(type)?.values() ?? [])]
    const items = [...objects.flatMap<Aged>(lists => [...(lists[list] ?? [])]), ...others()].sort(byAge)
    this.#lists.set(list, items)
    return items as unknown as Resources[List]
  }
}

interface Aged {
  readonly metadata: ConfigDocument['metadata']
}

function byAge({ metadata: a }: Aged, { metadata: b }: Aged): number {
  const age = (a.creationTimestamp ?? 0) - (b.creationTimestamp ?? 0)
  return age || compare(a.name, b.name) || compare(a.namespace, b.namespace)
}

function compare(a: string, b: string): number {
  if (a === b) return 0
  return a < b ? -1 : 1
}

/** A policy that nobody here understands denies its targets until it is understood, as an unknown one does at a ztunnel. */
function denyUnread(name: string, { metadata, spec }: ConfigDocument): readonly AuthorizationPolicy[] {
  const { targetRefs } = spec
  const probe = {
    metadata,
    spec: { ...(targetRefs === undefined ? {} : { targetRefs }), action: 'DENY', rules: [{}] },
  }
  const kind = kinds.get('security.istio.io/v1/AuthorizationPolicy')
  const read = kind === undefined ? undefined : readDocument(kind, name, probe)
  return read?.ok === true ? (read.value.authorizationPolicies ?? []) : []
}

type Read =
  | { readonly ok: true; readonly value: Partial<Lists> }
  | { readonly ok: false; readonly reason: string }

/** The same reader that reads files: JSON is YAML. References to other objects are not checked here. */
function readDocument({ apiVersion, kind }: Kind, name: string, document: ConfigDocument): Read {
  const { creationTimestamp, ...metadata } = document.metadata
  const created =
    creationTimestamp === undefined ? {} : { creationTimestamp: new Date(creationTimestamp).toISOString() }
  const text = JSON.stringify({
    apiVersion,
    kind,
    metadata: { ...metadata, ...created },
    spec: document.spec,
  })
  const file = readYaml(text, name)
  const root: YamlReader | undefined = file.documents[0]?.root
  const collector = createCollector({ check: () => {}, rootNamespace: '' })
  if (root !== undefined) kindReaders.get(kind)?.(root, collector)
  const errors = file.problems.filter(({ severity }) => severity === 'error')
  if (errors.length > 0) return { ok: false, reason: errors.map(({ message }) => message).join('; ') }
  return { ok: true, value: collector.resources }
}
