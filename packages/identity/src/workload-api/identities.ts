/** What a Workload API gives to one process, as a proxy's passport desk: several identities, each by its SPIFFE ID. */
import {
  type Clock,
  type Credentials,
  isAmbientError,
  type Logger,
  messageOf,
  silentLogger,
  type SpiffeId,
  systemClock,
} from '@ambient/core'
import { workloadApiDefaults } from '../defaults.ts'
import { IdentityError, type IdentityErrorCode } from '../errors.ts'
import { managedSource } from '../manager/managed-source.ts'
import type { CertificateStatus, IdentityManager } from '../manager/manager.ts'
import type { X509Source } from '../sources/x509-source.ts'
import { formatPemCertificate, readPemCertificates } from '../x509/pem.ts'
import type { WorkloadApiSource } from './source.ts'

export interface WorkloadApiIdentitiesOptions {
  readonly clock?: Clock
  readonly logger?: Logger
}

/** An identity that was given at least once. */
interface Given {
  /** As the source has them, to know another answer by. */
  readonly given: Credentials
  /** The same certificate and bundles in the generation in which they came first: another identity's rotation is none of ours. */
  readonly credentials: Credentials
  readonly isWithdrawn: boolean
}

/**
 * A manager's contract over a source: the issuer decides which identities there are and when they are renewed.
 * `get` waits for the first answer, then has the identity or says why not: `AMBIENT_E_IDENTITY_NOT_HELD` names those that
 * are held, `AMBIENT_E_IDENTITY_WITHDRAWN`, `AMBIENT_E_IDENTITY_EXPIRED`, or `AMBIENT_E_IDENTITY_UNAVAILABLE` while there
 * is no answer. `prefetch` opens the stream and warns when the identity is not there; `forget` only takes it out of what
 * `list` reports as missing; `changeBundles` does nothing, bundles come with the answers; `rotate` rejects with
 * `AMBIENT_E_IDENTITY_ROTATION`. Nothing is dialled before the first use. The source stays its owner's to close, after this.
 */
export function createWorkloadApiIdentities(
  source: Pick<WorkloadApiSource, 'get' | 'watch' | 'svids'>,
  options: WorkloadApiIdentitiesOptions = {},
): IdentityManager {
  return new Identities(source, options)
}

class Identities implements IdentityManager {
  readonly #source: Pick<WorkloadApiSource, 'get' | 'watch' | 'svids'>
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #given = new Map<string, Given>()
  /** Asked for and not forgotten. */
  readonly #wanted = new Map<string, SpiffeId>()
  readonly #watchers = new Map<string, Set<(credentials: Credentials) => void>>()
  readonly #ending = new AbortController()
  #unfollow: (() => void) | undefined
  /** Why there is no answer; `undefined` while the first one may still come, and after it. */
  #failure: unknown
  #isAnswered = false

  constructor(
    source: Pick<WorkloadApiSource, 'get' | 'watch' | 'svids'>,
    { clock = systemClock, logger = silentLogger }: WorkloadApiIdentitiesOptions,
  ) {
    this.#source = source
    this.#clock = clock
    this.#logger = logger
  }

  async get(id: SpiffeId, { signal }: { readonly signal?: AbortSignal } = {}): Promise<Credentials> {
    signal?.throwIfAborted()
    this.#throwIfClosed(id)
    this.#wanted.set(id.uri, id)
    this.#follow()
    const present = this.current(id)
    if (present !== undefined) return present
    await this.#answered(signal)
    signal?.throwIfAborted()
    this.#throwIfClosed(id)
    const credentials = this.current(id)
    if (credentials === undefined) throw this.#problemOf(id)
    return credentials
  }

