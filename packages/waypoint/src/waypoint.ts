/**
 * A waypoint as an object: discovery and its own certificate on one side, the hall and the rooms behind it on the other,
 * and the admin, metrics and readiness endpoints that show both.
 */
import { setMaxListeners } from 'node:events'
import {
  type Clock,
  createDrain,
  type Drain,
  isLoopback,
  type SpiffeId,
  systemClock,
  workloadSpiffeId,
} from '@ambient/core'
import { type Bind, type Dial, type Listener, listen } from '@ambient/core/node'
import {
  adminHandler,
  createEndpoints,
  createLogSink,
  createMetricsRegistry,
  createProxyLife,
  createReadiness,
  type LogSink,
  type ProxyEndpoints,
  type ProxyLife,
  readinessHandler,
  registerCertificateExpiry,
  registerProcessMetrics,
  statsHandler,
} from '@ambient/core/proxy'
import {
  type AdsClient,
  type ConfigStore,
  createConfigStore,
  createDirectory,
  type WritableDirectory,
} from '@ambient/discovery'
import {
  type CertificateSigner,
  type IdentityManager,
  createRevocationGuard,
  type RevocationGuard,
} from '@ambient/identity'
import { configDump } from './admin/config-dump.ts'
import type { WaypointConfig } from './config/config.ts'
import { createDiscoveryClient, createIdentities } from './control-plane.ts'
import { WaypointError } from './errors.ts'
import { createProxy, type WaypointProxy } from './proxy.ts'
import { createSpanExporter, type SpanExporter } from './telemetry/otlp.ts'

export interface WaypointOptions {
  readonly config: WaypointConfig
  /** Takes log lines, newline included. Default: nothing is logged. */
  readonly write?: (text: string) => void
  /** Filled by the caller, instead of by the control plane that the configuration names. */
  readonly discovery?: { readonly directory: WritableDirectory; readonly configuration: ConfigStore }
  /** Signs certificates instead of the CA that the configuration names. The caller closes it. */
  readonly signer?: CertificateSigner
  /**
   * Who it is, instead of a certificate that a CA signs: a Workload API's (`createWorkloadApiIdentities`), or a manager
   * of the caller's. The caller closes it, and gives it the revocations: not together with `signer` or `CRL_PATH`.
   */
  readonly identities?: IdentityManager
  /** How upstreams are dialled. Default: plain TCP. */
  readonly dial?: Dial
  /** How sockets come to listen. Default: bound by this process. */
  readonly bind?: Bind
  readonly clock?: Clock
  /** In [0, 1): for weights, faults, mirrors and load balancing. */
  readonly random?: () => number
}

export interface Waypoint {
  /**
   * Binds the endpoints, then connects to the control plane. Rejects when a port is taken; a control plane that is away
   * is waited for.
   */
  start(): Promise<void>
  /** Configuration and certificate are there, and 15008 listens. Rejects when that fails, or when closed before. */
  readonly ready: Promise<void>
  /** Resolves when the waypoint is closed, by `close` or by its admin port. */
  readonly closed: Promise<void>
  /** Where it listens; empty before `start`, and `hbone` before `ready`. */
  addresses(): Readonly<Record<'hbone' | 'admin' | 'stats' | 'readiness', readonly string[]>>
  /** Drains: no new connections, present ones may finish for `graceMs` (default: the configuration's), then are cut. */
  close(options?: { readonly graceMs?: number }): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/**
 * Wires a waypoint; no I/O before `start`.
 * @throws WaypointError `AMBIENT_E_CONFIG` when nothing gives certificates, or for options that exclude one another
 */
export function createWaypoint(options: WaypointOptions): Waypoint {
  return new LiveWaypoint(options)
}

class LiveWaypoint implements Waypoint {
  readonly #config: WaypointConfig
  readonly #options: WaypointOptions
  readonly #clock: Clock
  readonly #log: LogSink
  readonly #metrics = createMetricsRegistry()
  readonly #readiness = createReadiness()
  readonly #self: SpiffeId
  readonly #directory: WritableDirectory
  readonly #store: ConfigStore
  readonly #revocations: RevocationGuard
  readonly #identities: ReturnType<typeof createIdentities>
  readonly #discovery: AdsClient | undefined
  readonly #spans: SpanExporter | undefined
  readonly #drain: Drain
  readonly #proxy: WaypointProxy
  readonly #endpoints: ProxyEndpoints
  #listeners: Listener[] = []
  readonly #life: ProxyLife
  #becomingReady: Promise<void> | undefined

