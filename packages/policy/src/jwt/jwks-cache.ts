/**
 * Keys of issuers, kept in memory: fetched once for all who wait, fetched again while the old ones still serve, and for a
 * while when the issuer does not answer. Without keys that were ever fetched nobody is let in. It has no timers: a
 * request that needs keys is what makes it look.
 */
import { type Clock, systemClock } from '@ambient/core'
import { defaults } from '../defaults.ts'
import { limits } from '../limits.ts'
import { type JwksReference, type JwksSource, notFetched } from './jwks-source.ts'
import { type JwtKeySet, readKeySet } from './key-set.ts'
import { parseStrictObject } from './strict-json.ts'

/** The body of a GET that was answered with 200. Rejects otherwise, and when the signal or the time says so. */
export type FetchText = (
  url: string,
  options: { readonly timeoutMs: number; readonly signal: AbortSignal },
) => Promise<string>

export interface JwksCacheOptions {
  readonly fetch: FetchText
  /** Age of keys from which on they are fetched again. Default 20 minutes. */
  readonly refreshMs?: number
  /** Age of keys from which on they no longer count when they cannot be fetched again. Default one day. */
  readonly maxStaleMs?: number
  /** After a fetch that failed, nobody tries again for this long. Default 10 seconds. */
  readonly retryMs?: number
  /** For keys that a token names and that are not there: at most one fetch in this time. Default 30 seconds. */
  readonly unknownKeyMs?: number
  readonly clock?: Clock
  /** What went wrong; once per failed fetch. The message has the address, never a body. */
  readonly onError?: (error: Error, reference: JwksReference) => void
}

export interface JwksCache extends JwksSource {
  /** Sources that are kept now. */
  readonly size: number
  /** Fetches that are under way are given up; later questions find no keys. */
  close(): void
}

/** Fetches nothing before it is asked. */
export function createJwksCache(options: JwksCacheOptions): JwksCache {
  return new MemoryJwksCache(options)
}

interface Entry {
  readonly reference: JwksReference
  keys: JwtKeySet | undefined
  /** Monotonic times; `undefined` before the first. */
  fetchedAt: number | undefined
  failedAt: number | undefined
  askedForNewerAt: number | undefined
  fetching: Promise<JwtKeySet> | undefined
}

class MemoryJwksCache implements JwksCache {
  readonly #options: Required<Omit<JwksCacheOptions, 'onError'>> & Pick<JwksCacheOptions, 'onError'>
  readonly #entries = new Map<string, Entry>()
  readonly #closing = new AbortController()

  constructor(options: JwksCacheOptions) {
    this.#options = Object.freeze({
      refreshMs: defaults.jwksRefreshMs,
      maxStaleMs: defaults.jwksMaxStaleMs,
      retryMs: defaults.jwksRetryMs,
      unknownKeyMs: defaults.jwksUnknownKeyMs,
      clock: systemClock,
      ...options,
    })
  }

  get size(): number {
    return this.#entries.size
  }

  keys(reference: JwksReference): JwtKeySet | Promise<JwtKeySet> {
    if (this.#closing.signal.aborted) return notFetched
    const entry = this.#entryOf(reference)
    const age = this.#age(entry.fetchedAt)
    if (entry.keys === undefined || age >= this.#options.maxStaleMs) return this.#fetchOnce(entry)
    if (age >= this.#options.refreshMs) void this.#fetchOnce(entry)
    return entry.keys
  }

  newerKeys(reference: JwksReference): JwtKeySet | Promise<JwtKeySet> {
    if (this.#closing.signal.aborted) return notFetched
    const entry = this.#entryOf(reference)
    const current = entry.keys ?? notFetched
    // Who asks while somebody else's fetch is under way waits for it.
    if (entry.fetching !== undefined) return entry.fetching.then(() => entry.keys ?? notFetched)
    const isRecent =
      Math.min(this.#age(entry.askedForNewerAt), this.#age(entry.fetchedAt)) < this.#options.unknownKeyMs
    if (isRecent) return current
    entry.askedForNewerAt = this.#options.clock.monotonic()
    return this.#fetchOnce(entry).then(() => entry.keys ?? notFetched)
  }

  close(): void {
    this.#closing.abort()
    this.#entries.clear()
  }

  #age(at: number | undefined): number {
    return at === undefined ? Number.POSITIVE_INFINITY : this.#options.clock.monotonic() - at
  }

  #entryOf(reference: JwksReference): Entry {
    const key = JSON.stringify([reference.issuer, reference.jwksUri ?? ''])
    const known = this.#entries.get(key)
    if (known !== undefined) return known
    for (const [oldest] of this.#entries) {
      if (this.#entries.size < limits.maxJwksSources) break
      this.#entries.delete(oldest)
    }
    const entry: Entry = {
      reference,
      keys: undefined,
      fetchedAt: undefined,
      failedAt: undefined,
      askedForNewerAt: undefined,
      fetching: undefined,
    }
    this.#entries.set(key, entry)
    return entry
  }

  /** The keys of a fetch, or why there are none; old ones stay with the entry. Never rejects. */
  #fetchOnce(entry: Entry): Promise<JwtKeySet> {
    if (entry.fetching !== undefined) return entry.fetching
    if (this.#age(entry.failedAt) < this.#options.retryMs) return Promise.resolve(notFetched)
    entry.fetching = this.#fetch(entry).finally(() => {
      entry.fetching = undefined
    })
    return entry.fetching
  }

  async #fetch(entry: Entry): Promise<JwtKeySet> {
    const { clock, onError } = this.#options
    try {
      const keys = await this.#load(entry.reference)
      entry.keys = keys
      entry.fetchedAt = clock.monotonic()
      entry.failedAt = undefined
      return keys
    } catch (error) {
      entry.failedAt = clock.monotonic()
      if (!this.#closing.signal.aborted) onError?.(asError(error), entry.reference)
      return notFetched
    }
  }

  async #load({ issuer, jwksUri, timeoutMs }: JwksReference): Promise<JwtKeySet> {
    const options = { timeoutMs, signal: this.#closing.signal }
    const address = jwksUri ?? (await this.#discover(issuer, options))
    const keys = readKeySet(await this.#options.fetch(address, options))
    if (!keys.ok) throw new Error(`no key set at ${address}`)
    return keys
  }

  /** OpenID Connect Discovery 1.0 §4. */
  async #discover(issuer: string, options: Parameters<FetchText>[1]): Promise<string> {
    const address = `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`
    const configuration = parseStrictObject(await this.#options.fetch(address, options), limits.maxTokenDepth)
    const found = configuration?.['jwks_uri']
    if (typeof found !== 'string') throw new Error(`no jwks_uri in ${address}`)
    return found
  }
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error))
}
