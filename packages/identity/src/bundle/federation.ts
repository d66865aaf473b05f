/** The bundles of other trust domains, kept fresh: asked for when their publishers want it, within our own bounds. */
import {
  type Clock,
  type Logger,
  messageOf,
  silentLogger,
  systemClock,
  type Timer,
  trustDomainProblem,
} from '@ambient/core'
import { federationDefaults } from '../defaults.ts'
import { IdentityError } from '../errors.ts'
import { type BundleEndpointProfile, fetchBundle, readEndpointUrl } from './fetch-bundle.ts'
import { bundlePem, type SpiffeBundle } from './spiffe-bundle.ts'
import { checkOptions } from '../option-checks.ts'

export interface FederatedEndpoint {
  readonly trustDomain: string
  /** `https://HOST[:PORT]/PATH`. */
  readonly url: string
  readonly profile: BundleEndpointProfile
  /** What is believed until the endpoint has answered; an `https_spiffe` endpoint of its own domain needs it. */
  readonly initialBundle?: SpiffeBundle
}

export interface FederationOptions {
  readonly endpoints: readonly FederatedEndpoint[]
  /** Bundles that are known from elsewhere, our own domain's first of all: they may prove an endpoint. */
  readonly knownBundle?: (trustDomain: string) => SpiffeBundle | undefined
  readonly clock?: Clock
  readonly logger?: Logger
  /** In [0, 1), for the jitter. Default `Math.random`. */
  readonly random?: () => number
}

export interface FederationStatus {
  readonly trustDomain: string
  readonly url: string
  readonly sequenceNumber: number | undefined
  /** Of the last good answer, milliseconds since the epoch. */
  readonly refreshedAt: number | undefined
  readonly nextRefresh: number | undefined
  /** Why the last request failed, `undefined` when it did not. */
  readonly problem: string | undefined
}

export interface Federation {
  /** Begins to ask. */
  start(): void
  /** By trust domain, the last good ones: a failure takes nothing away. */
  bundles(): ReadonlyMap<string, SpiffeBundle>
  /** The same as PEM: what `createCredentials` and the sources take. */
  federatedBundles(): ReadonlyMap<string, string>
  /** Asks now. Rejects with what went wrong; the last good bundle stays. */
  refresh(trustDomain: string): Promise<SpiffeBundle>
  /** Called when a bundle has changed. Returns the function that ends the watch. */
  watch(listener: (bundle: SpiffeBundle) => void): () => void
  status(): readonly FederationStatus[]
  /** Ends requests and timers. Idempotent. */
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** @throws IdentityError `AMBIENT_E_IDENTITY_OPTION` */
export function createFederation(options: FederationOptions): Federation {
  checkOptions(options, { endpoints: 'list' })
  for (const endpoint of options.endpoints)
    checkOptions(endpoint, { trustDomain: 'text', url: 'text', profile: 'object' })
  return new Endpoints(options)
}

interface Followed {
  readonly endpoint: FederatedEndpoint
  bundle: SpiffeBundle | undefined
  refreshedAt: number | undefined
  nextRefresh: number | undefined
  problem: string | undefined
  failures: number
  timer: Timer | undefined
  running: Promise<SpiffeBundle> | undefined
}

class Endpoints implements Federation {
  readonly #followed = new Map<string, Followed>()
  readonly #listeners = new Set<(bundle: SpiffeBundle) => void>()
  readonly #options: Required<FederationOptions>
  readonly #ended = new AbortController()
  #isStarted = false

