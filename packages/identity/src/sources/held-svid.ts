/** What every source keeps: the credentials of now, why there are none, who waits and who watches. */
import { type Clock, type Credentials, type Logger, messageOf } from '@ambient/core'
import { IdentityError } from '../errors.ts'

interface Waiter {
  readonly resolve: (credentials: Credentials) => void
  readonly reject: (error: unknown) => void
}

export interface HeldSvidOptions {
  /** Names the source in messages: `the Workload API unix:///run/agent.sock`. */
  readonly label: string
  readonly clock: Clock
  readonly logger: Logger
}

export class HeldSvid {
  readonly #options: HeldSvidOptions
  readonly #waiters = new Set<Waiter>()
  readonly #listeners = new Set<(credentials: Credentials) => void>()
  #credentials: Credentials | undefined
  /** Why there is none, or why the one that is held is not renewed. */
  #failure: unknown
  #refusal: IdentityError | undefined
  #closed = false

  constructor(options: HeldSvidOptions) {
    this.#options = options
  }

  get closed(): boolean {
    return this.#closed
  }

  /** The last credentials, expired or not; `undefined` when there were none or they were withdrawn. */
  get latest(): Credentials | undefined {
    return this.#credentials
  }

  get current(): Credentials | undefined {
    const held = this.#credentials
    return held !== undefined && !this.#closed && this.#options.clock.now() <= held.notAfter
      ? held
      : undefined
  }

  async get(signal: AbortSignal | undefined): Promise<Credentials> {
    signal?.throwIfAborted()
    const present = this.current
    if (present !== undefined) return present
    const { problem } = this
    if (problem !== undefined) throw problem
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        resolve: credentials => end(() => resolve(credentials)),
        reject: error => end(() => reject(error)),
      }
      const onAbort = (): void => waiter.reject(signal?.reason)
      const end = (settle: () => void): void => {
        this.#waiters.delete(waiter)
        signal?.removeEventListener('abort', onAbort)
        settle()
      }
      this.#waiters.add(waiter)
      signal?.addEventListener('abort', onAbort, { once: true })
    })
  }

  watch(listener: (credentials: Credentials) => void): () => void {
    // Another object for each watch: one function may watch twice.
    const own = (credentials: Credentials): void => listener(credentials)
    this.#listeners.add(own)
    return () => void this.#listeners.delete(own)
  }

  /** A new generation is in place. */
  take(credentials: Credentials): void {
    if (this.#closed) return
    this.#credentials = credentials
    this.#failure = undefined
    this.#refusal = undefined
    for (const waiter of [...this.#waiters]) waiter.resolve(credentials)
    for (const listener of [...this.#listeners]) {
      try {
        listener(credentials)
      } catch (error) {
        this.#options.logger.error(
          { identity: credentials.id.uri, error: messageOf(error) },
          'a listener for new certificates failed',
        )
      }
    }
  }

  /** What is held stays to its expiry; whoever waits for a first one is told. */
  fail(cause: unknown): void {
    if (this.#closed) return
    this.#failure = cause
    this.#tellWaiters()
  }

  /** Another attempt succeeded in bringing what is held already. */
  recover(): void {
    this.#failure = undefined
  }

  /** What is held counts no more. */
  withdraw(reason: string, cause?: unknown): void {
    if (this.#closed) return
    const who = this.#credentials?.id.uri ?? 'the identity'
    this.#refusal = new IdentityError(
      'AMBIENT_E_IDENTITY_WITHDRAWN',
      `${who} was withdrawn by ${this.#options.label}: ${reason}`,
      { cause, layer: 'identity' },
    )
    this.#credentials = undefined
    this.#tellWaiters()
  }

  close(): void {
    this.#closed = true
    this.#listeners.clear()
    this.#tellWaiters()
  }

  /** Why `get` rejects; `undefined` while a first answer may still come. */
  get problem(): IdentityError | undefined {
    const { label, clock } = this.#options
    if (this.#closed)
      return new IdentityError('AMBIENT_E_IDENTITY_CLOSED', `${label}: the source is closed`, {
        layer: 'identity',
      })
    if (this.#refusal !== undefined) return this.#refusal
    const held = this.#credentials
    const cause = this.#failure
    if (held !== undefined)
      return clock.now() <= held.notAfter
        ? undefined
        : new IdentityError(
            'AMBIENT_E_IDENTITY_EXPIRED',
            `the certificate of ${held.id.uri} from ${label} expired at ${new Date(held.notAfter).toISOString()}${
              cause === undefined ? '' : ` and was not renewed: ${messageOf(cause)}`
            }`,
            { cause, layer: 'identity' },
          )
    return cause === undefined
      ? undefined
      : new IdentityError('AMBIENT_E_IDENTITY_UNAVAILABLE', `${label}: ${messageOf(cause)}`, {
          cause,
          layer: 'identity',
        })
  }

  #tellWaiters(): void {
    const { problem } = this
    if (problem !== undefined) for (const waiter of [...this.#waiters]) waiter.reject(problem)
  }
}
