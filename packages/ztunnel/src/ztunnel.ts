/**
 * A ztunnel as an object: discovery and certificates on one side, one proxy per workload on the other, and the admin,
 * metrics and readiness endpoints that show both.
 */
import { type Clock, isLoopback, systemClock, type Workload } from '@ambient/core'
import { type Bind, dial as dialDirect } from '@ambient/core/node'
import {
  adminHandler,
  createEndpoints,
  createLogSink,
  createMetricsRegistry,
  createProxyLife,
  createReadiness,
  type HttpHandler,
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
  applyLocalConfig,
  createDirectory,
  readLocalConfig,
  type WritableDirectory,
} from '@ambient/discovery'
import type { Rejudge } from '@ambient/hbone'
import {
  type CertificateSigner,
  type IdentityManager,
  createRevocationGuard,
  type RevocationGuard,
} from '@ambient/identity'
import { createPolicyStore, type PolicyStore } from '@ambient/policy'
import { configDump, type DumpedProxy } from './admin/config-dump.ts'
import { followIdentities } from './certificates.ts'
import type { WorkloadName, ZtunnelConfig } from './config/config.ts'
import { createDiscoveryClient, createIdentities } from './control-plane.ts'
import { ZtunnelError } from './errors.ts'
import { createFleet, type Fleet } from './fleet.ts'
import { createLocalWorkload, findByName } from './local-workload.ts'
import { createRelayDial } from './outbound/node-relay.ts'
import type { Random } from './outbound/upstream.ts'
import { createLedger } from './telemetry/ledger.ts'
import { createWorkloadProxy, type WorkloadProxy, type WorkloadProxyOptions } from './workload-proxy.ts'

export interface ZtunnelOptions {
  readonly config: ZtunnelConfig
  /** Takes log lines, newline included. Default: nothing is logged. */
  readonly write?: (text: string) => void
  /** Filled by the caller, instead of or beside what the configuration names. */
  readonly discovery?: { readonly directory: WritableDirectory; readonly policies: PolicyStore }
  /** Signs certificates instead of the CA that the configuration names. The caller closes it. */
  readonly signer?: CertificateSigner
  /**
   * Who its workloads are, instead of certificates that a CA signs: a Workload API's (`createWorkloadApiIdentities`), or
   * a manager of the caller's. The caller closes it, and gives it the revocations: not together with `signer` or
   * `CRL_PATH`.
   */
  readonly identities?: IdentityManager
  /**
   * Listens on sockets that a supervisor holds, so that a successor accepts on them as well: the endpoints are then
   * left to it as soon as this ztunnel closes. Default: sockets of our own.
   */
  readonly bind?: Bind
  readonly clock?: Clock
  /** In [0, 1), for load balancing. */
  readonly random?: Random
}

export interface Ztunnel {
  /**
   * Binds everything, then connects to the control plane. Rejects when a port is taken or the local configuration is
   * wrong; a control plane that is away is waited for.
   */
  start(): Promise<void>
  /** Discovery is complete and the proxies of the workloads listen. Rejects when closed before. */
  readonly ready: Promise<void>
  /** Resolves when the ztunnel is closed, by `close` or by its admin port. */
  readonly closed: Promise<void>
  /** Where the endpoints listen; empty before `start`. */
  addresses(): { readonly admin: string[]; readonly stats: string[]; readonly readiness: string[] }
  /**
   * Judges the peers of all live sessions again, after a change of whom we believe, and ends those that are no longer
   * believed: their connections are cut and written down with the reason. Returns how many sessions ended.
   * @param rejudge default: the verifier that judged first.
   */
  recheckPeers(rejudge?: Rejudge): number
  /** Drains: no new connections, present ones may finish for `graceMs` (default: the configuration's), then are cut. */
  close(options?: { readonly graceMs?: number }): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/**
 * Wires a ztunnel; no I/O before `start`.
 * @throws ZtunnelError `AMBIENT_E_CONFIG` for options that exclude one another
 */
export function createZtunnel(options: ZtunnelOptions): Ztunnel {
  return new LiveZtunnel(options)
}

class LiveZtunnel implements Ztunnel {
  readonly #config: ZtunnelConfig
  readonly #clock: Clock
  readonly #random: Random
  readonly #log: LogSink
  readonly #metrics = createMetricsRegistry()
  readonly #readiness = createReadiness()
  readonly #directory: WritableDirectory
  readonly #policies: PolicyStore
  readonly #revocations: RevocationGuard
  readonly #identities: ReturnType<typeof createIdentities>
  readonly #discovery: AdsClient | undefined
  readonly #endpoints: ProxyEndpoints
  readonly #bind: Bind | undefined
  #fleet: Fleet | undefined
  #dedicated: WorkloadProxy | undefined
  #unfollow: (() => void) | undefined
  readonly #life: ProxyLife