  constructor(options: WaypointOptions) {
    const { config } = options
    this.#config = config
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#log = createLogSink({ ...config.log, write: options.write ?? (() => {}), clock: this.#clock })
    this.#self = workloadSpiffeId({
      trustDomain: config.trustDomain,
      namespace: config.gateway.namespace,
      serviceAccount: config.serviceAccount,
    })
    this.#directory = options.discovery?.directory ?? createDirectory()
    const own = options.discovery === undefined ? createConfigStore() : undefined
    this.#store = options.discovery?.configuration ?? own ?? createConfigStore()
    this.#discovery = own === undefined ? undefined : this.#createDiscovery(own)
    this.#revocations = createRevocationGuard({
      config: config.crl,
      recheck: () => this.#proxy.recheckPeers(),
      clock: this.#clock,
      logger: this.#log.scope('identity'),
      meter: this.#metrics,
    })
    this.#identities = createIdentities({
      config,
      identities: options.identities,
      signer: options.signer,
      revocations: this.#revocations.revocations,
      clock: this.#clock,
      logger: this.#log.scope('identity'),
    })
    this.#spans = this.#createSpans()
    this.#drain = createDrain(this.#clock)
    this.#proxy = this.#createProxy()
    this.#endpoints = createEndpoints({ ...config, bind: options.bind })
    this.#life = createProxyLife({
      refusal: when => new WaypointError('AMBIENT_E_CLOSED', `the waypoint was ${when}`),
      onClosing: graceMs => {
        this.#log.scope('app').info({ graceMs }, 'draining')
        this.#readiness.task('draining')
      },
      close: graceMs => this.#close(graceMs),
    })
  }

  get ready(): Promise<void> {
    return this.#life.ready
  }

  get closed(): Promise<void> {
    return this.#life.closed
  }

  start(): Promise<void> {
    return this.#life.start(() => this.#start())
  }

  addresses(): ReturnType<Waypoint['addresses']> {
    const hbone = this.#listeners.map(({ address, port }) =>
      address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`,
    )
    return { hbone, ...this.#endpoints.addresses() }
  }

  close(options: { readonly graceMs?: number } = {}): Promise<void> {
    return this.#life.close(options.graceMs ?? this.#config.drainMs)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #start(): Promise<void> {
    const { ports, gateway, version } = this.#config
    registerProcessMetrics(this.#metrics, 'proxy', version)
    registerCertificateExpiry(this.#metrics, () => this.#identities.manager.list())
    const tasks = ['discovery', 'certificate', 'listener'].map(name => this.#readiness.task(name))
    await this.#endpoints.listen('readiness', ports.readiness, readinessHandler(this.#readiness))
    await this.#endpoints.listen('admin', ports.admin, this.#adminHandler())
    await this.#endpoints.listen('stats', ports.stats, statsHandler(this.#metrics))
    this.#log
      .scope('app')
      .info({ gateway: `${gateway.namespace}/${gateway.name}`, identity: this.#self.uri }, 'waypoint started')
    await this.#revocations.start()
    this.#identities.manager.prefetch(this.#self)
    this.#discovery?.start()
    this.#becomingReady = this.#becomeReady(tasks)
  }

  /** Policies first, listeners last: what is not known yet must not be allowed. */
  async #becomeReady(tasks: readonly (() => void)[]): Promise<void> {
    const [discovered, certified, listening] = tasks
    try {
      await this.#unlessClosed(this.#discovery?.ready ?? Promise.resolve())
      discovered?.()
      await this.#unlessClosed(this.#ownCertificate())
      certified?.()
      if (this.#life.isRunning) await this.#listen()
      listening?.()
      this.#log.scope('app').info({}, 'waypoint is ready')
      this.#life.becameReady()
    } catch (error) {
      this.#life.failed(error)
      // A port that somebody has is no state to wait in.
      void this.close({ graceMs: 0 })
    }
  }

  async #unlessClosed(promise: Promise<unknown>): Promise<void> {
    await Promise.race([promise, this.ready])
  }

  /** The first one, however often the CA has to be asked. */
  #ownCertificate(): Promise<void> {
    return new Promise(resolve => {
      if (this.#identities.manager.current(this.#self) !== undefined) return resolve()
      const unwatch = this.#identities.manager.watch(this.#self, () => {
        unwatch()
        resolve()
      })
    })
  }

  async #listen(): Promise<void> {
    const { instanceIp, ipv6Enabled, ports } = this.#config
    const { bind } = this.#options
    const host = isLoopback(instanceIp) ? instanceIp : ipv6Enabled ? '::' : '0.0.0.0'
    const listener = await listen({
      host,
      port: ports.hbone,
      onConnection: socket => this.#proxy.accept(socket),
      ...(bind === undefined ? {} : { bind }),
    })
    this.#listeners.push(listener)
  }

  async #close(graceMs: number): Promise<void> {
    await this.#becomingReady
    await Promise.all(this.#listeners.map(listener => listener.close()))
    // A successor listens on the same sockets: what is asked from now on is for it to answer.
    if (this.#options.bind !== undefined) await this.#endpoints.close()
    await this.#proxy.close({ graceMs })
    await this.#discovery?.close()
    await this.#revocations.close()
    await this.#identities.close()
    await this.#spans?.close()
    await this.#endpoints.close()
    this.#log.scope('app').info({}, 'shutdown complete')
    this.#log.flush()
  }

  #createDiscovery(configuration: ReturnType<typeof createConfigStore>): AdsClient | undefined {
    return createDiscoveryClient({
      config: this.#config,
      directory: this.#directory,
      configuration,
      clock: this.#clock,
      logger: this.#log.scope('xds'),
      meter: this.#metrics,
    })
  }

  #createSpans(): SpanExporter | undefined {
    const { tracing, version } = this.#config
    if (tracing.endpoint === undefined) return undefined
    return createSpanExporter({
      endpoint: tracing.endpoint,
      config: tracing,
      version,
      clock: this.#clock,
      logger: this.#log.scope('tracing'),
      meter: this.#metrics,
    })
  }

  #createProxy(): WaypointProxy {
    // Each connection listens for the end of the drain.
    const probe = this.#drain.hold()
    setMaxListeners(0, probe.draining, probe.forced)
    probe.release()
    const { dial, random } = this.#options
    return createProxy({
      config: this.#config,
      self: this.#self,
      directory: this.#directory,
      store: this.#store,
      credentials: this.#identities.manager,
      onPeerRefused: (reporter, error) => this.#revocations.failed(reporter, error),
      metrics: this.#metrics,
      log: this.#log,
      spans: this.#spans,
      drain: this.#drain,
      clock: this.#clock,
      random: random ?? Math.random,
      ...(dial === undefined ? {} : { dial }),
    })
  }

  #adminHandler(): ReturnType<typeof adminHandler> {
    return adminHandler({
      title: 'waypoint',
      dumped: 'services with their routes and clusters, policies, certificates, connections',
      metrics: this.#metrics,
      log: this.#log,
      defaultFilter: this.#config.log.filter,
      onQuit: () => void this.close(),
      configDump: () =>
        configDump({
          config: this.#config,
          directory: this.#directory,
          services: this.#directory.snapshot().services,
          store: this.#store,
          certificates: this.#identities.manager.list(),
          proxy: this.#proxy,
          discovery: this.#discovery?.status(),
        }),
    })
  }
}
