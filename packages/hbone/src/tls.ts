/**
 * Mutual TLS 1.3 for HBONE: ALPN h2, no SNI, no tickets, no resumption. The platform's verdict on the peer is not asked for;
 * the credentials' own verdict stands before the first byte is parsed.
 */
import { constants } from 'node:crypto'
import type { Socket } from 'node:net'
import {
  connect,
  type ConnectionOptions,
  createSecureContext,
  type SecureContext,
  TLSSocket,
  type TLSSocketOptions,
} from 'node:tls'
import {
  type Clock,
  type Credentials,
  formatHostPort,
  type Logger,
  type PeerExpectation,
  type PeerVerdict,
  type SpiffeId,
} from '@ambient/core'
import { peerChain } from '@ambient/core/node'
import { HboneError, tlsError } from './errors.ts'
import { proveTlsReads } from './tls-static.ts'
import type { TunnelSocket } from './tunnel-socket.ts'

/** ztunnel's list; AES-128 costs less and is what two of our own agree on only when asked to. */
const CIPHERS = 'TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256'
const ALPN = ['h2']

const contexts = new WeakMap<Credentials, SecureContext>()

/** What carries a session: a TCP connection, or a tunnel of another session. */
export type Carrier = Socket | TunnelSocket

export interface ProvenPeer {
  readonly socket: TLSSocket
  readonly id: SpiffeId
  /** What it proved that with: DER, leaf first. */
  readonly chain: readonly Uint8Array[]
  /** Milliseconds since the epoch. */
  readonly notAfter: number
}

export interface HandshakeOptions {
  readonly credentials: Credentials
  readonly expect: PeerExpectation
  readonly timeoutMs: number
  readonly clock: Clock
  /** The other end, for messages. Default: its address. */
  readonly subject?: string
  /** Hears what the platform thinks of the peer. */
  readonly logger?: Logger
  /** Gives the handshake up. */
  readonly signal?: AbortSignal
}

/**
 * Owns the socket: it is destroyed when the promise rejects.
 * @throws HboneError TLS, PEER_IDENTITY or TIMEOUT; the signal's reason.
 */
export async function handshakeAsServer(socket: Carrier, options: HandshakeOptions): Promise<ProvenPeer> {
  // `allowHalfOpen` is an option of every stream, though the types of this one do not say so.
  const settings: TLSSocketOptions & { readonly allowHalfOpen: boolean } = {
    isServer: true,
    secureContext: contextOf(options.credentials),
    requestCert: true,
    // On a bare TLSSocket this asks OpenSSL for one thing: that a client without a certificate gets its alert. What is
    // wrong with a certificate is for our own verdict to say; `tunnel.test.ts` holds both.
    rejectUnauthorized: true,
    ALPNProtocols: ALPN,
    allowHalfOpen: true,
  }
  socket.on('error', () => {})
  await readyForHandshakes(options.credentials)
  return prove(() => new TLSSocket(socket, settings), 'secure', socket, options)
}

/** As {@link handshakeAsServer}, from the other end. */
export function handshakeAsClient(socket: Carrier, options: HandshakeOptions): Promise<ProvenPeer> {
  socket.on('error', () => {})
  const settings: ConnectionOptions & { readonly allowHalfOpen: boolean } = {
    socket,
    secureContext: contextOf(options.credentials),
    rejectUnauthorized: false,
    checkServerIdentity: () => undefined,
    ALPNProtocols: ALPN,
    allowHalfOpen: true,
  }
  return prove(() => connect(settings), 'secureConnect', socket, options)
}

/**
 * The first handshake of a process waits until it is known how its sessions can be read: before the connection is made,
 * because a dialled socket reads, and an end that it reads is one that TLS never hears of. Accepted sockets are paused.
 */
export async function readyForHandshakes(credentials: Credentials): Promise<void> {
  await proveTlsReads(contextOf(credentials))
}

