/** Delta ADS for ambient data planes, on a grpc-js server that somebody else binds. */
import { createHash } from 'node:crypto'
import type { ChannelOptions, Server } from '@grpc/grpc-js'
import {
  type Clock,
  type Logger,
  type Service,
  silentLogger,
  systemClock,
  type Workload,
} from '@ambient/core'
import type { Authorization } from '@ambient/policy'
import type { ResourceProblem } from '../directory/directory.ts'
import type { AmbientState } from '../ambient/state.ts'
import { limits } from '../limits.ts'
import { encodeService, encodeWorkload } from '../wds/address.ts'
import { encodeAuthorization } from '../wds/authorization.ts'
import {
  type AdsAuthorization,
  type AdsCall,
  type AdsCaller,
  type AdsStream,
  openAdsStream,
} from './ads-stream.ts'
import { encodeDocument, MCP_RESOURCE } from '../configuration/codec.ts'
import {
  type ConfigDocument,
  type Configuration,
  configTypes,
  noConfiguration,
} from '../configuration/document.ts'
import { ADDRESS_TYPE, AUTHORIZATION_TYPE, deltaMethod, type ResourceType } from './protocol.ts'
import type { SubscriptionStatus } from './subscription.ts'
import { createEncoder, type PublishedType, type ResourceSet } from './versioned.ts'

export interface AdsServiceOptions {
  /** Asked once per stream, before anything is sent. A refusal ends it with UNAUTHENTICATED. */
  readonly authorize: (caller: AdsCaller) => AdsAuthorization | Promise<AdsAuthorization>
  readonly logger?: Logger
  readonly clock?: Clock
}

/** What the control plane knows of one client, by node id; kept after it left. */
export interface ClientStatus {
  readonly nodeId: string
  readonly peer: string
  readonly connected: boolean
  readonly types: ReadonlyMap<ResourceType, SubscriptionStatus>
}

/** Versions of what was published, to compare with what clients acknowledged. */
export interface PublishResult {
  readonly versions: ReadonlyMap<ResourceType, string>
  /** Resources that could not be encoded; their last good version is served on. */
  readonly problems: readonly ResourceProblem[]
}

export interface AdsService {
  /** Registers the method; give the server {@link adsServerOptions}. */
  addTo(server: Server): void
  /** Makes this the state of the mesh: every client is sent what it lacks, and nothing else. */
  publish(state: AmbientState): PublishResult
  clients(): readonly ClientStatus[]
  /** Called when a client comes, goes, or answers. Returns the function that ends the watch. */
  watchClients(listener: (client: ClientStatus) => void): () => void
  /** Ends every stream with UNAVAILABLE, so that the server can shut down. */
  close(): void
}

/** Channel options of a server that carries this service. */
export const adsServerOptions: ChannelOptions = Object.freeze({
  'grpc.max_receive_message_length': limits.maxRequestBytes,
  'grpc.max_send_message_length': limits.maxResponseBytes,
  'grpc.keepalive_time_ms': limits.keepaliveTimeMs,
  'grpc.keepalive_timeout_ms': limits.keepaliveTimeoutMs,
})

/** Nothing is sent before the first `publish`: an empty mesh and an unknown one are different things. */
export function createAdsService(options: AdsServiceOptions): AdsService {
  return new DeltaAdsService(options)
}

class DeltaAdsService implements AdsService {
  readonly #options: Required<AdsServiceOptions>
  readonly #streams = new Set<AdsStream>()
  readonly #clients = new Map<string, { readonly status: ClientStatus }>()
  readonly #listeners = new Set<(client: ClientStatus) => void>()
  readonly #published = new Map<ResourceType, PublishedType>()
  readonly #encodeWorkloads = createEncoder<Workload>(ADDRESS_TYPE, encodeWorkload)
  readonly #encodeServices = createEncoder<Service>(ADDRESS_TYPE, encodeService)
  readonly #encodePolicies = createEncoder<Authorization>(AUTHORIZATION_TYPE, encodeAuthorization)
  readonly #encodeDocuments = createEncoder<ConfigDocument>(MCP_RESOURCE, encodeDocument)
  #closed = false

