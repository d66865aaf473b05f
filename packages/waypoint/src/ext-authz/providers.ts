/** The providers of the mesh as they are now: who they are, where they are, and what they say. */
import {
  type Clock,
  type Counter,
  type Logger,
  messageOf,
  type Meter,
  type Service,
  serviceKey,
  type SpiffeId,
} from '@ambient/core'
import type { AuthorizationProvider, MeshConfig, ProviderState, WaypointDialect } from '@ambient/policy'
import type { ListedDirectory } from '../belonging.ts'
import type { ClusterRef } from '../route/ir.ts'
import type { InboundStream } from '../stream.ts'
import type { Dispatcher } from '../upstream/dispatch.ts'
import type { CheckAnswer, CheckedRequest } from './check.ts'
import { checkOverGrpc } from './grpc-check.ts'
import { checkOverHttp } from './http-check.ts'

export interface ProvidersOptions {
  /** As it is now; the same object until it changes. */
  readonly meshConfig: () => MeshConfig
  readonly directory: ListedDirectory
  readonly desk: Pick<Dispatcher, 'dispatch'>
  readonly self: SpiffeId
  readonly clock: Clock
  readonly logger: Logger
  readonly meter: Meter
}

export interface Providers {
  stateOf(name: string, dialect: WaypointDialect): ProviderState
  /** `undefined` when there is no such provider. */
  find(name: string): AuthorizationProvider | undefined
  /** Never rejects. `signal` ends the call. */
  check(
    name: string,
    asked: {
      readonly stream: InboundStream
      /** Absent for a connection that carries no HTTP. */
      readonly request: CheckedRequest | undefined
      readonly signal: AbortSignal
    },
  ): Promise<CheckAnswer>
  close(): void
}

export function createProviders(options: ProvidersOptions): Providers {
  return new LiveProviders(options)
}

interface Known {
  readonly provider: AuthorizationProvider
  /** `undefined`: nobody knows the service, or several namespaces have it. */
  cluster: ClusterRef | undefined
  isResolved: boolean
}

class LiveProviders implements Providers {
  readonly #options: ProvidersOptions
  readonly #unwatch: () => void
  readonly #checks: Counter
  #source: MeshConfig | undefined
  #known = new Map<string, Known>()
  /** Of those that could not be asked last time, so that an outage is told once and not per request. */
  readonly #failing = new Set<string>()

  constructor(options: ProvidersOptions) {
    this.#options = options
    this.#checks = options.meter.counter({
      name: 'ambient_ext_authz_checks',
      help: 'Questions to providers of CUSTOM policies, by what they said (unstable)',
      labels: ['provider', 'result'],
    })
    this.#unwatch = options.directory.watch(({ services }) => {
      if (services.length > 0) for (const known of this.#known.values()) known.isResolved = false
    })
  }

  close(): void {
    this.#unwatch()
  }

  find(name: string): AuthorizationProvider | undefined {
    return this.#find(name)?.provider
  }

  stateOf(name: string, dialect: WaypointDialect): ProviderState {
    const known = this.#find(name)
    if (known === undefined || this.#clusterOf(known) === undefined) return 'missing'
    return dialect === 'envoy-tcp' && known.provider.kind === 'http' ? 'ignored' : 'ask'
  }

  async check(name: string, asked: Parameters<Providers['check']>[1]): Promise<CheckAnswer> {
    const answer = await this.#ask(name, asked)
    if (asked.signal.aborted) return answer
    this.#checks.add(1, [name, answer.kind])
    this.#tell(name, answer)
    return answer
  }

  async #ask(
    name: string,
    { stream, request, signal }: Parameters<Providers['check']>[1],
  ): Promise<CheckAnswer> {
    const { desk, clock, self, directory } = this.#options
    const known = this.#find(name)
    const cluster = known && this.#clusterOf(known)
    if (known === undefined || cluster === undefined)
      return { kind: 'error', reason: 'there is no such provider' }
    const { provider } = known
    const check = { provider, cluster, stream, request }
    try {
      if (provider.kind === 'grpc') return await checkOverGrpc(desk, clock, { check, self, signal })
      if (request === undefined) return { kind: 'error', reason: 'it is asked about HTTP only' }
      return await checkOverHttp(desk, clock, { check, provider, request, directory, signal })
    } catch (error) {
      return { kind: 'error', reason: messageOf(error) }
    }
  }

  #tell(name: string, answer: CheckAnswer): void {
    const { logger } = this.#options
    if (answer.kind !== 'error') {
      if (this.#failing.delete(name)) logger.info({ provider: name }, 'the provider answers again')
    } else if (!this.#failing.has(name)) {
      this.#failing.add(name)
      logger.warn({ provider: name, reason: answer.reason }, 'the provider could not be asked')
    }
  }

  #find(name: string): Known | undefined {
    const config = this.#options.meshConfig()
    if (config !== this.#source) {
      this.#source = config
      this.#known = new Map(
        config.extensionProviders.map(provider => [
          provider.name,
          { provider, cluster: undefined, isResolved: false },
        ]),
      )
    }
    return this.#known.get(name)
  }

  #clusterOf(known: Known): ClusterRef | undefined {
    if (!known.isResolved) {
      known.cluster = this.#resolve(known.provider)
      known.isResolved = true
    }
    return known.cluster
  }

  /** As istiod: a host without a namespace has to be the only one of its name. */
  #resolve({ service, port }: AuthorizationProvider): ClusterRef | undefined {
    const { directory } = this.#options
    const found: readonly Service[] =
      service.namespace === undefined
        ? directory.snapshot().services.filter(({ hostname }) => hostname === service.host)
        : [directory.service(service.namespace, service.host) ?? []].flat()
    const [only, another] = [...new Map(found.map(one => [serviceKey(one), one])).values()]
    if (only === undefined || another !== undefined) return undefined
    return { namespace: only.namespace, hostname: only.hostname, port, subset: undefined }
  }
}