  constructor(options: FederationOptions) {
    this.#options = Object.freeze({
      knownBundle: () => undefined,
      clock: systemClock,
      logger: silentLogger,
      random: Math.random,
      ...options,
    })
    for (const endpoint of options.endpoints) this.#add(endpoint)
  }

  start(): void {
    if (this.#isStarted || this.#ended.signal.aborted) return
    this.#isStarted = true
    for (const followed of this.#followed.values()) this.#ask(followed).catch(() => {})
  }

  bundles(): ReadonlyMap<string, SpiffeBundle> {
    const known = new Map<string, SpiffeBundle>()
    for (const [trustDomain, { bundle }] of this.#followed)
      if (bundle !== undefined) known.set(trustDomain, bundle)
    return known
  }

  federatedBundles(): ReadonlyMap<string, string> {
    return new Map([...this.bundles()].map(([trustDomain, bundle]) => [trustDomain, bundlePem(bundle)]))
  }

  async refresh(trustDomain: string): Promise<SpiffeBundle> {
    const followed = this.#followed.get(trustDomain)
    if (followed === undefined) throw optionError(`no endpoint for the trust domain ${trustDomain}`)
    return this.#ask(followed)
  }

  watch(listener: (bundle: SpiffeBundle) => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  status(): readonly FederationStatus[] {
    return [...this.#followed.values()].map(({ endpoint, bundle, refreshedAt, nextRefresh, problem }) => ({
      trustDomain: endpoint.trustDomain,
      url: endpoint.url,
      sequenceNumber: bundle?.sequenceNumber,
      refreshedAt,
      nextRefresh,
      problem,
    }))
  }

  async close(): Promise<void> {
    this.#ended.abort(closedError())
    this.#listeners.clear()
    const running: Promise<unknown>[] = []
    for (const followed of this.#followed.values()) {
      followed.timer?.cancel()
      followed.nextRefresh = undefined
      if (followed.running !== undefined) running.push(followed.running)
    }
    await Promise.allSettled(running)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #add(endpoint: FederatedEndpoint): void {
    const { trustDomain, url, initialBundle } = endpoint
    const problem = trustDomainProblem(trustDomain)
    if (problem !== undefined) throw optionError(`trust domain ${JSON.stringify(trustDomain)}: ${problem}`)
    if (this.#followed.has(trustDomain)) throw optionError(`two endpoints for ${trustDomain}`)
    if (initialBundle !== undefined && initialBundle.trustDomain !== trustDomain)
      throw optionError(`the initial bundle of ${trustDomain} is that of ${initialBundle.trustDomain}`)
    readEndpointUrl(url)
    this.#followed.set(trustDomain, {
      endpoint,
      bundle: initialBundle,
      refreshedAt: undefined,
      nextRefresh: undefined,
      problem: undefined,
      failures: 0,
      timer: undefined,
      running: undefined,
    })
  }

  /** Joins the request that runs, else begins one. */
  #ask(followed: Followed): Promise<SpiffeBundle> {
    if (this.#ended.signal.aborted) return Promise.reject(closedError())
    followed.timer?.cancel()
    followed.running ??= this.#fetch(followed).finally(() => {
      followed.running = undefined
    })
    return followed.running
  }

  async #fetch(followed: Followed): Promise<SpiffeBundle> {
    const { endpoint } = followed
    const { clock } = this.#options
    try {
      const bundle = await fetchBundle({
        ...endpoint,
        endpointBundle: this.#endpointBundle(endpoint),
        clock,
        signal: this.#ended.signal,
      })
      followed.failures = 0
      followed.problem = undefined
      followed.refreshedAt = clock.now()
      this.#take(followed, bundle)
      this.#later(followed, refreshDelay(bundle.refreshHintMs))
      return followed.bundle ?? bundle
    } catch (error) {
      if (!this.#ended.signal.aborted) this.#fail(followed, error)
      throw error
    }
  }

  /** What can prove the endpoint: an endpoint may serve the bundle of its own domain, or of another one. */
  #endpointBundle({ profile }: FederatedEndpoint): SpiffeBundle | undefined {
    if (profile.kind !== 'https_spiffe') return undefined
    const { trustDomain } = profile.endpointId
    return this.#followed.get(trustDomain)?.bundle ?? this.#options.knownBundle(trustDomain)
  }

  #take(followed: Followed, bundle: SpiffeBundle): void {
    const { logger } = this.#options
    const { trustDomain } = bundle
    const before = followed.bundle
    if (before !== undefined && isOlder(bundle, before)) {
      const fields = { trustDomain, sequence: bundle.sequenceNumber, known: before.sequenceNumber }
      logger.warn(fields, 'the bundle endpoint gave an older bundle: the newer one stays')
      return
    }
    for (const reason of bundle.ignored)
      logger.warn({ trustDomain, reason }, 'an entry of the bundle is unused')
    followed.bundle = bundle
    if (before !== undefined && sameAuthorities(before, bundle)) return
    logger.info({ trustDomain, sequence: bundle.sequenceNumber }, 'bundle available')
    for (const listener of [...this.#listeners]) {
      try {
        listener(bundle)
      } catch (error) {
        logger.error({ trustDomain, error: messageOf(error) }, 'a listener for bundles failed')
      }
    }
  }

  #fail(followed: Followed, error: unknown): void {
    followed.failures += 1
    followed.problem = messageOf(error)
    const { retryFirstMs, refreshMs } = federationDefaults
    const delayMs = Math.min(retryFirstMs * 2 ** (followed.failures - 1), refreshMs)
    this.#options.logger.warn(
      { trustDomain: followed.endpoint.trustDomain, retryMs: delayMs, error: followed.problem },
      followed.bundle === undefined ? 'no bundle' : 'bundle not refreshed, the last one stays',
    )
    this.#later(followed, delayMs)
  }

  #later(followed: Followed, delayMs: number): void {
    if (!this.#isStarted) return
    const { clock, random } = this.#options
    const waitMs = delayMs * (1 + (random() * 2 - 1) * federationDefaults.jitter)
    followed.nextRefresh = clock.now() + waitMs
    followed.timer = clock.after(waitMs, () => {
      this.#ask(followed).catch(() => {})
    })
  }
}

/** What the publisher wants, within what we allow. */
export function refreshDelay(hintMs: number | undefined): number {
  const { refreshMs, minRefreshMs, maxRefreshMs } = federationDefaults
  return hintMs === undefined ? refreshMs : Math.min(Math.max(hintMs, minRefreshMs), maxRefreshMs)
}

/** A replayed document must not bring back a root that was taken out. */
function isOlder(bundle: SpiffeBundle, known: SpiffeBundle): boolean {
  return known.sequenceNumber !== undefined && (bundle.sequenceNumber ?? -1) < known.sequenceNumber
}

function sameAuthorities(a: SpiffeBundle, b: SpiffeBundle): boolean {
  const text = ({ jwtAuthorities }: SpiffeBundle): string => JSON.stringify([...jwtAuthorities])
  return bundlePem(a) === bundlePem(b) && text(a) === text(b)
}

function optionError(message: string): IdentityError {
  return new IdentityError('AMBIENT_E_IDENTITY_OPTION', message, { layer: 'config' })
}

function closedError(): IdentityError {
  return new IdentityError('AMBIENT_E_IDENTITY_CLOSED', 'the federation is closed', { layer: 'identity' })
}