  constructor(options: AdsServiceOptions) {
    this.#options = { logger: silentLogger, clock: systemClock, ...options }
  }

  addTo(server: Server): void {
    server.addService(
      { deltaAggregatedResources: deltaMethod },
      { deltaAggregatedResources: (call: AdsCall) => this.#accept(call) },
    )
  }

  publish(state: AmbientState): PublishResult {
    const addresses = this.#published.get(ADDRESS_TYPE)?.set ?? new Map()
    const workloads = this.#encodeWorkloads(state.workloads, addresses)
    const services = this.#encodeServices(state.services, addresses)
    const policies = this.#encodePolicies(
      state.authorizations,
      this.#published.get(AUTHORIZATION_TYPE)?.set ?? new Map(),
    )
    this.#put(ADDRESS_TYPE, new Map([...workloads.set, ...services.set]))
    this.#put(AUTHORIZATION_TYPE, policies.set)
    const documents = this.#putConfiguration(state.configuration ?? noConfiguration)
    const problems = [...workloads.problems, ...services.problems, ...policies.problems, ...documents]
    for (const { name, reason } of problems)
      this.#options.logger.error({ name, reason }, 'resource cannot be published')
    for (const stream of this.#streams) this.#pushTo(stream)
    return {
      versions: new Map([...this.#published].map(([type, { version }]) => [type, version])),
      problems,
    }
  }

  #putConfiguration(configuration: Configuration): readonly ResourceProblem[] {
    return configTypes.flatMap(type => {
      const before = this.#published.get(type)?.set ?? new Map()
      const { set, problems } = this.#encodeDocuments(configuration.get(type) ?? new Map(), before)
      this.#put(type, set)
      return problems
    })
  }

  clients(): readonly ClientStatus[] {
    return [...this.#clients.values()].map(({ status }) => status)
  }

  watchClients(listener: (client: ClientStatus) => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  close(): void {
    this.#closed = true
    for (const stream of [...this.#streams]) stream.close('the control plane is shutting down')
  }

  #accept(call: AdsCall): void {
    const stream = openAdsStream(call, {
      authorize: this.#options.authorize,
      published: type => this.#published.get(type),
      onChange: changed => this.#changed(changed, true),
      onEnd: ended => {
        this.#streams.delete(ended)
        this.#changed(ended, false)
      },
      logger: this.#options.logger,
      clock: this.#options.clock,
    })
    this.#streams.add(stream)
    if (this.#closed) stream.close('the control plane is shutting down')
  }

  #pushTo(stream: AdsStream): void {
    stream.push()
    if (stream.node !== undefined) this.#changed(stream, true)
  }

  #put(type: ResourceType, set: ResourceSet): void {
    const hash = createHash('sha256')
    for (const name of [...set.keys()].sort()) hash.update(`${name}\0${set.get(name)?.version}\n`)
    this.#published.set(type, { set, version: hash.digest('hex').slice(0, 16) })
  }

  /** Of several open streams with one node id, as during a restart, the newest speaks for it. */
  #changed(stream: AdsStream, connected: boolean): void {
    const nodeId = stream.node?.id
    if (nodeId === undefined) return
    const newest = [...this.#streams].filter(({ node }) => node?.id === nodeId).at(-1)
    if (newest !== undefined && newest !== stream && connected) return
    const speaker = newest ?? stream
    const { peer } = speaker
    const status: ClientStatus = { nodeId, peer, connected: newest !== undefined, types: speaker.status() }
    this.#clients.delete(nodeId)
    this.#clients.set(nodeId, { status })
    this.#forgetOldest()
    for (const listener of [...this.#listeners]) listener(status)
  }

  #forgetOldest(): void {
    if (this.#clients.size <= limits.maxRememberedClients) return
    for (const [id, { status }] of this.#clients) if (!status.connected) return void this.#clients.delete(id)
  }
}
