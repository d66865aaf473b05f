/** One client session: TCP, TLS, the verdict on the peer, HTTP/2; and the tunnels through it. */
import { setMaxListeners } from 'node:events'
import {
  canonicalIp,
  type Channel,
  type ChannelReset,
  type Clock,
  type Logger,
  type Timer,
} from '@ambient/core'
import type { ConnectRequest } from './client.ts'
import { HboneError } from './errors.ts'
import { readResponseHead } from './http2/message.ts'
import { Http2Connection } from './http2/connection.ts'
import type { HeaderList } from './http2/hpack.ts'
import type { Http2Stream } from './http2/stream.ts'
import type { HboneLimits } from './limits.ts'
import { type Rejudge, type SessionProof, withdrawnTrust } from './recheck.ts'
import { drainAtAge } from './session-age.ts'
import { type Carrier, handshakeAsClient, type ProvenPeer, readyForHandshakes } from './tls.ts'
import type { SocketAddress, Tunnel, TunnelPeer } from './tunnel.ts'
import { TunnelSocket } from './tunnel-socket.ts'

/** What a session is to run over. */
export interface Reached {
  readonly carrier: Carrier
  /** The other end, for messages. */
  readonly name: string
  /** Who carries it, when it is a tunnel, and when that takes nothing new. */
  readonly via?: { readonly peer: TunnelPeer; readonly draining: AbortSignal }
}

/** @throws HboneError; the signal's reason. */
export type Reach<R> = (request: R, signal: AbortSignal | undefined) => Promise<Reached>

export interface SessionOptions<R extends ConnectRequest = ConnectRequest> {
  readonly reach: Reach<R>
  readonly limits: HboneLimits
  /** After this age it drains; 0: never. */
  readonly maxAgeMs: number
  readonly clock: Clock
  readonly logger?: Logger
  /** No new tunnels from now on. */
  readonly onDraining: (session: ClientSession) => void
  /** A tunnel ended, or the peer's limit changed. */
  readonly onCapacity: (session: ClientSession) => void
  /** No tunnel is left. */
  readonly onClosed: (session: ClientSession) => void
  /** Its TCP connection is closed, last of all. */
  readonly onGone: (session: ClientSession) => void
}

/** @throws HboneError UNREACHABLE, TIMEOUT, TLS or PEER_IDENTITY; the signal's reason. */
export async function openSession<R extends ConnectRequest>(
  request: R,
  options: SessionOptions<R>,
  signal?: AbortSignal,
): Promise<ClientSession> {
  await readyForHandshakes(request.credentials)
  const reached = await options.reach(request, signal)
  const { limits, clock } = options
  const { credentials } = request
  const expect = { kind: 'one-of', ids: request.expect } as const
  const proven = await handshakeAsClient(reached.carrier, {
    credentials,
    expect,
    subject: reached.name,
    timeoutMs: limits.handshakeMs,
    clock,
    ...(options.logger === undefined ? {} : { logger: options.logger }),
    ...(signal === undefined ? {} : { signal }),
  })
  const { id, notAfter, chain } = proven
  const address = canonicalIp(request.to.address) ?? request.to.address
  const peer: TunnelPeer = Object.freeze({ id, address, port: request.to.port, notAfter })
  const proof: SessionProof = { peer, chain, expect, credentials, since: clock.now() }
  return new ClientSession(proven, reached, proof, options)
}

export class ClientSession {
  readonly local: SocketAddress
  readonly #proof: SessionProof
  readonly #via: TunnelPeer | undefined
  readonly #connection: Http2Connection
  readonly #limits: HboneLimits
  readonly #clock: Clock
  readonly #name: string
  readonly #transport: ProvenPeer['socket']
  readonly #draining = new AbortController()
  #givenUp = 0

  constructor(
    proven: ProvenPeer,
    reached: Reached,
    proof: SessionProof,
    options: Omit<SessionOptions, 'reach'>,
  ) {
    const { carrier, name, via } = reached
    this.#limits = options.limits
    this.#clock = options.clock
    this.#proof = proof
    this.#via = via?.peer
    this.#name = name
    this.#transport = proven.socket
    // One listener for each tunnel that is kept idle, of which a session may have many.
    setMaxListeners(0, this.#draining.signal)
    this.local = localEndOf(carrier)
    const drain = (): void => this.drain()
    const age = drainAtAge(options.maxAgeMs, options.clock, drain)
    this.#connection = new Http2Connection({
      role: 'client',
      transport: proven.socket,
      peer: this.#name,
      limits: options.limits,
      clock: options.clock,
      handlers: {
        onCapacity: () => {
          if (this.#isWorn) this.drain()
          this.#holdProcess()
          options.onCapacity(this)
        },
        onDraining: () => {
          this.#holdProcess()
          options.onDraining(this)
          this.#draining.abort()
        },
        onClosed: () => {
          age?.cancel()
          via?.draining.removeEventListener('abort', drain)
          options.onClosed(this)
          this.#draining.abort()
        },
        onGone: () => options.onGone(this),
      },
    })
    this.#connection.start()
    this.#holdProcess()
    if (via?.draining.aborted === true) drain()
    else via?.draining.addEventListener('abort', drain)
  }

  get peer(): TunnelPeer {
    return this.#proof.peer
  }

  get tunnels(): number {
    return this.#connection.streams.size
  }

