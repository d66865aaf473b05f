/** A SPIFFE Workload API of our own: on Unix sockets, for workloads of this machine, from any source of credentials. */
import { createServer, type Server as NetServer, type Socket } from 'node:net'
import { Server, ServerCredentials } from '@grpc/grpc-js'
import {
  type Clock,
  type CredentialsSource,
  type Logger,
  messageOf,
  silentLogger,
  systemClock,
} from '@ambient/core'
import type { Federation } from '../bundle/federation.ts'
import type { SpiffeBundle } from '../bundle/spiffe-bundle.ts'
import { workloadApiServerDefaults } from '../defaults.ts'
import { IdentityError } from '../errors.ts'
import type { CertificateAuthorityFolder } from '../ca/authority-folder.ts'
import type { JwtAuthority } from '../jwt/authority.ts'
import { readPem } from '../x509/pem.ts'
import { readWorkloadApiAddress } from './address.ts'
import type { AttestWorkload, WorkloadCaller } from './caller.ts'
import { loadPeerCredentials, type ReadPeerCredentials } from './peer-credentials.ts'
import { addWorkloadApi, type WorkloadApiHost } from './server-methods.ts'
import { type BoundSocket, bindSocket, ownerOfSocketFolder } from './socket-folder.ts'
import { checkOptions } from '../option-checks.ts'

export interface WorkloadApiServerOptions {
  /** `unix:///ABSOLUTE/PATH`, one or several: where the kernel does not tell who connects, one per workload does. */
  readonly listen: string | readonly string[]
  /** Which identities are due to whom; none refuses. Asked for each call, and again after `refresh`. */
  readonly attest: AttestWorkload
  /** Who issues: a manager over a CA, or anything else that has credentials by SPIFFE ID. Not closed. */
  readonly credentials: CredentialsSource
  /** Who signs tokens. Without it, calls for JWT-SVIDs are answered UNIMPLEMENTED. */
  readonly jwt?: JwtAuthority
  /** Bundles of other trust domains. Not closed. */
  readonly federation?: Pick<Federation, 'bundles' | 'watch'>
  /**
   * The CA whose roots are pushed as soon as they change, with the certificates that are held by then. Default: workloads
   * get the roots that their certificates came with. Not closed.
   */
  readonly authority?: Pick<CertificateAuthorityFolder, 'trustDomain' | 'rootPem' | 'watch'>
  /** PEM of the revocation lists that workloads are given; asked for each snapshot. Default: none. */
  readonly revocationLists?: () => string | Promise<string>
  /** Of the sockets. Default 0o600; 0o666 where the policy, or the folder, tells workloads apart. */
  readonly socketMode?: number
  /**
   * Whether the kernel is asked who connects, for which the package `koffi` must be installed. `auto` goes on without it:
   * policies that need a user, group or process then match nobody, but for sockets in a folder of one user. Default `auto`.
   */
  readonly peerCredentials?: 'auto' | 'require' | 'never'
  readonly clock?: Clock
  readonly logger?: Logger
}

export interface WorkloadApiServer {
  /** What a workload's `SPIFFE_ENDPOINT_SOCKET` has to say, one for each socket. */
  readonly addresses: readonly string[]
  /** @throws IdentityError `AMBIENT_E_WORKLOAD_API_LISTEN` */
  start(): Promise<void>
  /** The policy or the JWT keys have changed: every open stream is looked at again. */
  refresh(): void
  /** Ends every stream and removes the sockets. Idempotent. */
  close(options?: { readonly graceMs?: number }): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** Nothing is bound before `start`. @throws IdentityError `AMBIENT_E_IDENTITY_OPTION` */
export function createWorkloadApiServer(options: WorkloadApiServerOptions): WorkloadApiServer {
  checkOptions(options, { attest: 'function', credentials: 'credentials' })
  return new ApiServer(options)
}

interface Listener {
  readonly path: string
  readonly server: NetServer
  bound: BoundSocket | undefined
}

class ApiServer implements WorkloadApiServer {
  readonly addresses: readonly string[]
  readonly #listeners: readonly Listener[]
  readonly #mode: number
  readonly #peerCredentials: 'auto' | 'require' | 'never'
  readonly #host: WorkloadApiHost
  readonly #logger: Logger
  readonly #closing = new AbortController()
  readonly #watchers = new Set<() => void>()
  readonly #connections = new Map<Socket, Server>()
  readonly #perUser = new Map<number, number>()
  #readPeer: ReadPeerCredentials | undefined
  #keys = ''
  #unwatch: () => void = () => {}
  /** Of bundles: what is listened to while the server runs. */
  readonly #watchBeliefs: () => () => void
  #started: Promise<void> | undefined
  #closed: Promise<void> | undefined

