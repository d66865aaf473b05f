/**
 * The corridor: sessions shared by tunnels with the same source identity and generation, source address, expected peers and
 * destination. One dial at a time per key, and whoever waits for it shares its failure (ztunnel lets each waiter dial for
 * itself, one after the other; with a peer that does not answer the last one would wait for the sum of all timeouts).
 * A session that drains is replaced; a request that the peer did not look at is sent once more.
 */
import { type Clock, type Logger, silentLogger, systemClock, type Timer } from '@ambient/core'
import { type Dial, dial } from '@ambient/core/node'
import type { ConnectRequest } from './client.ts'
import { checkHead } from './connect-head.ts'
import { HboneError } from './errors.ts'
import { type HboneLimits, resolveLimits } from './limits.ts'
import { checkConnectRequest } from './option-checks.ts'
import { reachByTcp } from './reach.ts'
import { byItsOwnCredentials, type Rejudge } from './recheck.ts'
import { type ClientSession, openSession, type Reach, type SessionOptions } from './session.ts'
import type { Tunnel } from './tunnel.ts'

export interface HbonePoolOptions {
  readonly limits?: Partial<HboneLimits>
  readonly dial?: Dial
  readonly clock?: Clock
  readonly logger?: Logger
}

export interface HbonePool<R extends ConnectRequest = ConnectRequest> {
  /**
   * Opens a tunnel, on a session that exists or on a new one.
   * @throws HboneError UNREACHABLE, TLS, PEER_IDENTITY, REFUSED (with `status`), RESET, TIMEOUT, SESSION_LOST, CLOSED,
   *   OPTION; the signal's reason.
   */
  connect(request: R): Promise<Tunnel>
  /** Sessions alive, draining ones included. */
  readonly sessions: number
  readonly tunnels: number
  /** No new tunnel uses a present session; present tunnels finish. */
  retire(): void
  /**
   * Judges the peer of each live session again and ends those that are no longer believed, with their tunnels. To be
   * called when trust changed: a CRL, another bundle. Returns how many ended.
   * @param rejudge default: the verifier that judged it first.
   */
  recheck(rejudge?: Rejudge): number
  /** Lets tunnels finish for `graceMs`, then cuts them. Idempotent. */
  close(options?: { readonly graceMs?: number }): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

export function createHbonePool(options: HbonePoolOptions = {}): HbonePool {
  const limits = resolveLimits(options.limits)
  return createPool(options, {
    reach: reachByTcp(options.dial ?? dial, limits),
    keyOf,
    maxAgeMs: limits.maxSessionAgeMs,
    sessionsFor: () => 1,
  })
}

/** What pools differ in. */
export interface PoolKind<R extends ConnectRequest> {
  readonly reach: Reach<R>
  /** Everything that tunnels on one session must have in common; compared whole, never by hash. */
  readonly keyOf: (request: R) => string
  /** After this age a session drains; 0: never. */
  readonly maxAgeMs: number
  /** Sessions of one key that are opened before tunnels share them; then they are taken in turn. */
  readonly sessionsFor: (request: R) => number
}

export function createPool<R extends ConnectRequest>(
  options: Omit<HbonePoolOptions, 'dial'>,
  kind: PoolKind<R>,
): HbonePool<R> {
  return new Pool(options, kind)
}

/** Sessions of one key, and the dial that everybody waits for. */
interface Lane {
  readonly sessions: ClientSession[]
  dialing: Promise<void> | undefined
}

class Pool<R extends ConnectRequest> implements HbonePool<R> {
  readonly #limits: HboneLimits
  readonly #kind: PoolKind<R>
  readonly #sessionOptions: SessionOptions<R>
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #lanes = new Map<string, Lane>()
  readonly #alive = new Map<ClientSession, string>()
  /** Sessions whose TCP connection is not closed yet. */
  readonly #open = new Set<ClientSession>()
  readonly #idle = new Map<ClientSession, Timer>()
  readonly #abort = new AbortController()
  /** The latest recheck, for handshakes that were under way. */
  #trust: { readonly rejudge: Rejudge } | undefined
  #closing: Promise<void> | undefined
  #onEmpty: (() => void) | undefined

  constructor(options: Omit<HbonePoolOptions, 'dial'>, kind: PoolKind<R>) {
    this.#kind = kind
    this.#limits = resolveLimits(options.limits)
    this.#clock = options.clock ?? systemClock
    this.#logger = options.logger ?? silentLogger
    this.#sessionOptions = {
      reach: kind.reach,
      limits: this.#limits,
      maxAgeMs: kind.maxAgeMs,
      clock: this.#clock,
      logger: this.#logger,
      onDraining: session => this.#forget(session),
      onCapacity: session => this.#restWhenIdle(session),
      onClosed: session => this.#ended(session),
      onGone: session => this.#gone(session),
    }
  }

  get sessions(): number {
    return this.#alive.size
  }

