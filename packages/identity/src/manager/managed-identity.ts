/** One identity's life: first certificate, renewals by timer, failures and their patience, an end. */
import type { Clock, Credentials, Logger, SpiffeId, Timer } from '@ambient/core'
import { messageOf } from '@ambient/core'
import { managerDefaults } from '../defaults.ts'
import { IdentityError } from '../errors.ts'
import type { IdentityEvent } from './events.ts'
import { renewalTime, retryDelay } from './schedule.ts'
import { priorities, type Priority, type QueueTicket, type SigningQueue } from './signing-queue.ts'
import { atWallTime } from './wall-timer.ts'

/** What an identity needs of its manager. */
export interface IdentityHost {
  readonly clock: Clock
  readonly logger: Logger
  readonly queue: SigningQueue
  readonly random: () => number
  /** A new key and a certificate for it. */
  issue(id: SpiffeId, signal: AbortSignal): Promise<Credentials>
  /** The same certificate and key with the bundles as they are now: a new generation. */
  rebuild(credentials: Credentials): Credentials
  /** A new generation is in place. */
  announce(credentials: Credentials): void
  tell(event: IdentityEvent): void
}

interface Fetch {
  readonly ticket: QueueTicket
  readonly result: Promise<Credentials>
  readonly reject: (error: IdentityError) => void
  readonly abort: AbortController
}

export class ManagedIdentity {
  readonly id: SpiffeId
  readonly #host: IdentityHost
  #credentials: Credentials | undefined
  #failure: unknown
  #failures = 0
  #fetch: Fetch | undefined
  #timer: Timer | undefined
  #expiry: Timer | undefined
  #nextRotation: number | undefined
  #ended = false

  constructor(id: SpiffeId, host: IdentityHost) {
    this.id = id
    this.#host = host
  }

  /** The last certificate, valid or not. */
  get latest(): Credentials | undefined {
    return this.#credentials
  }

  /** Milliseconds since the epoch, absent while none is planned. */
  get nextRotation(): number | undefined {
    return this.#nextRotation
  }

  /** The certificate when it is valid now. */
  get current(): Credentials | undefined {
    const credentials = this.#credentials
    return credentials !== undefined && this.#host.clock.now() <= credentials.notAfter
      ? credentials
      : undefined
  }

