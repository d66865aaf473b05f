/** Room 3, the passport desk: one certificate per identity, fetched once, renewed by timer, never served past its end. */
import {
  type Clock,
  type Credentials,
  type CredentialsSource,
  type Logger,
  messageOf,
  silentLogger,
  type SpiffeId,
  systemClock,
} from '@ambient/core'
import { createCredentials, type CredentialsOptions } from '../svid/credentials.ts'
import { createCertificateRequest } from '../x509/csr.ts'
import { managerDefaults } from '../defaults.ts'
import { IdentityError } from '../errors.ts'
import type { IdentityEvent } from './events.ts'
import { type IdentityHost, ManagedIdentity } from './managed-identity.ts'
import { formatPemCertificate, readPemCertificates } from '../x509/pem.ts'
import { nothingRevoked, type Revocations } from '../crl/revocations.ts'
import type { CertificateSigner } from './signer.ts'
import type { X509Source } from '../sources/x509-source.ts'
import { managedSource } from './managed-source.ts'
import { createSigningQueue, priorities } from './signing-queue.ts'
import { createTurns } from './turns.ts'
import { checkOption, checkOptions } from '../option-checks.ts'

export interface IdentityManagerOptions {
  /** Called, never closed. */
  readonly signer: CertificateSigner
  /** Lifetime to ask for. Default 24 h. */
  readonly ttlMs?: number
  /** What the credentials ask of withdrawn certificates. Default: nothing is withdrawn. */
  readonly revocations?: Revocations
  /**
   * PEM of the anchors of other trust domains, by trust domain, as they are now. Asked for each generation;
   * `changeBundles` makes one.
   */
  readonly federatedBundles?: () => ReadonlyMap<string, string>
  /** Hears of each transition. What it throws is logged. */
  readonly onEvent?: (event: IdentityEvent) => void
  readonly clock?: Clock
  readonly logger?: Logger
  /** Signing calls at once. Default 8. */
  readonly maxConcurrent?: number
  /** In [0, 1), for the jitter. Default `Math.random`. */
  readonly random?: () => number
}

const NO_BUNDLES: ReadonlyMap<string, string> = new Map()

export interface CertificateStatus {
  /** SPIFFE ID. */
  readonly identity: string
  readonly state: 'Initializing' | 'Available' | `Unavailable: ${string}`
  /** PEM, leaf first. Empty while there is none. */
  readonly certChain: readonly string[]
  /** PEM, one each. */
  readonly rootCerts: readonly string[]
  /** Milliseconds since the epoch. */
  readonly notBefore?: number
  readonly notAfter?: number
  /** The next attempt, unless one is under way. */
  readonly nextRotation?: number
}

/**
 * `get` rejects with `AMBIENT_E_IDENTITY_UNAVAILABLE` while there is no certificate yet and the last attempt failed, with
 * `AMBIENT_E_IDENTITY_EXPIRED` when the old one ran out meanwhile, with `AMBIENT_E_IDENTITY_FORGOTTEN` or
 * `AMBIENT_E_IDENTITY_CLOSED` when that happened to whoever waited.
 */
export interface IdentityManager extends CredentialsSource {
  /** Fetches ahead of need; does nothing for an identity that is known. */
  prefetch(id: SpiffeId): void
  /** Drops certificate and key; whoever waits gets `AMBIENT_E_IDENTITY_FORGOTTEN`. Watches stay. */
  forget(id: SpiffeId): void
  /** A new certificate now. The old one stays when that fails. */
  rotate(id: SpiffeId): Promise<Credentials>
  /** The federated bundles changed: every identity gets a new generation with the certificate that it has. */
  changeBundles(): void
  list(): readonly CertificateStatus[]
  /** One identity as a source of its own: for TLS, a Workload API server, whatever speaks for one workload. */
  x509Source(id: SpiffeId): X509Source
  /** Ends every attempt and timer. Idempotent. */
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** @throws IdentityError `AMBIENT_E_IDENTITY_OPTION` */
export function createIdentityManager(options: IdentityManagerOptions): IdentityManager {
  return new Manager(options)
}

class Manager implements IdentityManager {
  readonly #identities = new Map<string, ManagedIdentity>()
  readonly #watchers = new Map<string, Set<(credentials: Credentials) => void>>()
  readonly #signer: CertificateSigner
  readonly #ttlMs: number
  readonly #revocations: Revocations
  readonly #federatedBundles: () => ReadonlyMap<string, string>
  readonly #onEvent: (event: IdentityEvent) => void
  readonly #turns = createTurns()
  readonly #host: IdentityHost
  #generation = 0
  #closed = false

