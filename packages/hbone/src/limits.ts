/**
 * Every limit of this package with its default and its reason, in one table. Anything that a peer can make grow has a
 * row here.
 */
import { HboneError } from './errors.ts'

export interface HboneLimits {
  /** TCP connect. */
  readonly connectMs: number
  /** TLS handshake, both roles. */
  readonly handshakeMs: number
  /** How long a server that closes waits for handshakes that were under way. */
  readonly lastHandshakesMs: number
  /**
   * From the end of the handshake to the peer's preface, SETTINGS and acknowledgement of ours; also for a header block to
   * end that has begun.
   */
  readonly prefaceMs: number
  /** From CONNECT to its answer. */
  readonly answerMs: number
  /** A pooled session without streams is closed after this time. */
  readonly idleMs: number
  /** A session drains when it is this old, up to a tenth earlier by chance; 0: never. */
  readonly maxSessionAgeMs: number
  /** As `maxSessionAgeMs`, for sessions within a gateway's tunnel. */
  readonly innerSessionAgeMs: number
  /** Sessions within tunnels of one gateway to one target, before tunnels share them; a request may ask for fewer. */
  readonly innerSessions: number
  /** A PING follows this long after the last one was answered. */
  readonly pingAfterMs: number
  /** No answer to a PING and no other byte for this long: the peer is dead. */
  readonly pingTimeoutMs: number
  /** How long a session that said goodbye waits for the peer to close, and a request that got its 400 may go on. */
  readonly lingerMs: number
  /** How long a reader that stopped may take for bytes that came before a reset; then it hears of the reset. */
  readonly resetFlushMs: number
  /** A stream that has bytes to send and may send none for this long is reset; 0: never. */
  readonly stalledMs: number
  /** `close()` without `graceMs`. */
  readonly graceMs: number
  /** Streams that a client may have open on one session of ours. */
  readonly maxConcurrentStreams: number
  /** Streams that the pool puts on one session, when the peer allows as many. */
  readonly poolStreams: number
  /** CONNECTs that the pool takes back on one session before the answer; then it is replaced. */
  readonly poolGivenUp: number
  /** Streams that the pool resets on one session; then it is replaced. */
  readonly poolResets: number
  /** Receive window of a new stream. */
  readonly streamWindowBytes: number
  /** How far a stream's receive window grows while its reader keeps up. */
  readonly maxStreamWindowBytes: number
  /** Receive window of a session; also the sum by which all its streams' windows may grow. */
  readonly connectionWindowBytes: number
  /** Largest frame we accept. DATA is never gathered, so this costs no memory. */
  readonly maxFrameBytes: number
  /** Header list of a request, RFC 9113's count (name + value + 32 each). */
  readonly maxRequestHeaderBytes: number
  /** Header list of an answer. */
  readonly maxResponseHeaderBytes: number
  /** Fields of a header list, pseudo headers included. */
  readonly maxHeaderFields: number
  /** CONTINUATION frames of one header block. */
  readonly maxContinuations: number
  /** Bytes waiting in the socket before streams are held back. */
  readonly sendBufferBytes: number
  /** Control frames that we owe to a peer which does not read. */
  readonly maxQueuedControlFrames: number
  /** From a connection's begin to the end of its PROXY header. */
  readonly proxyHeaderMs: number
  /** A PROXY header with everything in it. */
  readonly proxyHeaderBytes: number
  /** Connections between accept and the end of their handshake, per server. */
  readonly maxPendingHandshakes: number
  /** Sessions of one identity, per server; more get GOAWAY at once. */
  readonly maxSessionsPerIdentity: number
  /** Frames that cost us work and move no bytes: at once, and per second. */
  readonly settingsBurst: number
  readonly settingsPerSecond: number
  readonly pingBurst: number
  readonly pingPerSecond: number
  readonly emptyDataBurst: number
  readonly emptyDataPerSecond: number
  /** DATA that is more padding than bytes. */
  readonly paddedDataBurst: number
  readonly paddedDataPerSecond: number
  readonly idleFrameBurst: number
  readonly idleFramePerSecond: number
  /** Streams that the client opened and reset before they were answered. */
  readonly abortedRequestBurst: number
  readonly abortedRequestPerSecond: number
  /** RST_STREAM of the peer on answered streams. */
  readonly peerResetBurst: number
  readonly peerResetPerSecond: number
  /** Stream errors that the peer provoked us to send. */
  readonly streamErrorBurst: number
  readonly streamErrorPerSecond: number
}