  /** Why there is no certificate to give; `undefined` while there is one, or a first attempt runs. */
  get problem(): IdentityError | undefined {
    if (this.#failures === 0 || this.current !== undefined) return undefined
    const expired = this.#credentials
    const text = messageOf(this.#failure)
    return expired === undefined
      ? new IdentityError('AMBIENT_E_IDENTITY_UNAVAILABLE', `${this.id.uri} has no certificate: ${text}`, {
          cause: this.#failure,
          layer: 'identity',
        })
      : new IdentityError(
          'AMBIENT_E_IDENTITY_EXPIRED',
          `the certificate of ${this.id.uri} expired at ${new Date(expired.notAfter).toISOString()} and was not renewed: ${text}`,
          { cause: this.#failure, layer: 'identity' },
        )
  }

  /** A new certificate: joins the attempt that runs or waits, else starts one. */
  renew(priority: Priority): Promise<Credentials> {
    const present = this.#fetch
    if (present !== undefined) {
      present.ticket.raise(priority)
      return present.result
    }
    return this.#start(priority).result
  }

  /** Other federated bundles are to be believed from now on. */
  changeBundles(): void {
    const { current } = this
    if (current === undefined || this.#ended) return
    const credentials = this.#host.rebuild(current)
    this.#credentials = credentials
    this.#host.announce(credentials)
    this.#tellOf(credentials, 'bundles-changed')
  }

  /** No more timers and attempts; whoever waits gets the error. */
  end(error: IdentityError): void {
    this.#ended = true
    this.#timer?.cancel()
    this.#expiry?.cancel()
    this.#nextRotation = undefined
    const fetch = this.#fetch
    this.#fetch = undefined
    fetch?.ticket.cancel()
    fetch?.abort.abort(error)
    fetch?.reject(error)
  }

  #start(priority: Priority): Fetch {
    this.#timer?.cancel()
    this.#nextRotation = undefined
    const abort = new AbortController()
    let resolve: (credentials: Credentials) => void = () => {}
    let reject: (error: unknown) => void = () => {}
    const result = new Promise<Credentials>((onResult, onError) => {
      resolve = onResult
      reject = onError
    })
    // Nobody has to wait for a renewal.
    result.catch(() => {})
    const ticket = this.#host.queue.add(priority, async () => {
      try {
        const credentials = await this.#host.issue(this.id, abort.signal)
        if (!this.#ended) this.#succeed(credentials)
        resolve(credentials)
      } catch (error) {
        if (!this.#ended) this.#fail(error)
        reject(this.problem ?? error)
      }
    })
    const fetch = { ticket, result, reject, abort }
    this.#fetch = fetch
    return fetch
  }

  #succeed(credentials: Credentials): void {
    const { clock, logger, random } = this.#host
    const now = clock.now()
    if (credentials.notAfter <= now)
      throw new IdentityError(
        'AMBIENT_E_CA_RESPONSE',
        `the CA gave ${this.id.uri} a certificate that expired at ${new Date(credentials.notAfter).toISOString()}`,
        { layer: 'identity' },
      )
    const kind = this.#credentials === undefined ? 'issued' : 'renewed'
    this.#fetch = undefined
    this.#credentials = credentials
    this.#failures = 0
    this.#failure = undefined
    this.#renewAt(renewalTime(credentials, now, random()), priorities.background)
    this.#watchExpiry(credentials)
    logger.info(
      { identity: this.id.uri, generation: credentials.generation, notAfter: credentials.notAfter },
      'certificate available',
    )
    this.#host.announce(credentials)
    this.#tellOf(credentials, kind)
  }

  #fail(error: unknown): void {
    const { clock, logger, random } = this.#host
    this.#fetch = undefined
    this.#failures += 1
    this.#failure = error
    const now = clock.now()
    const delay = retryDelay(this.#failures, random())
    const credentials = this.current
    // One attempt no later than the expiry, whatever the patience.
    const wait =
      credentials === undefined
        ? delay
        : Math.min(delay, Math.max(managerDefaults.minRefreshMs, credentials.notAfter - now))
    this.#retryIn(wait, credentials === undefined ? priorities.warmup : priorities.background)
    logger.warn(
      { identity: this.id.uri, attempt: this.#failures, retryMs: Math.round(wait), error: messageOf(error) },
      credentials === undefined ? 'no certificate' : 'certificate not renewed, the old one is still valid',
    )
    this.#host.tell({
      kind: 'failed',
      identity: this.id.uri,
      attempt: this.#failures,
      retryMs: wait,
      error,
      isServed: credentials !== undefined,
    })
  }

  /** Patience is a duration: a wall clock that is set back must not make it longer. */
  #retryIn(delayMs: number, priority: Priority): void {
    const { clock } = this.#host
    this.#nextRotation = clock.now() + delayMs
    this.#timer = clock.after(delayMs, () => this.#start(priority))
  }

  #renewAt(at: number, priority: Priority): void {
    this.#nextRotation = at
    this.#timer = atWallTime(this.#host.clock, at, () => this.#start(priority))
  }

  /** One moment later it is not valid any more. A clock that was set back may see it valid again: then it is served. */
  #watchExpiry({ notAfter }: Credentials): void {
    const { clock, logger } = this.#host
    this.#expiry?.cancel()
    this.#expiry = atWallTime(clock, notAfter + 1, () => {
      if (clock.now() <= notAfter) return
      logger.error({ identity: this.id.uri, notAfter }, 'the certificate expired and was not renewed')
      this.#host.tell({ kind: 'expired', identity: this.id.uri, notAfter })
    })
  }

  #tellOf(
    { generation, notBefore, notAfter }: Credentials,
    kind: 'issued' | 'renewed' | 'bundles-changed',
  ): void {
    const next = this.#nextRotation
    this.#host.tell({
      kind,
      identity: this.id.uri,
      generation,
      notBefore,
      notAfter,
      ...(next === undefined ? {} : { nextRotation: next }),
    })
  }
}
