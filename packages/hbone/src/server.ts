/**
 * The waypoint hall: accepted TCP sockets become proven sessions, their CONNECTs become tunnel requests. Nothing of a body is
 * looked at before the request was accepted.
 */
import {
  canonicalIp,
  type Channel,
  type Clock,
  type Credentials,
  formatHostPort,
  type Logger,
  messageOf,
  type SpiffeId,
  silentLogger,
  systemClock,
} from '@ambient/core'
import { Crowd } from './crowd.ts'
import { HboneError } from './errors.ts'
import { Http2Connection } from './http2/connection.ts'
import type { HeaderList } from './http2/hpack.ts'
import type { RequestHead } from './http2/message.ts'
import { answerBadRequest } from './http2/bad-request.ts'
import type { Http2Stream } from './http2/stream.ts'
import { type HboneLimits, resolveLimits } from './limits.ts'
import { checkFunction, checkOptionalFunction, checkOptions } from './option-checks.ts'
import { byItsOwnCredentials, type Rejudge, type SessionProof, withdrawnTrust } from './recheck.ts'
import { drainAtAge } from './session-age.ts'
import { type Carrier, handshakeAsServer, type ProvenPeer } from './tls.ts'
import type { SocketAddress, TunnelPeer } from './tunnel.ts'
import { AnswerableRequest, type ConnectHead, handOut } from './tunnel-request.ts'

/** One CONNECT of a proven peer. Answer it once, with `accept` or `refuse`; unanswered ones are refused with 503. */
export interface TunnelRequest {
  /** `host:port`, well-formed. */
  readonly authority: string
  readonly headers: HeaderList
  /** Repeated values joined with `,`. */
  header(name: string): string | undefined
  readonly peer: TunnelPeer
  /** Who carried the session to us, when it came in a tunnel of another one; proven there. */
  readonly via?: SpiffeId
  /** Our end of the TCP connection. */
  readonly local: SocketAddress
  /** Aborted when the caller gave up before it was answered. */
  readonly signal: AbortSignal
  /** Answers 200. The caller owns the channel. @throws HboneError CLOSED when it was answered already. */
  accept(headers?: HeaderList): Channel
  /**
   * Answers with a status and nothing else; bytes that came early are dropped.
   * @throws HboneError OPTION when the status is not one from 300 to 599, CLOSED when it was answered already.
   */
  refuse(status: number, headers?: HeaderList): void
}

/** A connection that ended before it carried a tunnel, or whose peer is no longer believed. */
export interface HboneFailure {
  readonly source: SocketAddress
  readonly local: SocketAddress
  readonly error: HboneError
}

/** A request that this package answered with 400 by itself. */
export interface RefusedRequest {
  readonly source: SocketAddress
  readonly local: SocketAddress
  readonly peer: TunnelPeer
  readonly authority: string
  readonly status: number
  readonly reason: string
}

export interface HboneServerOptions {
  /** Asked for each accepted connection: who we are now. */
  readonly credentials: () => Credentials | Promise<Credentials>
  /** An exception or rejection is answered 503 and logged. */
  readonly onTunnel: (request: TunnelRequest) => void | Promise<void>
  /** TLS, identity and preface failures, one per connection. */
  readonly onFailure?: (failure: HboneFailure) => void
  readonly onRefused?: (refused: RefusedRequest) => void
  readonly limits?: Partial<HboneLimits>
  readonly clock?: Clock
  readonly logger?: Logger
}

export interface HboneServer {
  /**
   * Takes an accepted TCP socket, half-open and not yet read from; or the socket of a tunnel that another server
   * accepted, for HBONE in HBONE: its requests know both peers. Never throws.
   */
  accept(socket: Carrier): void
  /** Proven sessions. */
  readonly sessions: number
  readonly tunnels: number
  /** GOAWAY on every present session; new ones are accepted. */
  retire(): void
  /**
   * Judges the peer of each live session again and ends those that are no longer believed, with their tunnels:
   * `onFailure` hears of each. To be called when trust changed: a CRL, another bundle. Returns how many ended.
   * @param rejudge default: the verifier that judged it first.
   */
  recheck(rejudge?: Rejudge): number
  /** Takes no more sockets, lets handshakes and tunnels finish for `graceMs`, then cuts them. Idempotent. */
  close(options?: { readonly graceMs?: number }): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** @throws HboneError `AMBIENT_E_HBONE_OPTION`. */
export function createHboneServer(options: HboneServerOptions): HboneServer {
  checkOptions(options)
  checkFunction('credentials', options.credentials)
  checkFunction('onTunnel', options.onTunnel)
  checkOptionalFunction('onFailure', options.onFailure)
  checkOptionalFunction('onRefused', options.onRefused)
  return new Server(options)
}

class Server implements HboneServer {
  readonly #options: HboneServerOptions
  readonly #limits: HboneLimits
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #sessions = new Map<Http2Connection, Live>()
  /** Sessions whose TCP connection is not closed yet. */
  readonly #open = new Set<Http2Connection>()
  readonly #stop = new AbortController()
  readonly #handshakes = new Set<Carrier>()
  readonly #crowd: Crowd
  /** The latest recheck, for handshakes that were under way. */
  #trust: { readonly rejudge: Rejudge } | undefined
  #closing: Promise<void> | undefined
  #onEmpty: (() => void) | undefined

