/** The data half of a waypoint: hall, reading room, guard, switchboard, dispatch desk and ledger, wired. */
import type { Socket } from 'node:net'
import type { Clock, Connection, CredentialsSource, Drain, Service, SpiffeId } from '@ambient/core'
import { isLoopback } from '@ambient/core'
import type { Dial } from '@ambient/core/node'
import type { LogSink, MetricsRegistry } from '@ambient/core/proxy'
import type { ConfigStore } from '@ambient/discovery'
import {
  type ConnectRequest,
  createHbonePool,
  formatBaggage,
  formatForwardedClientCert,
  type HbonePool,
  type Tunnel,
} from '@ambient/hbone'
import { defaultMeshConfig, type MeshConfig } from '@ambient/policy'
import { type Authorization, createAuthorization } from './authorization.ts'
import { createJwksSource } from '@ambient/policy/node'
import type { ListedDirectory } from './belonging.ts'
import type { WaypointConfig } from './config/config.ts'
import { findGateway } from './gateway.ts'
import { createProviders, type Providers } from './ext-authz/providers.ts'
import { createGuard, type Guard } from './guard.ts'
import { createHall, type Hall } from './hall.ts'
import type { RequestDesk } from './http/desk.ts'
import { createJwtAuthenticator, type JwtAuthenticator } from './jwt/authenticator.ts'
import { createReadingRoom, type ReadingRoom } from './http/room.ts'
import { decideRoute } from './route/decide.ts'
import { createSwitchboard, type Switchboard } from './route/tables.ts'
import { ownGateway, servesService } from './served.ts'
import type { InboundStream } from './stream.ts'
import { createLedger, type Ledger } from './telemetry/ledger.ts'
import type { SpanExporter } from './telemetry/otlp.ts'
import { createDispatcher, type Dispatcher } from './upstream/dispatch.ts'
import { withWorkloadClusters, workloadTable } from './workload-table.ts'
import type { RouteTable } from './route/ir.ts'

/** On the Gateway: `"true"` has the caller's identity passed on. */
const TELLS_CALLERS = 'ambient.istio.io/xfcc-include-client-identity'

export interface ProxyOptions {
  readonly config: WaypointConfig
  readonly self: SpiffeId
  readonly directory: ListedDirectory
  readonly store: ConfigStore
  readonly credentials: CredentialsSource
  /** A new connection failed; perhaps for the peer's certificate. */
  readonly onPeerRefused: (reporter: 'destination' | 'source', error: unknown) => void
  readonly metrics: MetricsRegistry
  readonly log: LogSink
  readonly spans: SpanExporter | undefined
  readonly drain: Drain
  readonly clock: Clock
  readonly random: () => number
  readonly dial?: Dial
}

export interface WaypointProxy {
  accept(socket: Socket): void
  /** To be called when trust changed; returns how many sessions ended. See `HboneServer.recheck`. */
  recheckPeers(): number
  /** Whether this waypoint answers for the service. */
  serves(service: Service): boolean
  tableFor(service: Service, port: number): RouteTable
  /** TCP connections that are open now. */
  connections(): readonly Connection[]
  /** HBONE sessions and the tunnels in them. */
  readonly counts: { readonly sessions: number; readonly tunnels: number }
  /** Lets tunnels and requests finish for `graceMs`, then cuts them. To be called once, when nobody listens any more. */
  close(options: { readonly graceMs: number }): Promise<void>
}

export function createProxy(options: ProxyOptions): WaypointProxy {
  return new LiveProxy(options)
}

class LiveProxy implements WaypointProxy {
  readonly #options: ProxyOptions
  readonly #meshConfig: () => MeshConfig
  readonly #guard: Guard
  readonly #providers: Providers
  readonly #jwks: ReturnType<typeof createJwksSource>
  readonly #tokens: JwtAuthenticator
  readonly #authorization: Authorization
  readonly #switchboard: Switchboard
  readonly #pool: HbonePool
  readonly #dispatcher: Dispatcher
  readonly #ledger: Ledger
  readonly #room: ReadingRoom
  readonly #hall: Hall