/** Names in the order of the interface; the reason follows each value. */
export const defaultLimits: HboneLimits = Object.freeze({
  connectMs: 10_000, // ztunnel's CONNECTION_TIMEOUT
  handshakeMs: 10_000, // a slow network needs seconds, an attacker wants minutes
  lastHandshakesMs: 2_000, // a peer that was accepted just before begins at once; one that is silent is not waited for
  prefaceMs: 10_000, // as the handshake; Node's http2 would wait for ever
  answerMs: 30_000, // the far side may dial for 10 s, twice through a waypoint
  idleMs: 300_000, // ztunnel's POOL_UNUSED_RELEASE_TIMEOUT
  maxSessionAgeMs: 0, // as ztunnel: rotation and expiry end no session, revocation does (`recheck`)
  innerSessionAgeMs: 300_000, // a gateway chooses once per session; as often as an idle one is let go, it chooses again
  innerSessions: 4, // enough to spread over the backends that a gateway hides, few enough to be shared
  pingAfterMs: 10_000, // ztunnel and Envoy
  pingTimeoutMs: 20_000, // ztunnel and Envoy
  lingerMs: 1_000, // long enough for a GOAWAY or an answer to be read
  resetFlushMs: 2_000, // as the pump gives a sink; a kernel gives none
  stalledMs: 3_600_000, // Envoy's idle limit of a TCP proxy; a reader may well pause for a coffee
  graceMs: 5_000, // ztunnel's CONNECTION_TERMINATION_DEADLINE
  maxConcurrentStreams: 200, // ztunnel's
  poolStreams: 100, // ztunnel's POOL_MAX_STREAMS_PER_CONNECTION
  poolGivenUp: 100, // with as many under way still less than `abortedRequestBurst`, at which a peer of this kind ends it
  poolResets: 5_000, // half of `peerResetBurst`, likewise
  streamWindowBytes: 65_536, // an idle or paused tunnel costs at most this
  maxStreamWindowBytes: 4_194_304, // ztunnel's stream window
  connectionWindowBytes: 16_777_216, // ztunnel's connection window
  maxFrameBytes: 1_048_576, // ztunnel's
  maxRequestHeaderBytes: 65_536, // ztunnel's server
  maxResponseHeaderBytes: 16_384, // ztunnel's client
  maxHeaderFields: 100, // Envoy's max_headers_count; each is judged on its own, so many small ones cost more than a long one
  maxContinuations: 8, // a 64 KiB list needs three beyond its HEADERS
  sendBufferBytes: 262_144, // keeps the kernel busy, keeps streams fair
  maxQueuedControlFrames: 1_000, // nghttp2's and Envoy's figure
  proxyHeaderMs: 5_000, // it is the first thing that a proxy nearby writes
  proxyHeaderBytes: 4_096, // the format allows 64 KiB; the longest SPIFFE ID and some fields take less than this
  maxPendingHandshakes: 1_000, // about 100 KB each before anyone is proven
  maxSessionsPerIdentity: 5_000, // a thousand pods under one service account with a few each; half a gigabyte when they are merely open, not filled
  settingsBurst: 32, // real peers send one or two
  settingsPerSecond: 4, // and change them rarely
  pingBurst: 200, // keep-alive needs one per 10 s
  pingPerSecond: 20, // bandwidth probes need a few
  emptyDataBurst: 100, // no real peer sends DATA without bytes and without an end
  emptyDataPerSecond: 10, // so these drain slowly
  paddedDataBurst: 10_000, // peers that pad to hide lengths do so with every small frame
  paddedDataPerSecond: 2_000, // twice the fastest ping-pong that we measure
  idleFrameBurst: 2_000, // PRIORITY of browsers, GREASE, ORIGIN
  idleFramePerSecond: 200, // unknown frames are ignored, not for ever
  abortedRequestBurst: 200, // rapid reset; a healthy client gives up on few
  abortedRequestPerSecond: 50, // callers with short timeouts
  peerResetBurst: 10_000, // tunnels of busy applications do end in resets
  peerResetPerSecond: 2_000, // twice the fastest churn we measured
  streamErrorBurst: 100, // a healthy peer causes none
  streamErrorPerSecond: 10, // races at the end of a stream
})

const MAX_WINDOW_BYTES = 2_147_483_647
const AT_LEAST_ONE = [
  'maxConcurrentStreams',
  'poolStreams',
  'poolGivenUp',
  'poolResets',
  'innerSessions',
] as const

/**
 * The limits in force: the defaults with what the user set.
 * @throws HboneError `AMBIENT_E_HBONE_OPTION` that names the limit.
 */
export function resolveLimits(given: Partial<HboneLimits> = {}): HboneLimits {
  for (const [name, value] of Object.entries(given)) {
    if (!Object.hasOwn(defaultLimits, name)) throw invalid(name, 'is no limit of HBONE')
    if (value !== undefined && (!Number.isSafeInteger(value) || value < 0))
      throw invalid(name, `must be a whole number, not ${String(value)}`)
  }
  const limits = Object.freeze({ ...defaultLimits, ...dropUndefined(given) })
  if (limits.maxFrameBytes < 16_384 || limits.maxFrameBytes > 16_777_215)
    throw invalid('maxFrameBytes', 'must lie between 16384 and 16777215')
  if (limits.connectionWindowBytes < 65_535 || limits.connectionWindowBytes > MAX_WINDOW_BYTES)
    throw invalid('connectionWindowBytes', `must lie between 65535 and ${MAX_WINDOW_BYTES}`)
  if (limits.sendBufferBytes < 16_384) throw invalid('sendBufferBytes', 'must be at least 16384')
  for (const name of AT_LEAST_ONE) if (limits[name] < 1) throw invalid(name, 'must be at least 1')
  if (limits.streamWindowBytes < 1 || limits.streamWindowBytes > MAX_WINDOW_BYTES)
    throw invalid('streamWindowBytes', `must lie between 1 and ${MAX_WINDOW_BYTES}`)
  return limits
}

function dropUndefined(given: Partial<HboneLimits>): Partial<HboneLimits> {
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined))
}

function invalid(name: string, problem: string): HboneError {
  return new HboneError('AMBIENT_E_HBONE_OPTION', `limits.${name} ${problem}`, { layer: 'config' })
}
