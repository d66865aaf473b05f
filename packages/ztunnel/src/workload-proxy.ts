/**
 * Everything that one workload has of its own: listeners, HBONE server, pool, guard, drain. Nothing of it is shared
 * with another workload, so neither is a connection, a certificate or a decision.
 */
import type { Socket } from 'node:net'
import { setMaxListeners } from 'node:events'
import {
  canonicalIp,
  type Clock,
  createDrain,
  type CredentialsSource,
  type Drain,
  type Logger,
  messageOf,
  type Workload,
} from '@ambient/core'
import { type Bind, type Dial, type Listener, listen, resetSocket } from '@ambient/core/node'
import { workloadIdentity } from '@ambient/core/proxy'
import {
  createDoubleHbonePool,
  createHbonePool,
  createHboneServer,
  type DoubleHbonePool,
  type HbonePool,
  type HboneServer,
  type Rejudge,
} from '@ambient/hbone'
import { replySocks, socksReplies } from '@ambient/hbone/socks'
import { createAuthorizer, type PolicyAuthorizer, type PolicyStore } from '@ambient/policy'
import type { WritableDirectory } from '@ambient/discovery'
import type { ZtunnelConfig } from './config/config.ts'
import { ZtunnelError } from './errors.ts'
import { hboneLimits } from './hbone-limits.ts'
import { handlePlaintext, type PassthroughContext } from './inbound/passthrough.ts'
import { handleTunnel } from './inbound/tunnel.ts'
import { outcomeOfConnect } from './outcome.ts'
import { localAddressDestination } from './outbound/capture/original-destination.ts'
import { checkSecret } from './outbound/capture/secrets.ts'
import { acceptSocks } from './outbound/capture/socks5.ts'
import { resolveName } from './outbound/names.ts'
import { handleOutbound, type OutboundContext } from './outbound/outbound.ts'
import type { Target } from './outbound/route.ts'
import type { Random } from './outbound/upstream.ts'
import type { ConnectionFacts, Ledger } from './telemetry/ledger.ts'

export interface WorkloadProxyOptions {
  readonly config: ZtunnelConfig
  /** `namespace/name`, for log lines. */
  readonly description: string
  /** The workload that is served, as discovery knows it now; waits a while for one that is not known yet. */
  readonly workload: () => Promise<Workload>
  readonly listenOn: {
    /** For 15001, 15006 and 15008. */
    readonly addresses: readonly string[]
    /** For SOCKS5; empty when it is off. */
    readonly socks: readonly string[]
    /** 15001 is for captured connections; rootless shared mode has none. */
    readonly captured: boolean
  }
  /** Bound as source of what is opened for the workload. */
  readonly sourceAddress: string | undefined
  /** Workloads prove themselves to SOCKS5, plaintext comes with a PROXY header, and some are outside the mesh. */
  readonly rootless: boolean
  readonly directory: WritableDirectory
  readonly policies: PolicyStore
  readonly credentials: CredentialsSource
  /** A new connection failed; perhaps for the peer's certificate. */
  readonly onPeerRefused: (reporter: 'destination' | 'source', error: unknown) => void
  /** This workload's own. */
  readonly ledger: Ledger
  readonly dial: Dial
  /** Default: sockets of our own. */
  readonly bind?: Bind
  readonly logger: Logger
  readonly clock: Clock
  readonly random: Random
}

export interface WorkloadProxy {
  /** Binds every listener, or none. @throws CoreError `AMBIENT_E_LISTEN` */
  start(): Promise<void>
  /** Asks peers to open new sessions, and does so itself: after an enrolment or the end of one. */
  retire(): void
  /** To be called when the workload changed in discovery: its policies may be others now. */
  recheck(workload: Workload): void
  /** To be called when trust changed; returns how many sessions ended. See `HboneServer.recheck`. */
  recheckPeers(rejudge?: Rejudge): number
  /** Connections that are open now. */
  connections(): readonly ConnectionFacts[]
  /** Frees the ports; connections live on. Idempotent. */
  stopListening(): Promise<void>
  /** Stops listening, lets connections finish for so long, then cuts them. Idempotent. */
  close(options: { readonly graceMs: number }): Promise<void>
}