  /** Tunnels that may be opened now. */
  get capacity(): number {
    return Math.min(this.#connection.capacity, this.#limits.poolStreams - this.#connection.streams.size)
  }

  get isDraining(): boolean {
    return this.#connection.isDraining
  }

  /** Present tunnels finish, then the session ends. */
  drain(): void {
    this.#connection.drain()
  }

  /** Cuts every tunnel. */
  cut(reason: string): void {
    this.#transport.ref()
    this.#connection.cut(new HboneError('AMBIENT_E_CLOSED', reason, { h2Code: 'NO_ERROR' }))
  }

  /** Ends the session when its peer is no longer believed; why it did. */
  recheck(rejudge: Rejudge): HboneError | undefined {
    const error = withdrawnTrust(this.#proof, rejudge)
    if (error !== undefined) this.#connection.cut(error)
    return error
  }

  /** Of a request that `checkHead` lets pass. @throws HboneError REFUSED, RESET, TIMEOUT, SESSION_LOST or TLS; the signal's reason. */
  open(request: ConnectRequest): Promise<Tunnel> {
    const stream = this.#connection.open([
      [':method', 'CONNECT'],
      [':authority', request.authority],
      ...(request.headers ?? []),
    ])
    if (stream === undefined)
      return Promise.reject(
        new HboneError(
          'AMBIENT_E_HBONE_SESSION_LOST',
          `the session with ${this.#name} takes no more tunnels`,
          { unprocessed: true },
        ),
      )
    this.#holdProcess()
    return new Promise((resolve, reject) => this.#awaitAnswer(stream, request, resolve, reject))
  }

  /** As an agent's idle sockets: a session that only waits for its next tunnel does not keep the process from ending. */
  #holdProcess(): void {
    if (this.#connection.streams.size > 0 || this.#connection.isDraining) this.#transport.ref()
    else this.#transport.unref()
  }

  #awaitAnswer(
    stream: Http2Stream,
    request: ConnectRequest,
    resolve: (tunnel: Tunnel) => void,
    reject: (error: unknown) => void,
  ): void {
    const { signal } = request
    const settle = (): void => {
      timer.cancel()
      stream.observer = undefined
      signal?.removeEventListener('abort', onAbort)
    }
    const giveUp = (error: unknown): void => {
      settle()
      this.#takeBack(stream)
      reject(error)
    }
    const onAbort = (): void => giveUp(signal?.reason)
    const timer: Timer = this.#clock.after(this.#limits.answerMs, () =>
      giveUp(
        new HboneError(
          'AMBIENT_E_HBONE_TIMEOUT',
          `${this.#name} did not answer CONNECT ${request.authority} within ${this.#limits.answerMs} ms`,
        ),
      ),
    )
    stream.observer = {
      headers: list => {
        settle()
        const head = readResponseHead(list)
        if (head.kind === 'response' && head.status === 200)
          return resolve(this.#tunnel(stream, head.headers))
        stream.reset('CANCEL', 'refused')
        const status = head.kind === 'response' ? head.status : 0
        reject(
          new HboneError(
            'AMBIENT_E_HBONE_REFUSED',
            `http status: ${status}: ${this.#name} refused CONNECT ${request.authority}`,
            { status },
          ),
        )
      },
      gone: reset => {
        settle()
        reject(this.#goneError(reset, request.authority))
      },
    }
    if (signal?.aborted === true) onAbort()
    else signal?.addEventListener('abort', onAbort)
  }

  #takeBack(stream: Http2Stream): void {
    this.#givenUp++
    stream.reset('CANCEL', 'given up')
  }

  /** A peer that counts what was taken back would end the session, with everybody's tunnels. */
  get #isWorn(): boolean {
    const { poolGivenUp, poolResets } = this.#limits
    return this.#givenUp >= poolGivenUp || this.#connection.resetsSent >= poolResets
  }

  #goneError(reset: ChannelReset, authority: string): HboneError {
    const { cause } = reset
    // A TLS 1.3 server refuses a client's certificate after the client has finished its handshake.
    if (
      cause instanceof HboneError &&
      !this.#connection.isReady &&
      cause.code === 'AMBIENT_E_HBONE_SESSION_LOST'
    )
      return new HboneError(
        'AMBIENT_E_TLS',
        `${this.#name} closed the session right after the handshake: it refused our certificate, or its own side failed (${cause.message})`,
        { cause, layer: 'tls' },
      )
    if (cause instanceof HboneError) return cause
    const unprocessed = reset.code === 'REFUSED_STREAM'
    return new HboneError(
      'AMBIENT_E_HBONE_RESET',
      `${this.#name} reset CONNECT ${authority}: ${reset.reason}`,
      { h2Code: reset.code, unprocessed },
    )
  }

  #tunnel(stream: Http2Stream, responseHeaders: HeaderList): Tunnel {
    const { peer, local } = this
    const via = this.#via
    const channel: Channel = stream
    return {
      channel,
      peer,
      ...(via === undefined ? {} : { via }),
      local,
      responseHeaders,
      draining: this.#draining.signal,
      socket: (options = {}) =>
        new TunnelSocket(channel, {
          ...options,
          remoteAddress: peer.address,
          remotePort: peer.port,
          localAddress: local.address,
          localPort: local.port,
          peer: peer.id,
        }),
    }
  }
}

function localEndOf({ localAddress = '', localPort = 0 }: Carrier): SocketAddress {
  return Object.freeze({ address: canonicalIp(localAddress) ?? localAddress, port: localPort })
}