  constructor(options: HboneServerOptions) {
    this.#options = options
    this.#limits = resolveLimits(options.limits)
    this.#crowd = new Crowd(this.#limits.maxSessionsPerIdentity)
    this.#clock = options.clock ?? systemClock
    this.#logger = options.logger ?? silentLogger
  }

  get sessions(): number {
    return this.#sessions.size
  }

  get tunnels(): number {
    let sum = 0
    for (const session of this.#sessions.keys()) sum += session.streams.size
    return sum
  }

  accept(socket: Carrier): void {
    socket.on('error', () => {})
    if (this.#closing !== undefined || this.#handshakes.size >= this.#limits.maxPendingHandshakes) {
      socket.destroy()
      return
    }
    const via = 'peer' in socket ? socket.peer : undefined
    const ends = {
      source: endOf(socket.remoteAddress, socket.remotePort),
      local: endOf(socket.localAddress, socket.localPort),
      ...(via === undefined ? {} : { via }),
    }
    this.#handshakes.add(socket)
    this.#prove(socket, ends)
      .catch((error: unknown) => this.#fail(socket, ends, error))
      .finally(() => {
        this.#handshakes.delete(socket)
        this.#settle()
      })
  }

  retire(): void {
    for (const session of [...this.#sessions.keys()]) session.drain()
  }

  recheck(rejudge: Rejudge = byItsOwnCredentials): number {
    this.#trust = { rejudge }
    let ended = 0
    for (const [session, { proof, ends }] of [...this.#sessions]) {
      const error = withdrawnTrust(proof, rejudge)
      if (error === undefined) continue
      ended++
      session.cut(error)
      this.#report(ends, error)
    }
    return ended
  }

  close(options: { readonly graceMs?: number } = {}): Promise<void> {
    this.#closing ??= this.#close(options.graceMs ?? this.#limits.graceMs)
    return this.#closing
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #prove(socket: Carrier, ends: Ends): Promise<void> {
    const credentials = await this.#credentials(ends.local)
    const trust = this.#trust
    const expect = { kind: 'own-trust-domain' } as const
    const proven = await handshakeAsServer(socket, {
      credentials,
      expect,
      timeoutMs: this.#limits.handshakeMs,
      clock: this.#clock,
      signal: this.#stop.signal,
    })
    const { id, notAfter, chain } = proven
    const peer: TunnelPeer = Object.freeze({ ...ends.source, id, notAfter })
    const proof: SessionProof = { peer, chain, expect, credentials, since: this.#clock.now() }
    // Trust changed while it was proving itself.
    if (this.#trust !== undefined && this.#trust !== trust) {
      const error = withdrawnTrust(proof, this.#trust.rejudge)
      if (error !== undefined) {
        proven.socket.on('error', () => {}).destroy()
        throw error
      }
    }
    this.#serve(proven, proof, ends)
  }

  #serve(proven: ProvenPeer, proof: SessionProof, ends: Ends): void {
    const { peer } = proof
    let hadRequest = false
    const session: Http2Connection = new Http2Connection({
      role: 'server',
      transport: proven.socket,
      peer: `${formatHostPort(peer.address, peer.port)} (${peer.id.uri})`,
      limits: this.#limits,
      clock: this.#clock,
      handlers: {
        onRequest: (stream, head) => {
          hadRequest = true
          this.#onRequest(stream, head, peer, ends)
        },
        onClosed: error => {
          age?.cancel()
          this.#sessions.delete(session)
          this.#crowd.leave(peer.id)
          // One that is no longer believed was told of already.
          const isKnown = hadRequest || error?.code === 'AMBIENT_E_PEER_IDENTITY'
          if (error !== undefined && !isKnown && error.code !== 'AMBIENT_E_HBONE_SESSION_LOST')
            this.#report(ends, error)
        },
        onGone: () => {
          this.#open.delete(session)
          this.#settle()
        },
      },
    })
    const age = drainAtAge(this.#limits.maxSessionAgeMs, this.#clock, () => session.drain())
    this.#sessions.set(session, { proof, ends })
    this.#open.add(session)
    const isTooMany = this.#crowd.enter(peer.id)
    session.start()
    if (isTooMany !== undefined) session.fail(isTooMany)
    else if (this.#closing !== undefined) session.drain()
  }

  /** Who we are now. A first certificate may take a while, but not for ever, and not past our own end. */
  #credentials(local: SocketAddress): Promise<Credentials> {
    const { signal } = this.#stop
    const { handshakeMs } = this.#limits
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        timer.cancel()
        signal.removeEventListener('abort', onAbort)
      }
      const fail = (error: unknown): void => {
        settle()
        reject(error)
      }
      const onAbort = (): void => fail(signal.reason)
      const timer = this.#clock.after(handshakeMs, () => {
        const message = `no credentials for ${formatHostPort(local.address, local.port)} within ${handshakeMs} ms`
        fail(new HboneError('AMBIENT_E_HBONE_TIMEOUT', message, { layer: 'identity' }))
      })
      signal.addEventListener('abort', onAbort)
      Promise.resolve()
        .then(() => this.#options.credentials())
        .then(credentials => {
          settle()
          resolve(credentials)
        }, fail)
    })
  }

  #onRequest(
    stream: Http2Stream,
    head: Exclude<RequestHead, { kind: 'malformed' }>,
    peer: TunnelPeer,
    ends: Ends,
  ): void {
    if (head.kind === 'refused') {
      answerBadRequest(stream, head, { clock: this.#clock, waitMs: this.#limits.lingerMs })
      const { authority, reason } = head
      const { source, local } = ends
      this.#tell(() => this.#options.onRefused?.({ source, local, peer, authority, status: 400, reason }))
      return
    }
    const request = new Request(head, stream, peer, ends)
    handOut(request, this.#options.onTunnel, this.#logger)
  }

  #fail(socket: Carrier, ends: Ends, error: unknown): void {
    socket.destroy()
    const known =
      error instanceof HboneError
        ? error
        : new HboneError(
            'AMBIENT_E_TLS',
            `no credentials for ${formatHostPort(ends.local.address, ends.local.port)}: ${messageOf(error)}`,
            { cause: error, layer: 'identity' },
          )
    if (this.#closing === undefined) this.#report(ends, known)
  }

  #report(ends: Ends, error: HboneError): void {
    this.#tell(() => this.#options.onFailure?.({ source: ends.source, local: ends.local, error }))
  }

  /** A listener that throws must not keep a session from its end, or end it for everybody. */
  #tell(tell: () => void): void {
    try {
      tell()
    } catch (error) {
      this.#logger.error({ error: messageOf(error) }, 'listener failed')
    }
  }

  async #close(graceMs: number): Promise<void> {
    this.retire()
    if (graceMs <= 0) this.#cutAll()
    if (this.#isEmpty) return this.#cutHandshakes()
    const empty = new Promise<void>(resolve => {
      this.#onEmpty = resolve
    })
    const late = Math.min(graceMs, this.#limits.lastHandshakesMs)
    const timers = [
      this.#clock.after(late, () => this.#cutHandshakes(), { keepAlive: true }),
      this.#clock.after(graceMs, () => this.#cutAll(), { keepAlive: true }),
    ]
    await empty
    for (const timer of timers) timer.cancel()
  }

  #cutAll(): void {
    this.#cutHandshakes()
    const error = new HboneError('AMBIENT_E_CLOSED', 'connection closed due to connection drain', {
      h2Code: 'NO_ERROR',
    })
    for (const session of [...this.#open]) session.cut(error)
  }

  #cutHandshakes(): void {
    this.#stop.abort(new HboneError('AMBIENT_E_CLOSED', 'the server is closing'))
    for (const socket of this.#handshakes) socket.destroy()
  }

  get #isEmpty(): boolean {
    return this.#open.size === 0 && this.#handshakes.size === 0
  }

  #settle(): void {
    if (this.#isEmpty) this.#onEmpty?.()
  }
}

interface Ends {
  readonly source: SocketAddress
  readonly local: SocketAddress
  readonly via?: SpiffeId
}

interface Live {
  readonly proof: SessionProof
  readonly ends: Ends
}

class Request extends AnswerableRequest implements TunnelRequest {
  readonly peer: TunnelPeer
  readonly via?: SpiffeId

  constructor(head: ConnectHead, stream: Http2Stream, peer: TunnelPeer, { local, via }: Ends) {
    super(head, stream, local)
    this.peer = peer
    if (via !== undefined) this.via = via
  }
}

function endOf(address: string | undefined, port: number | undefined): SocketAddress {
  return { address: canonicalIp(address ?? '') ?? '', port: port ?? 0 }
}