  constructor(options: ProxyOptions) {
    const { config, store, directory, clock, log } = options
    this.#options = options
    const meshConfig = (): MeshConfig => store.meshConfig ?? config.meshConfig ?? defaultMeshConfig
    this.#meshConfig = meshConfig
    this.#guard = createGuard({
      config,
      store,
      meshConfig,
      stateOf: (name, dialect) => this.#providers.stateOf(name, dialect),
      clock,
    })
    this.#switchboard = createSwitchboard({
      directory: withWorkloadClusters(directory, config.network),
      config: store,
      gatewayNamespace: config.gateway.namespace,
      clusterDomain: config.clusterDomain,
      onProblem: problem => log.scope('route').warn({ problem }, 'a route cannot be carried out'),
    })
    this.#pool = createHbonePool({
      clock,
      logger: log.scope('proxy'),
      ...(options.dial === undefined ? {} : { dial: options.dial }),
    })
    this.#dispatcher = this.#createDispatcher()
    this.#providers = this.#createProviders()
    this.#jwks = createJwksSource({
      ...config.jwks,
      clock,
      onError: (error, { issuer }) =>
        log.scope('jwt').warn({ issuer, error: error.message }, 'the keys of an issuer cannot be fetched'),
    })
    this.#tokens = createJwtAuthenticator({ config, store, jwks: this.#jwks, clock })
    this.#ledger = createLedger({
      ...options,
      shownPath: (stream, path) => this.#tokens.shownPath(stream, path),
    })
    this.#authorization = createAuthorization({
      guard: this.#guard,
      providers: this.#providers,
      tokens: this.#tokens,
      clock,
    })
    this.#room = createReadingRoom({ desk: this.#desk() })
    this.#hall = this.#createHall()
    this.#cutRequestsWhenForced()
  }

  get counts(): WaypointProxy['counts'] {
    return { sessions: this.#hall.sessions, tunnels: this.#hall.tunnels }
  }

  accept(socket: Socket): void {
    this.#hall.accept(socket)
  }

  recheckPeers(): number {
    return this.#hall.recheck() + this.#pool.recheck()
  }

  serves(service: Service): boolean {
    return servesService(service, ownGateway(this.#options.config), this.#options.directory)
  }

  tableFor(service: Service, port: number): RouteTable {
    return this.#switchboard.tableFor(service, port)
  }

  connections(): readonly Connection[] {
    return this.#ledger.connections()
  }

  async close({ graceMs }: { readonly graceMs: number }): Promise<void> {
    const { drain, log } = this.#options
    this.#room.drain()
    // First of all the drain: what it cuts says so in its record.
    const [{ forced }] = await Promise.all([drain.start({ graceMs }), this.#hall.close({ graceMs })])
    if (forced > 0)
      log
        .scope('app')
        .warn({ connections: forced }, 'drain duration expired with pending connections, which were cut')
    await this.#room.close({ graceMs: 0 })
    await this.#dispatcher.close({ graceMs: 0 })
    await this.#pool.close({ graceMs: 0 })
    this.#guard.close()
    this.#providers.close()
    this.#tokens.close()
    this.#jwks.close()
    this.#switchboard.close()
    this.#ledger.release()
  }

  /** Whatever waits for a request, or carries one, has had its time. */
  #cutRequestsWhenForced(): void {
    const lease = this.#options.drain.hold()
    lease.forced.addEventListener('abort', () => void this.#room.close({ graceMs: 0 }))
    lease.release()
  }

  #table(stream: InboundStream): RouteTable {
    const { target } = stream
    return target.kind === 'service'
      ? this.#switchboard.tableFor(target.service, target.port)
      : workloadTable(target.workload.namespace, stream.destination)
  }

  #desk(): RequestDesk {
    const { clock, random, self } = this.#options
    return {
      clock,
      pathNormalization: () => this.#meshConfig().pathNormalization,
      forwardedClientCert: ({ caller }) =>
        this.#tellsCallers() ? formatForwardedClientCert({ by: self, uri: caller.identity }) : undefined,
      authorize: (stream, head, incoming) => this.#authorization.request(stream, head, incoming),
      admit: (stream, head, proof) => this.#guard.admitRequest(stream, head, proof),
      route: (stream, head, matched) =>
        decideRoute(this.#table(stream), head, { random, port: stream.destination.port, matched }),
      dispatch: order => this.#dispatcher.dispatch(order),
      observe: stream => this.#ledger.observe(stream),
    }
  }

  /** The Gateway's annotation, as it is now. */
  #tellsCallers(): boolean {
    const { store, config } = this.#options
    const own = findGateway(store, config.gateway)
    return own?.metadata.annotations[TELLS_CALLERS] === 'true'
  }

  #createProviders(): Providers {
    const { directory, self, clock, log, metrics } = this.#options
    return createProviders({
      meshConfig: this.#meshConfig,
      directory,
      desk: this.#dispatcher,
      self,
      clock,
      logger: log.scope('ext_authz'),
      meter: metrics,
    })
  }

  #createDispatcher(): Dispatcher {
    const { config, credentials, self, directory, dial, clock, random, log } = this.#options
    return createDispatcher({
      pool: { connect: request => this.#connect(request) },
      credentials,
      self,
      directory: withWorkloadClusters(directory, config.network),
      resolve: cluster => this.#switchboard.resolve(cluster),
      clock,
      random,
      baggage: baggageOf(config),
      logger: log.scope('proxy'),
      ...(isLoopback(config.instanceIp) ? { localAddress: config.instanceIp } : {}),
      ...(dial === undefined ? {} : { dial }),
    })
  }

  async #connect(request: ConnectRequest): Promise<Tunnel> {
    try {
      return await this.#pool.connect(request)
    } catch (error) {
      this.#options.onPeerRefused('source', error)
      throw error
    }
  }

  #createHall(): Hall {
    const { config, self, credentials, directory, clock, log, drain, random } = this.#options
    return createHall({
      gateway: ownGateway(config),
      network: config.network,
      self,
      credentials,
      directory,
      room: this.#room,
      tcp: {
        guard: this.#guard,
        authorization: this.#authorization,
        ledger: this.#ledger,
        drain,
        random,
        table: stream => this.#table(stream),
        connect: order => this.#dispatcher.connectTcp(order),
      },
      onPeerRefused: this.#options.onPeerRefused,
      clock,
      logger: log.scope('proxy'),
    })
  }
}

/** Who the waypoint is, for the telemetry of the other end. */
function baggageOf({ clusterId, gateway }: WaypointConfig): string {
  return formatBaggage({
    clusterId,
    namespace: gateway.namespace,
    workloadType: 'deployment',
    workloadName: gateway.name,
    canonicalName: gateway.name,
    canonicalRevision: 'latest',
    region: '',
    zone: '',
  })
}