  constructor(options: WorkloadApiServerOptions) {
    const { attest, credentials, jwt, federation, logger = silentLogger } = options
    const { socketMode = workloadApiServerDefaults.socketMode, peerCredentials = 'auto' } = options
    this.addresses = Object.freeze([options.listen].flat())
    if (!Number.isInteger(socketMode) || socketMode < 0 || socketMode > 0o777)
      throw optionError(`socketMode: ${socketMode} is not between 0 and 0o777`)
    this.#mode = socketMode
    this.#peerCredentials = peerCredentials
    this.#logger = logger
    this.#listeners = socketPaths(this.addresses).map(path => {
      const server = createServer(socket => this.#accept(socket, path))
      server.maxConnections = workloadApiServerDefaults.maxConnections
      return { path, server, bound: undefined }
    })
    this.#host = Object.freeze({
      attest,
      jwt,
      logger,
      source: credentials,
      clock: options.clock ?? systemClock,
      closing: this.#closing.signal,
      federation: (): ReadonlyMap<string, SpiffeBundle> => federation?.bundles() ?? new Map(),
      beliefs: async () => ({
        federation: federation?.bundles() ?? new Map(),
        own: options.authority,
        crls: listsOf((await options.revocationLists?.()) ?? ''),
      }),
      watch: (changed: () => void) => this.#watch(changed),
      signed: () => this.#keysMayHaveChanged(),
    })
    this.#watchBeliefs = () => {
      const stops = [federation?.watch(() => this.refresh()), options.authority?.watch(() => this.refresh())]
      return () => {
        for (const stop of stops) stop?.()
      }
    }
  }

  async start(): Promise<void> {
    if (this.#closed !== undefined)
      throw new IdentityError('AMBIENT_E_IDENTITY_CLOSED', 'the Workload API server is closed', {
        layer: 'identity',
      })
    this.#started ??= this.#start()
    return this.#started
  }

  refresh(): void {
    for (const tell of [...this.#watchers]) tell()
  }

  close({ graceMs = 0 }: { readonly graceMs?: number } = {}): Promise<void> {
    this.#closed ??= this.#close(graceMs)
    return this.#closed
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #start(): Promise<void> {
    await this.#loadPeerCredentials()
    try {
      for (const listener of this.#listeners) {
        listener.bound = await bindSocket(listener.server, listener.path, this.#mode)
        listener.server.on('error', error =>
          this.#logger.error({ error: messageOf(error) }, 'a socket failed'),
        )
      }
    } catch (error) {
      await this.#unbind()
      throw error
    }
    this.#unwatch = this.#watchBeliefs()
    this.#logger.info({ addresses: this.addresses }, 'the Workload API listens')
  }

  async #loadPeerCredentials(): Promise<void> {
    if (this.#peerCredentials === 'never') return
    const support = await loadPeerCredentials()
    if (support.ok) this.#readPeer = support.read
    else if (this.#peerCredentials === 'require')
      throw new IdentityError(
        'AMBIENT_E_WORKLOAD_API_LISTEN',
        `the kernel cannot be asked who connects: ${support.reason}`,
        { layer: 'config' },
      )
    else
      this.#logger.info(
        { reason: support.reason },
        'the kernel cannot be asked who connects: only the sockets tell workloads apart',
      )
  }

  /** A server of its own for each connection: gRPC does not tell a method over which socket it was called. */
  #accept(socket: Socket, path: string): void {
    socket.on('error', () => {})
    if (this.#closing.signal.aborted) return void socket.destroy()
    const caller = this.#callerOf(socket, path)
    if (!this.#admit(socket, caller)) return void socket.destroy()
    const server = new Server({
      'grpc.max_receive_message_length': workloadApiServerDefaults.maxRequestBytes,
      'grpc.max_concurrent_streams': workloadApiServerDefaults.maxStreams,
      'grpc.enable_channelz': 0,
    })
    addWorkloadApi(server, this.#host, caller)
    const injector = server.createConnectionInjector(ServerCredentials.createInsecure())
    this.#connections.set(socket, server)
    socket.once('close', () => {
      this.#connections.delete(socket)
      server.forceShutdown()
    })
    injector.injectConnection(socket)
  }

  /** One user's connections are counted for as long as they last. */
  #admit(socket: Socket, { uid }: WorkloadCaller): boolean {
    if (uid === undefined) return true
    const count = this.#perUser.get(uid) ?? 0
    if (count >= workloadApiServerDefaults.maxConnectionsPerUser) {
      this.#logger.warn({ uid, connections: count }, 'too many connections of one user: refused')
      return false
    }
    this.#perUser.set(uid, count + 1)
    socket.once('close', () => {
      const left = (this.#perUser.get(uid) ?? 1) - 1
      if (left === 0) this.#perUser.delete(uid)
      else this.#perUser.set(uid, left)
    })
    return true
  }

  #callerOf(socket: Socket, path: string): WorkloadCaller {
    const peer = this.#readPeer?.(socket)
    if (peer !== undefined) return Object.freeze({ socket: path, evidence: 'peer-credentials', ...peer })
    const uid = ownerOfSocketFolder(path)
    return Object.freeze(
      uid === undefined
        ? { socket: path, evidence: 'none' }
        : { socket: path, evidence: 'socket-folder', uid },
    )
  }

  #watch(changed: () => void): () => void {
    // Another object for each watch.
    const own = (): void => changed()
    this.#watchers.add(own)
    return () => void this.#watchers.delete(own)
  }

  /** Whoever verifies the token that goes out now has to know its key. */
  #keysMayHaveChanged(): void {
    const keys = [...(this.#host.jwt?.authorities().keys() ?? [])].join(' ')
    if (keys === this.#keys) return
    this.#keys = keys
    this.refresh()
  }

  async #close(graceMs: number): Promise<void> {
    await this.#started?.catch(() => {})
    this.#unwatch()
    const unbound = this.#unbind()
    // Streams end cleanly, so that clients look for the next server at once.
    this.#closing.abort()
    const ended = Promise.all([...this.#connections.values()].map(shutdown))
    if (graceMs > 0) await within(ended, graceMs, this.#host.clock)
    for (const [socket, server] of this.#connections) {
      server.forceShutdown()
      socket.destroy()
    }
    await unbound
  }

  async #unbind(): Promise<void> {
    await Promise.all(
      this.#listeners.map(({ server, bound }) => {
        bound?.remove()
        return server.listening ? new Promise<void>(resolve => server.close(() => resolve())) : undefined
      }),
    )
  }
}

function listsOf(pem: string): readonly Uint8Array[] {
  return readPem(pem, 'AMBIENT_E_CRL')
    .filter(({ label }) => label === 'X509 CRL')
    .map(({ der }) => der)
}

function shutdown(server: Server): Promise<void> {
  return new Promise(resolve => server.tryShutdown(() => resolve()))
}

function within(promise: Promise<unknown>, ms: number, clock: Clock): Promise<void> {
  return new Promise(resolve => {
    const timer = clock.after(ms, resolve, { keepAlive: true })
    promise.then(() => {
      timer.cancel()
      resolve()
    }, resolve)
  })
}

function socketPaths(addresses: readonly string[]): readonly string[] {
  if (addresses.length === 0) throw optionError('listen: no socket is named')
  const paths = addresses.map(text => {
    const address = readWorkloadApiAddress(text)
    if (address.kind === 'unix') return address.path
    throw optionError(`listen: ${text}: a port says nothing of who calls, only Unix sockets are served`)
  })
  if (new Set(paths).size < paths.length) throw optionError('listen: one socket is named twice')
  return paths
}

function optionError(message: string): IdentityError {
  return new IdentityError('AMBIENT_E_IDENTITY_OPTION', message, { layer: 'config' })
}