export function createWorkloadProxy(options: WorkloadProxyOptions): WorkloadProxy {
  return new LiveWorkloadProxy(options)
}

class LiveWorkloadProxy implements WorkloadProxy {
  readonly #options: WorkloadProxyOptions
  readonly #drain: Drain
  readonly #authorizer: PolicyAuthorizer
  readonly #ledger: Ledger
  readonly #server: HboneServer
  readonly #pool: HbonePool
  readonly #gatewayPool: DoubleHbonePool
  readonly #inbound: PassthroughContext
  readonly #outbound: OutboundContext
  readonly #handshakes = new Set<Socket>()
  /** Sessions that end now are no new connections. */
  #isRechecking = false
  #listeners: Listener[] = []
  #stopping: Promise<void> | undefined
  #closing: Promise<void> | undefined

  constructor(options: WorkloadProxyOptions) {
    const { config, clock, logger, directory } = options
    this.#options = options
    this.#drain = createDrain(clock)
    // Each connection listens for the end of the drain.
    const probe = this.#drain.hold()
    setMaxListeners(0, probe.draining, probe.forced)
    probe.release()
    this.#authorizer = createAuthorizer({
      store: options.policies,
      logger: options.config.policyDecisionsAtInfo ? decisionsAtInfo(logger) : logger,
      currentWorkload: uid => directory.workload(uid),
    })
    this.#ledger = options.ledger
    const limits = hboneLimits(config)
    this.#pool = createHbonePool({ dial: options.dial, clock, logger, limits })
    this.#gatewayPool = createDoubleHbonePool({ outer: this.#pool, clock, logger, limits })
    this.#inbound = this.#inboundContext()
    this.#outbound = this.#outboundContext()
    this.#server = this.#createServer()
  }

  async start(): Promise<void> {
    const { config, listenOn } = this.#options
    const { ports } = config
    const wanted: { host: string; port: number; onConnection: (socket: Socket) => void }[] = []
    for (const host of listenOn.addresses) {
      wanted.push({ host, port: ports.inboundHbone, onConnection: this.#onHbone })
      wanted.push({ host, port: ports.inboundPlaintext, onConnection: this.#onPlaintext })
      if (listenOn.captured) wanted.push({ host, port: ports.outbound, onConnection: this.#onCaptured })
    }
    for (const host of listenOn.socks)
      wanted.push({ host, port: ports.socks5, onConnection: socket => void this.#onSocks(socket) })
    const { bind } = this.#options
    const binding = bind === undefined ? {} : { bind }
    const settled = await Promise.allSettled(wanted.map(at => listen({ ...at, ...binding })))
    const bound = settled.filter(result => result.status === 'fulfilled').map(result => result.value)
    const failed = settled.find(result => result.status === 'rejected')
    if (failed !== undefined || this.#stopping !== undefined) {
      await Promise.all(bound.map(listener => listener.close()))
      throw failed?.reason ?? new ZtunnelError('AMBIENT_E_CLOSED', 'closed while it was starting')
    }
    this.#listeners = bound
  }

  retire(): void {
    this.#server.retire()
    this.#gatewayPool.retire()
    this.#pool.retire()
  }

  recheck(workload: Workload): void {
    // A policy that is named and not known yet arrives next, and the store's change re-checks then; judging by it now
    // would cut connections for a policy that nobody has read. A DENY that is known counts at once.
    const known = workload.authorizationPolicies.every(key => this.#options.policies.get(key) !== undefined)
    this.#authorizer.recheck({ explicitOnly: !known })
  }

  recheckPeers(rejudge?: Rejudge): number {
    const all = [this.#server, this.#gatewayPool, this.#pool]
    this.#isRechecking = true
    const ended = all.reduce((sum, sessions) => sum + sessions.recheck(rejudge), 0)
    this.#isRechecking = false
    return ended
  }

  connections(): readonly ConnectionFacts[] {
    return this.#ledger.connections()
  }

  close({ graceMs }: { readonly graceMs: number }): Promise<void> {
    this.#closing ??= this.#close(graceMs)
    return this.#closing
  }

  stopListening(): Promise<void> {
    this.#stopping ??= this.#stopListening()
    return this.#stopping
  }

  async #stopListening(): Promise<void> {
    await Promise.all(this.#listeners.map(listener => listener.close()))
    this.#options.logger.info({ workload: this.#options.description }, 'proxy stopped listening')
  }

  async #close(graceMs: number): Promise<void> {
    await this.stopListening()
    // Who was accepted is served: handshakes hold the drain, those of TLS the server.
    const force = (): void => {
      for (const socket of this.#handshakes) socket.destroy()
    }
    if (graceMs <= 0) force()
    const timer = this.#options.clock.after(graceMs, force, { keepAlive: true })
    const [{ forced }] = await Promise.all([this.#drain.start({ graceMs }), this.#server.close({ graceMs })])
    timer.cancel()
    if (forced > 0)
      this.#options.logger.warn(
        { connections: forced },
        'drain duration expired with pending connections, forcefully shutting down',
      )
    await this.#gatewayPool.close({ graceMs: 0 })
    await this.#pool.close({ graceMs: 0 })
    this.#authorizer.close()
    this.#ledger.release()
  }

  readonly #onHbone = (socket: Socket): void => {
    socket.once('close', this.#ledger.socketOpened('destination'))
    this.#server.accept(socket)
  }

  readonly #onPlaintext = (socket: Socket): void => void handlePlaintext(this.#inbound, socket)

  readonly #onCaptured = (socket: Socket): void => {
    socket.on('error', () => {})
    socket.once('close', this.#ledger.socketOpened('source'))
    const source = peerOf(socket)
    const destination = localAddressDestination(socket)
    if (source === undefined || destination === undefined) return void socket.destroy()
    // Until the kernel says where a connection was going, what reaches this port was sent to this port.
    if (destination.port === this.#options.config.ports.outbound) {
      this.#ledger.refused({
        source,
        destination,
        direction: 'outbound',
        error: 'attempted recursive call to ourselves',
      })
      return resetSocket(socket)
    }
    void handleOutbound(this.#outbound, { socket, source, destination })
  }

  async #onSocks(socket: Socket): Promise<void> {
    const { logger, clock, sourceAddress, rootless } = this.#options
    socket.on('error', () => {})
    socket.once('close', this.#ledger.socketOpened('source'))
    const peer = peerOf(socket)
    if (peer === undefined) return void socket.destroy()
    // The secret proved the workload, so its address stands for the client's, which is any of this machine.
    const source = rootless && sourceAddress !== undefined ? { ...peer, address: sourceAddress } : peer
    const lease = this.#drain.hold()
    this.#handshakes.add(socket)
    try {
      const request = await acceptSocks(socket, { clock, ...this.#passwordCheck() })
      this.#handshakes.delete(socket)
      const workload = await this.#options.workload()
      const address = this.#resolve(request.host, workload)
      if (address === undefined) {
        replySocks(socket, socksReplies.hostUnreachable)
        throw new ZtunnelError('AMBIENT_E_SOCKS5', `unknown host ${request.host}`)
      }
      await handleOutbound(this.#outbound, {
        socket,
        source,
        destination: { address, port: request.port },
        lease,
        answer: code => replySocks(socket, code),
      })
    } catch (error) {
      this.#handshakes.delete(socket)
      logger.info(
        { peer: `${peer.address}:${peer.port}`, error: messageOf(error) },
        'socks connection refused',
      )
      socket.resume()
      socket.end(() => socket.destroySoon())
    } finally {
      lease.release()
    }
  }

  #passwordCheck(): { checkPassword?: (username: string, password: string) => Promise<boolean> } {
    const { rootless, config, logger } = this.#options
    if (!rootless) return {}
    return {
      checkPassword: async (username, password) => {
        const { namespace, name } = await this.#options.workload()
        const directory = config.socks5.secretsDir
        return (
          directory !== undefined && checkSecret({ directory, namespace, name, username, password, logger })
        )
      },
    }
  }

  #resolve(host: string, source: Workload): string | undefined {
    const { directory, config, random } = this.#options
    const { network, clusterDomain } = config
    const resolution = resolveName({ host, source, directory, network, clusterDomain, random })
    return resolution.kind === 'address' ? resolution.address : undefined
  }

  #inboundContext(): PassthroughContext {
    const { config, rootless } = this.#options
    return {
      authorizer: this.#authorizer,
      ledger: this.#ledger,
      drain: this.#drain,
      // Delivery never leaves this machine, so no relay stands in between.
      dial: this.#options.dial,
      originalSource: config.originalSource,
      workload: this.#options.workload,
      directory: this.#options.directory,
      network: config.network,
      trustDomain: config.trustDomain,
      illegalPorts: illegalPorts(config),
      responseBaggage: config.responseBaggage,
      expectsHeader: rootless,
    }
  }

  #outboundContext(): OutboundContext {
    const { config } = this.#options
    return {
      pool: this.#pool,
      gatewayPool: this.#gatewayPool,
      credentials: this.#options.credentials,
      onConnectFailed: error => this.#options.onPeerRefused('source', error),
      dial: this.#options.dial,
      trustDomain: config.trustDomain,
      sourceAddress: this.#options.sourceAddress,
      workload: this.#options.workload,
      directory: this.#options.directory,
      network: config.network,
      ledger: this.#ledger,
      drain: this.#drain,
      random: this.#options.random,
      hbonePort: config.ports.inboundHbone,
      illegalPorts: illegalPorts(config),
      plaintextEntrance: this.#options.rootless ? config.ports.inboundPlaintext : undefined,
    }
  }

  #createServer(): HboneServer {
    const { config, credentials, clock, logger } = this.#options
    const refused = (source: Target, local: Target, error: string): void =>
      this.#ledger.refused({ source, destination: local, direction: 'inbound', error })
    return createHboneServer({
      clock,
      logger,
      limits: hboneLimits(config),
      credentials: async () => {
        const workload = await this.#options.workload()
        const id = workloadIdentity(workload, config.trustDomain)
        if (id === undefined)
          throw new ZtunnelError('AMBIENT_E_UNKNOWN_WORKLOAD', `${workload.uid} has no valid SPIFFE ID`)
        return credentials.get(id)
      },
      onTunnel: request => handleTunnel(this.#inbound, request),
      onFailure: ({ source, local, error }) => {
        if (!this.#isRechecking) this.#options.onPeerRefused('destination', error)
        refused(source, local, outcomeOfConnect(error).error ?? error.message)
      },
      onRefused: ({ source, local, reason }) => refused(source, local, reason),
    })
  }
}

/** AUTHZ_POLICY_INFO_LOGGING. */
function decisionsAtInfo(logger: Logger): Logger {
  return {
    debug: (fields, message) => logger.info(fields, message),
    info: (fields, message) => logger.info(fields, message),
    warn: (fields, message) => logger.warn(fields, message),
    error: (fields, message) => logger.error(fields, message),
  }
}

function illegalPorts(config: ZtunnelConfig): ReadonlySet<number> {
  const { outbound, inboundPlaintext, inboundHbone, socks5 } = config.ports
  return new Set([outbound, inboundPlaintext, inboundHbone, ...(config.socks5.enabled ? [socks5] : [])])
}

function peerOf(socket: Socket): Target | undefined {
  const address = canonicalIp(socket.remoteAddress ?? '')
  return address === undefined || socket.remotePort === undefined
    ? undefined
    : { address, port: socket.remotePort }
}