  current(id: SpiffeId): Credentials | undefined {
    if (this.#ending.signal.aborted) return undefined
    const present = this.#source.svids().find(svid => svid.id.uri === id.uri)
    const known = this.#given.get(id.uri)
    // Asked for each connection: no news is told by one comparison.
    if (present !== undefined && known?.given === present.credentials && !known.isWithdrawn)
      return known.credentials
    this.#look()
    return present === undefined ? undefined : this.#given.get(id.uri)?.credentials
  }

  watch(id: SpiffeId, listener: (credentials: Credentials) => void): () => void {
    if (this.#ending.signal.aborted) return () => {}
    const listeners = this.#watchers.get(id.uri) ?? new Set()
    // Another object for each watch: one function may watch twice.
    const own = (credentials: Credentials): void => listener(credentials)
    this.#watchers.set(id.uri, listeners.add(own))
    this.#follow()
    return () => {
      listeners.delete(own)
      if (listeners.size === 0 && this.#watchers.get(id.uri) === listeners) this.#watchers.delete(id.uri)
    }
  }

  prefetch(id: SpiffeId): void {
    if (this.#ending.signal.aborted || this.#wanted.has(id.uri)) return
    this.get(id).catch((error: unknown) => {
      if (!this.#ending.signal.aborted && this.#wanted.has(id.uri))
        this.#logger.warn({ identity: id.uri, error: messageOf(error) }, 'no certificate')
    })
  }

  forget(id: SpiffeId): void {
    this.#wanted.delete(id.uri)
  }

  async rotate(id: SpiffeId): Promise<Credentials> {
    throw new IdentityError(
      'AMBIENT_E_IDENTITY_ROTATION',
      `${id.uri}: the issuer behind the Workload API decides when a certificate is renewed`,
      { layer: 'identity' },
    )
  }

  changeBundles(): void {}

  list(): readonly CertificateStatus[] {
    if (!this.#ending.signal.aborted) this.#look()
    return [...new Set([...this.#wanted.keys(), ...this.#given.keys()])]
      .sort((a, b) => (a < b ? -1 : a > b ? 1 : 0))
      .map(uri => this.#statusOf(uri))
  }

  x509Source(id: SpiffeId): X509Source {
    return managedSource(this, id)
  }

  async close(): Promise<void> {
    if (this.#ending.signal.aborted) return
    this.#ending.abort()
    this.#unfollow?.()
    this.#watchers.clear()
    this.#wanted.clear()
    this.#given.clear()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #follow(): void {
    this.#unfollow ??= this.#source.watch(() => this.#look())
  }

  /** The first answer, or that there is none. Which identity is the source's default does not matter here. */
  async #answered(signal: AbortSignal | undefined): Promise<void> {
    const ending = this.#ending.signal
    try {
      await this.#source.get({ signal: signal === undefined ? ending : AbortSignal.any([signal, ending]) })
    } catch (error) {
      if (!ending.aborted && signal?.aborted !== true) this.#failure = error
    }
  }

  /** The source tells of new identities; of those that went without a successor only its list does. */
  #look(): void {
    const present = new Set<string>()
    const fresh: Credentials[] = []
    for (const { id, credentials: given } of this.#source.svids()) {
      // Of several with one ID the first one counts, as for the source.
      if (present.has(id.uri)) continue
      present.add(id.uri)
      const before = this.#given.get(id.uri)
      if (before?.given === given && !before.isWithdrawn) continue
      const isSame = before !== undefined && !before.isWithdrawn && saysTheSame(before.credentials, given)
      const credentials = isSame ? before.credentials : given
      this.#given.set(id.uri, { given, credentials, isWithdrawn: false })
      if (!isSame) fresh.push(credentials)
    }
    for (const [uri, given] of this.#given) if (!present.has(uri)) this.#missing(uri, given)
    if (present.size > 0) {
      this.#isAnswered = true
      this.#failure = undefined
    }
    for (const credentials of fresh) this.#announce(credentials)
  }

  /** Kept for those who ask for it, to tell them why. */
  #missing(uri: string, given: Given): void {
    if (!given.isWithdrawn && !this.#isExpired(given)) {
      this.#given.set(uri, { ...given, isWithdrawn: true })
      this.#logger.warn({ identity: uri }, 'the identity was withdrawn')
    }
    if (!this.#wanted.has(uri)) this.#given.delete(uri)
  }

  #announce(credentials: Credentials): void {
    for (const listener of [...(this.#watchers.get(credentials.id.uri) ?? [])]) {
      try {
        listener(credentials)
      } catch (error) {
        this.#logger.error(
          { identity: credentials.id.uri, error: messageOf(error) },
          'a listener for new certificates failed',
        )
      }
    }
  }

  #isExpired({ credentials }: Given): boolean {
    return this.#clock.now() > credentials.notAfter
  }

  #statusOf(uri: string): CertificateStatus {
    const given = this.#given.get(uri)
    const isServed = given !== undefined && !given.isWithdrawn && !this.#isExpired(given)
    const isAwaited = !this.#isAnswered && this.#failure === undefined
    const id = this.#wanted.get(uri) ?? given?.credentials.id
    const latest = given?.isWithdrawn === true ? undefined : given?.credentials
    const state = isServed
      ? 'Available'
      : isAwaited || id === undefined
        ? 'Initializing'
        : (`Unavailable: ${this.#problemOf(id).message}` as const)
    return {
      identity: uri,
      state,
      certChain: pemList(latest?.certificateChain),
      rootCerts: pemList(latest?.trustBundle),
      ...(latest === undefined ? {} : { notBefore: latest.notBefore, notAfter: latest.notAfter }),
    }
  }

  /** Why `get` has nothing to give. */
  #problemOf(id: SpiffeId): IdentityError {
    const given = this.#given.get(id.uri)
    const cause = this.#failure
    if (given?.isWithdrawn === true)
      return problem(
        'AMBIENT_E_IDENTITY_WITHDRAWN',
        `${id.uri} was withdrawn by the Workload API, which gives ${this.#held()}`,
        cause,
      )
    if (given !== undefined) {
      const end = new Date(given.credentials.notAfter).toISOString()
      return problem(
        'AMBIENT_E_IDENTITY_EXPIRED',
        `the certificate of ${id.uri} from the Workload API expired at ${end}`,
        cause,
      )
    }
    if (!this.#isAnswered && isAmbientError(cause))
      return problem('AMBIENT_E_IDENTITY_UNAVAILABLE', `${id.uri}: ${messageOf(cause)}`, cause)
    return problem(
      'AMBIENT_E_IDENTITY_NOT_HELD',
      `no credentials of ${id.uri}: the Workload API gives ${this.#held()}`,
      cause,
    )
  }

  #held(): string {
    const names = [...new Set(this.#source.svids().map(({ id }) => id.uri))]
    const shown = names.slice(0, workloadApiDefaults.maxNamesShown)
    if (names.length === 0) return 'no identity to this process'
    return shown.join(', ') + (names.length > shown.length ? ` and ${names.length - shown.length} more` : '')
  }

  #throwIfClosed(id: SpiffeId): void {
    if (this.#ending.signal.aborted)
      throw problem(
        'AMBIENT_E_IDENTITY_CLOSED',
        `${id.uri}: the identities of the Workload API are closed`,
        undefined,
      )
  }
}

function problem(code: IdentityErrorCode, message: string, cause: unknown): IdentityError {
  return new IdentityError(code, message, { cause, layer: 'identity' })
}

function pemList(pem = ''): readonly string[] {
  return readPemCertificates(pem).map(formatPemCertificate)
}

/** A key belongs to its certificate; revocation lists are the source's, and asked at each handshake. */
function saysTheSame(a: Credentials, b: Credentials): boolean {
  return (
    a.certificateChain === b.certificateChain &&
    a.trustBundle === b.trustBundle &&
    a.federatedBundles.size === b.federatedBundles.size &&
    [...a.federatedBundles].every(([domain, pem]) => b.federatedBundles.get(domain) === pem)
  )
}