function prove(
  wrap: () => TLSSocket,
  event: string,
  socket: Carrier,
  options: HandshakeOptions,
): Promise<ProvenPeer> {
  const { signal, subject = formatHostPort(socket.remoteAddress ?? 'unknown', socket.remotePort ?? 0) } =
    options
  if (signal?.aborted === true || socket.destroyed) {
    drop(socket)
    return Promise.reject(signal?.reason ?? closedError(subject))
  }
  const secure = wrap()
  return new Promise((resolve, reject) => {
    const settle = (): void => {
      timer.cancel()
      signal?.removeEventListener('abort', onAbort)
      secure.off(event, onSecure)
      secure.off('error', onError)
      secure.off('close', onClose)
      secure.off('end', onClose)
    }
    const fail = (error: unknown): void => {
      settle()
      secure.on('error', () => {})
      // A tunnel first: beneath a destroyed session it would have ended already.
      if (isTunnel(socket)) drop(socket)
      secure.destroy()
      socket.destroy()
      reject(error)
    }
    const onError = (cause: Error): void => fail(handshakeError(subject, cause))
    const onClose = (): void => fail(closedError(subject))
    const onAbort = (): void => fail(signal?.reason)
    const onSecure = (): void => {
      const proven = judge(secure, subject, options)
      if (proven instanceof HboneError) return fail(proven)
      settle()
      resolve(proven)
    }
    const timer = options.clock.after(options.timeoutMs, () => fail(timeoutError(subject, options.timeoutMs)))
    secure.once(event, onSecure)
    secure.once('error', onError)
    secure.once('close', onClose)
    // Half-open sockets do not close by themselves.
    secure.once('end', onClose)
    signal?.addEventListener('abort', onAbort)
  })
}

/** A tunnel is reset: ended, it would wait a minute for the far end to end it too. */
function drop(socket: Carrier): void {
  if (isTunnel(socket)) socket.resetAndDestroy()
  else socket.destroy()
}

function isTunnel(socket: Carrier): socket is TunnelSocket {
  return 'peer' in socket
}

/** Our verdict on who is at the other end: the only one that counts. */
function judge(
  secure: TLSSocket,
  subject: string,
  { credentials, expect, logger }: HandshakeOptions,
): ProvenPeer | HboneError {
  try {
    const chain = peerChain(secure)
    const verdict = credentials.verifyPeer(chain, expect)
    // The client's platform has an opinion (the server's is not asked, see above), which decides nothing.
    const { authorizationError } = secure
    if (authorizationError)
      logger?.debug(
        { peer: subject, platform: String(authorizationError) },
        `peer ${verdict.ok ? 'accepted' : 'refused'}; what the platform says of it decides nothing`,
      )
    if (!verdict.ok) return identityError(subject, verdict)
    return { socket: secure, id: verdict.id, chain, notAfter: verdict.notAfter }
  } catch (error) {
    // A verifier that fails has not said yes.
    return tlsError(subject, error)
  }
}

/** OpenSSL's word for a client that showed nothing is our verifier's first rule. */
function handshakeError(subject: string, cause: Error): HboneError {
  if ('code' in cause && cause.code === 'ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE')
    return identityError(subject, {
      ok: false,
      problem: 'no-certificate',
      reason: 'the peer sent no certificate',
    })
  return tlsError(subject, cause)
}

function closedError(subject: string): HboneError {
  const message = `TLS with ${subject} failed: the peer closed the connection`
  return new HboneError('AMBIENT_E_TLS', message, { layer: 'tls' })
}

function identityError(subject: string, verdict: Extract<PeerVerdict, { ok: false }>): HboneError {
  const message = `identity verification error: ${subject}: ${verdict.reason}`
  return new HboneError('AMBIENT_E_PEER_IDENTITY', message, { layer: 'identity', problem: verdict.problem })
}

function timeoutError(subject: string, timeoutMs: number): HboneError {
  const message = `TLS with ${subject} was not finished within ${timeoutMs} ms`
  return new HboneError('AMBIENT_E_HBONE_TIMEOUT', message, { layer: 'tls' })
}

/** One context per generation of an identity: making one costs a millisecond. */
function contextOf(credentials: Credentials): SecureContext {
  const known = contexts.get(credentials)
  if (known !== undefined) return known
  const context = createSecureContext({
    cert: credentials.certificateChain,
    key: credentials.privateKey(),
    // None: OpenSSL would append the root to our chain; whom we believe is for our own verdict to say.
    ca: [],
    minVersion: 'TLSv1.3',
    maxVersion: 'TLSv1.3',
    ciphers: CIPHERS,
    secureOptions: constants.SSL_OP_NO_TICKET,
  })
  contexts.set(credentials, context)
  return context
}