  constructor(options: IdentityManagerOptions) {
    checkOptions(options, { signer: 'signer' })
    const {
      ttlMs = managerDefaults.ttlMs,
      maxConcurrent = managerDefaults.maxConcurrent,
      clock = systemClock,
      logger = silentLogger,
      random = Math.random,
    } = options
    if (!(ttlMs > 0)) throw optionError(`ttlMs: ${ttlMs} is not positive`)
    if (!Number.isInteger(maxConcurrent) || maxConcurrent < 1)
      throw optionError(`maxConcurrent: ${maxConcurrent} is not a positive integer`)
    this.#signer = options.signer
    this.#ttlMs = ttlMs
    this.#revocations = options.revocations ?? nothingRevoked
    this.#federatedBundles = options.federatedBundles ?? (() => NO_BUNDLES)
    this.#onEvent = options.onEvent ?? (() => {})
    this.#host = Object.freeze({
      clock,
      logger,
      random,
      queue: createSigningQueue(maxConcurrent),
      issue: (id: SpiffeId, signal: AbortSignal) => this.#issue(id, signal),
      rebuild: (credentials: Credentials) => this.#rebuild(credentials),
      announce: (credentials: Credentials) => this.#announce(credentials),
      tell: (event: IdentityEvent) => this.#tell(event),
    })
  }

  async get(id: SpiffeId, options: { readonly signal?: AbortSignal } = {}): Promise<Credentials> {
    options.signal?.throwIfAborted()
    const identity = this.#identity(id)
    const present = identity.current
    if (present !== undefined) return present
    const { problem } = identity
    if (problem !== undefined) throw problem
    return abortable(identity.renew(priorities.realTime), options.signal)
  }

  current(id: SpiffeId): Credentials | undefined {
    return this.#identities.get(id.uri)?.current
  }

  watch(id: SpiffeId, listener: (credentials: Credentials) => void): () => void {
    // Another object for each watch: one function may watch twice.
    const own = (credentials: Credentials): void => listener(credentials)
    const listeners = this.#watchers.get(id.uri) ?? new Set()
    this.#watchers.set(id.uri, listeners.add(own))
    return () => {
      listeners.delete(own)
      if (listeners.size === 0 && this.#watchers.get(id.uri) === listeners) this.#watchers.delete(id.uri)
    }
  }

  prefetch(id: SpiffeId): void {
    if (this.#closed || this.#identities.has(id.uri)) return
    // The outcome is kept in the identity's state.
    this.#identity(id)
      .renew(priorities.warmup)
      .catch(() => {})
  }

  forget(id: SpiffeId): void {
    const identity = this.#identities.get(id.uri)
    this.#identities.delete(id.uri)
    if (identity === undefined) return
    identity.end(
      new IdentityError('AMBIENT_E_IDENTITY_FORGOTTEN', `${id.uri}: the identity is no longer needed`, {
        layer: 'identity',
      }),
    )
    this.#tell({ kind: 'forgotten', identity: id.uri })
  }

  async rotate(id: SpiffeId): Promise<Credentials> {
    return this.#identity(id).renew(priorities.realTime)
  }

  changeBundles(): void {
    for (const identity of this.#identities.values()) identity.changeBundles()
  }

  list(): readonly CertificateStatus[] {
    return [...this.#identities.values()]
      .map(statusOf)
      .sort((a, b) => (a.identity < b.identity ? -1 : a.identity > b.identity ? 1 : 0))
  }

  x509Source(id: SpiffeId): X509Source {
    checkOption('id', id, 'id')
    return managedSource(this, id)
  }

  async close(): Promise<void> {
    this.#closed = true
    for (const identity of this.#identities.values()) identity.end(closedError(identity.id))
    this.#identities.clear()
    this.#watchers.clear()
    await this.#host.queue.idle()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #identity(id: SpiffeId): ManagedIdentity {
    checkOption('id', id, 'id')
    if (this.#closed) throw closedError(id)
    const known = this.#identities.get(id.uri)
    if (known !== undefined) return known
    const identity = new ManagedIdentity(id, this.#host)
    this.#identities.set(id.uri, identity)
    return identity
  }

  async #issue(id: SpiffeId, signal: AbortSignal): Promise<Credentials> {
    const { csrPem, privateKey } = await this.#turns.take(() => createCertificateRequest(id))
    const chain = await abortable(this.#signer.sign({ id, csrPem, ttlMs: this.#ttlMs, signal }), signal)
    const credentials = await this.#turns.take(() =>
      createCredentials({
        certificateChain: chain.slice(0, -1).join('\n'),
        privateKey,
        trustBundle: chain[chain.length - 1] ?? '',
        ...this.#surroundings(),
      }),
    )
    if (credentials.id.uri !== id.uri)
      throw new IdentityError(
        'AMBIENT_E_CA_RESPONSE',
        `the certificate for ${id.uri} is that of ${credentials.id.uri}`,
        { layer: 'identity' },
      )
    return credentials
  }

  #rebuild(credentials: Credentials): Credentials {
    const { certificateChain, trustBundle } = credentials
    const privateKey = credentials.privateKey()
    return createCredentials({ certificateChain, trustBundle, privateKey, ...this.#surroundings() })
  }

  #surroundings(): Pick<CredentialsOptions, 'clock' | 'federatedBundles' | 'generation' | 'revocations'> {
    return {
      federatedBundles: this.#federatedBundles(),
      generation: ++this.#generation,
      revocations: this.#revocations,
      clock: this.#host.clock,
    }
  }

  #tell(event: IdentityEvent): void {
    try {
      this.#onEvent(event)
    } catch (error) {
      this.#host.logger.error({ error: messageOf(error) }, 'a listener for events of identities failed')
    }
  }

  #announce(credentials: Credentials): void {
    for (const listener of [...(this.#watchers.get(credentials.id.uri) ?? [])]) {
      try {
        listener(credentials)
      } catch (error) {
        this.#host.logger.error(
          { identity: credentials.id.uri, error: messageOf(error) },
          'a listener for new certificates failed',
        )
      }
    }
  }
}

function statusOf(identity: ManagedIdentity): CertificateStatus {
  const { latest, problem, nextRotation } = identity
  return {
    identity: identity.id.uri,
    state:
      problem !== undefined
        ? `Unavailable: ${problem.message}`
        : identity.current === undefined
          ? 'Initializing'
          : 'Available',
    certChain: pemList(latest?.certificateChain),
    rootCerts: pemList(latest?.trustBundle),
    ...(latest === undefined ? {} : { notBefore: latest.notBefore, notAfter: latest.notAfter }),
    ...(nextRotation === undefined ? {} : { nextRotation }),
  }
}

function pemList(pem = ''): readonly string[] {
  return readPemCertificates(pem).map(formatPemCertificate)
}

/** The promise, or the signal's reason if that comes first. */
function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    if (signal.aborted) onAbort()
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}

function closedError(id: SpiffeId): IdentityError {
  return new IdentityError('AMBIENT_E_IDENTITY_CLOSED', `${id.uri}: the identity manager is closed`, {
    layer: 'identity',
  })
}

function optionError(message: string): IdentityError {
  return new IdentityError('AMBIENT_E_IDENTITY_OPTION', message, { layer: 'config' })
}