  constructor(options: ZtunnelOptions) {
    const { config } = options
    this.#config = config
    this.#clock = options.clock ?? systemClock
    this.#random = options.random ?? Math.random
    this.#bind = options.bind
    this.#endpoints = createEndpoints({ ...config, bind: options.bind })
    this.#log = createLogSink({ ...config.log, write: options.write ?? (() => {}), clock: this.#clock })
    this.#directory = options.discovery?.directory ?? createDirectory({ localNode: config.nodeName })
    this.#policies = options.discovery?.policies ?? createPolicyStore()
    const logger = this.#log.scope('identity')
    this.#revocations = createRevocationGuard({
      config: config.crl,
      recheck: () => this.recheckPeers(),
      clock: this.#clock,
      logger,
      meter: this.#metrics,
    })
    this.#identities = createIdentities({
      config,
      identities: options.identities,
      signer: options.signer,
      revocations: this.#revocations.revocations,
      clock: this.#clock,
      logger,
    })
    this.#discovery = createDiscoveryClient({
      config,
      directory: this.#directory,
      policies: this.#policies,
      clock: this.#clock,
      logger: this.#log.scope('xds'),
      meter: this.#metrics,
    })
    this.#life = createProxyLife({
      refusal: when => new ZtunnelError('AMBIENT_E_CLOSED', `the ztunnel was ${when}`),
      onClosing: graceMs => this.#log.scope('app').info({ graceMs }, 'draining'),
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

  addresses(): { readonly admin: string[]; readonly stats: string[]; readonly readiness: string[] } {
    return this.#endpoints.addresses()
  }

  recheckPeers(rejudge?: Rejudge): number {
    return (this.#fleet?.recheckPeers(rejudge) ?? 0) + (this.#dedicated?.recheckPeers(rejudge) ?? 0)
  }

  close(options: { readonly graceMs?: number } = {}): Promise<void> {
    return this.#life.close(options.graceMs ?? this.#config.terminationDeadlineMs)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #start(): Promise<void> {
    const logger = this.#log.scope('app')
    registerProcessMetrics(this.#metrics, 'ztunnel', this.#config.version)
    registerCertificateExpiry(this.#metrics, () => this.#identities.manager.list())
    for (const { name, severity, reason } of this.#config.ignored)
      logger[severity]({ variable: name }, `environment variable without effect: ${reason}`)
    const synced = this.#readiness.task('state manager')
    const proxied = this.#readiness.task(this.#config.mode === 'shared' ? 'workload proxy manager' : 'proxy')
    await this.#endpoints.listen('readiness', this.#config.ports.readiness, readinessHandler(this.#readiness))
    this.#loadLocal()
    await this.#revocations.start()
    await this.#endpoints.listen('admin', this.#config.ports.admin, this.#adminHandler())
    await this.#endpoints.listen('stats', this.#config.ports.stats, statsHandler(this.#metrics))
    if (this.#config.mode === 'dedicated') {
      this.#dedicated = this.#createDedicated()
      await this.#dedicated.start()
      this.#unfollow = this.#recheckDedicated(this.#dedicated)
      proxied()
    }
    logger.info({ mode: this.#config.mode, node: this.#config.nodeName }, 'ztunnel started')
    this.#discovery?.start()
    void this.#becomeReady(synced, proxied)
  }

  /** A policy that is attached to the workload later counts for the connections that it has. */
  #recheckDedicated(proxy: WorkloadProxy): () => void {
    const own = this.#config.proxyWorkload
    return this.#directory.watch(({ workloads }) => {
      for (const uid of workloads) {
        const workload = this.#directory.workload(uid)
        if (workload?.namespace === own?.namespace && workload?.name === own?.name && workload !== undefined)
          proxy.recheck(workload)
      }
    })
  }

  async #becomeReady(synced: () => void, proxied: () => void): Promise<void> {
    try {
      await this.#discovery?.ready
      synced()
      if (this.#config.mode === 'shared' && this.#life.isRunning) {
        this.#unfollow = followIdentities({
          directory: this.#directory,
          nodeName: this.#config.nodeName,
          trustDomain: this.#config.trustDomain,
          manager: this.#identities.manager,
        })
        this.#fleet = this.#createFleet()
        await this.#fleet.start()
        proxied()
      }
      this.#log.scope('app').info({}, 'ztunnel is ready')
      this.#life.becameReady()
    } catch (error) {
      this.#life.failed(error)
    }
  }

  async #close(graceMs: number): Promise<void> {
    if (this.#bind !== undefined) await this.#endpoints.close()
    await Promise.all([this.#fleet?.close({ graceMs }), this.#dedicated?.close({ graceMs })])
    this.#unfollow?.()
    await this.#discovery?.close()
    await this.#revocations.close()
    await this.#identities.close()
    await this.#endpoints.close()
    this.#log.scope('app').info({}, 'shutdown complete')
    this.#log.flush()
  }

  #loadLocal(): void {
    const { localXds } = this.#config
    if (localXds === undefined) return
    applyLocalConfig(readLocalConfig(localXds.text, localXds.file), this.#directory, this.#policies)
  }

  #adminHandler(): HttpHandler {
    return adminHandler({
      title: 'ztunnel',
      dumped: 'workloads, services, policies, certificates, connections',
      metrics: this.#metrics,
      log: this.#log,
      defaultFilter: this.#config.log.filter,
      onQuit: () => void this.close(),
      configDump: () => {
        const { workloads, services } = this.#directory.snapshot()
        return configDump({
          config: this.#config,
          directory: this.#directory,
          workloads,
          services,
          policies: this.#policies.list(),
          certificates: this.#identities.manager.list(),
          proxies: this.#proxies(),
        })
      },
    })
  }

  #proxies(): readonly DumpedProxy[] {
    const wanted = this.#config.proxyWorkload
    if (this.#dedicated === undefined || wanted === undefined) return this.#fleet?.proxies() ?? []
    const uid = findByName(this.#directory, this.#config.nodeName, wanted)?.uid
    return [
      {
        ...wanted,
        uid: uid ?? `${wanted.namespace}/${wanted.name}`,
        state: 'Up',
        connections: this.#dedicated.connections(),
      },
    ]
  }

  #createFleet(): Fleet {
    return createFleet({
      directory: this.#directory,
      nodeName: this.#config.nodeName,
      clock: this.#clock,
      logger: this.#log.scope('proxy'),
      meter: this.#metrics,
      graceMs: this.#config.terminationDeadlineMs,
      createProxy: workload => this.#createShared(workload),
    })
  }

  #createShared(workload: Workload): WorkloadProxy {
    const { uid, namespace, name, serviceAccount, addresses } = workload
    return createWorkloadProxy({
      ...this.#proxyParts(() => this.#directory.workload(uid), { namespace, name, serviceAccount }),
      listenOn: { addresses, socks: addresses, captured: false },
      sourceAddress: addresses.find(isLoopback),
      rootless: true,
    })
  }

  #createDedicated(): WorkloadProxy {
    const { proxyWorkload, nodeName, instanceIp, ipv6Enabled, socks5 } = this.#config
    if (proxyWorkload === undefined) throw new ZtunnelError('AMBIENT_E_CONFIG', 'no workload to act for')
    const isLocal = isLoopback(instanceIp)
    const loopback = isLocal ? instanceIp : '127.0.0.1'
    return createWorkloadProxy({
      ...this.#proxyParts(() => findByName(this.#directory, nodeName, proxyWorkload), proxyWorkload),
      listenOn: {
        addresses: [isLocal ? instanceIp : ipv6Enabled ? '::' : '0.0.0.0'],
        socks: socks5.enabled ? [loopback] : [],
        captured: true,
      },
      sourceAddress: isLocal ? instanceIp : undefined,
      rootless: false,
    })
  }

  #proxyParts(
    find: () => Workload | undefined,
    { namespace, name, serviceAccount }: WorkloadName,
  ): Omit<WorkloadProxyOptions, 'listenOn' | 'sourceAddress' | 'rootless'> {
    const { nodeRelay, network, nodeName } = this.#config
    const clock = this.#clock
    const directory = this.#directory
    return {
      config: this.#config,
      description: `${namespace}/${name}`,
      workload: createLocalWorkload({
        directory,
        clock,
        find,
        description: `${serviceAccount}.${namespace} (${name})`,
      }),
      directory,
      policies: this.#policies,
      credentials: this.#identities.manager,
      onPeerRefused: (reporter, error) => this.#revocations.failed(reporter, error),
      ledger: createLedger({ metrics: this.#metrics, log: this.#log, clock }),
      dial:
        nodeRelay === undefined
          ? dialDirect
          : createRelayDial({ relay: nodeRelay, directory, network, nodeName, clock }),
      ...(this.#bind === undefined ? {} : { bind: this.#bind }),
      logger: this.#log.scope('proxy'),
      clock,
      random: this.#random,
    }
  }
}