  get tunnels(): number {
    let sum = 0
    for (const session of this.#alive.keys()) sum += session.tunnels
    return sum
  }

  async connect(request: R): Promise<Tunnel> {
    checkConnectRequest(request)
    checkHead(request)
    const key = this.#kind.keyOf(request)
    try {
      return await this.#tunnel(key, request)
    } catch (error) {
      if (!(error instanceof HboneError && error.unprocessed)) throw error
      return this.#tunnel(key, request)
    }
  }

  retire(): void {
    for (const session of [...this.#alive.keys()]) session.drain()
  }

  recheck(rejudge: Rejudge = byItsOwnCredentials): number {
    this.#trust = { rejudge }
    return [...this.#alive.keys()].filter(session => session.recheck(rejudge) !== undefined).length
  }

  close(options: { readonly graceMs?: number } = {}): Promise<void> {
    this.#closing ??= this.#close(options.graceMs ?? this.#limits.graceMs)
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** On a session with room. Whoever finds none waits for the dial that is under way, or dials for all. */
  async #tunnel(key: string, request: R): Promise<Tunnel> {
    const wanted = this.#kind.sessionsFor(request)
    for (;;) {
      if (this.#closing !== undefined) throw new HboneError('AMBIENT_E_CLOSED', 'pool draining')
      request.signal?.throwIfAborted()
      const lane = this.#lane(key)
      const found = pick(lane.sessions, wanted)
      const isFewer = lane.sessions.length < wanted
      if (found === undefined || isFewer)
        lane.dialing ??= this.#dialLane(key, lane, request).finally(() => {
          lane.dialing = undefined
          if (lane.sessions.length === 0) this.#lanes.delete(key)
        })
      // Found and taken in one step: of many waiters each must see what the one before it took.
      if (found !== undefined) {
        // Nobody waits for one session more; whoever finds no room hears why there is none.
        lane.dialing?.catch(() => {})
        return this.#openOn(found, request)
      }
      await abortable(lane.dialing ?? Promise.resolve(), request.signal)
    }
  }

  #openOn(session: ClientSession, request: R): Promise<Tunnel> {
    const tunnel = session.open(request)
    if (session.tunnels > 0) this.#keep(session)
    return tunnel
  }

  async #dialLane(key: string, lane: Lane, request: R): Promise<void> {
    const trust = this.#trust
    const session = await openSession(request, this.#sessionOptions, this.#abort.signal)
    this.#alive.set(session, key)
    this.#open.add(session)
    if (this.#closing !== undefined) return session.drain()
    // Trust changed while it was proving itself.
    const distrust = this.#trust === trust ? undefined : this.#trust && session.recheck(this.#trust.rejudge)
    if (distrust !== undefined) throw distrust
    if (session.capacity <= 0) {
      session.drain()
      throw new HboneError('AMBIENT_E_HBONE_SESSION_LOST', 'a new session takes no tunnels')
    }
    lane.sessions.push(session)
    this.#restWhenIdle(session)
    this.#logger.debug({ peer: session.peer.id.uri, address: session.peer.address }, 'HBONE session opened')
  }

  #lane(key: string): Lane {
    let lane = this.#lanes.get(key)
    if (lane === undefined) {
      lane = { sessions: [], dialing: undefined }
      this.#lanes.set(key, lane)
    }
    return lane
  }

  /** The session is not idle. */
  #keep(session: ClientSession): void {
    this.#idle.get(session)?.cancel()
    this.#idle.delete(session)
  }

  /** The session takes no new tunnels. */
  #forget(session: ClientSession): void {
    this.#keep(session)
    const key = this.#alive.get(session)
    const lane = key === undefined ? undefined : this.#lanes.get(key)
    if (key === undefined || lane === undefined) return
    const index = lane.sessions.indexOf(session)
    if (index >= 0) lane.sessions.splice(index, 1)
    if (lane.sessions.length === 0 && lane.dialing === undefined) this.#lanes.delete(key)
  }

  #restWhenIdle(session: ClientSession): void {
    if (session.tunnels > 0 || session.isDraining || !this.#alive.has(session)) return
    this.#keep(session)
    // Its peer allows no streams, or the ids are used up: waiting would only pile such sessions up.
    if (session.capacity <= 0) return session.drain()
    this.#idle.set(
      session,
      this.#clock.after(this.#limits.idleMs, () => session.drain()),
    )
  }

  #ended(session: ClientSession): void {
    this.#forget(session)
    this.#alive.delete(session)
  }

  #gone(session: ClientSession): void {
    this.#open.delete(session)
    if (this.#open.size === 0) this.#onEmpty?.()
  }

  async #close(graceMs: number): Promise<void> {
    this.#abort.abort(new HboneError('AMBIENT_E_CLOSED', 'pool draining'))
    this.retire()
    const dials = [...this.#lanes.values()].map(lane => lane.dialing?.catch(() => {}))
    await Promise.all(dials)
    if (this.#open.size === 0) return
    const empty = new Promise<void>(resolve => {
      this.#onEmpty = resolve
    })
    if (graceMs <= 0) this.#cutAll()
    const timer = this.#clock.after(graceMs, () => this.#cutAll(), { keepAlive: true })
    await empty
    timer.cancel()
  }

  #cutAll(): void {
    for (const session of [...this.#open]) session.cut('connection closed due to connection drain')
  }
}

/** The first with room; of several that were asked for, the one with the fewest tunnels, in turn. */
function pick(sessions: ClientSession[], wanted: number): ClientSession | undefined {
  if (wanted === 1) return sessions.find(session => session.capacity > 0)
  const usable = sessions.filter(session => session.capacity > 0)
  const fewest = Math.min(...usable.map(session => session.tunnels))
  const found = usable.find(session => session.tunnels === fewest)
  if (found === undefined) return undefined
  sessions.splice(sessions.indexOf(found), 1)
  sessions.push(found)
  return found
}

function keyOf(request: ConnectRequest): string {
  const { credentials, to, expect, localAddress = '' } = request
  const ids = expect.map(id => id.uri)
  return JSON.stringify([credentials.id.uri, credentials.generation, localAddress, to.address, to.port, ids])
}

/** One waiter gives up; the others go on waiting. */
function abortable(work: Promise<void>, signal: AbortSignal | undefined): Promise<void> {
  if (signal === undefined) return work
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}
