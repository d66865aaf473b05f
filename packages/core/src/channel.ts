/**
 * The byte contract beneath streams: two independent directions, each ended cleanly or reset, back-pressure by return
 * value, memory owned by agreement. A TCP socket, an HBONE tunnel and any Duplex are channels; the pump joins two.
 *
 * Why not Duplex: a proxy moves bytes it never looks at, and per-chunk events, allocations and queues are what bounds
 * it. A Duplex can also not say "reset", which is the difference between a cut transfer and a complete one.
 */

/**
 * Why a channel was cut, in HTTP/2's words (RFC 9113 §7). TCP knows one reset only, so these are what a tunnel sends:
 * `CONNECT_ERROR` when the TCP side failed, else `INTERNAL_ERROR`; `CANCEL` only when no bytes are owed, because
 * ztunnel reads NO_ERROR and CANCEL as a clean end.
 */
export type ResetCode = 'CONNECT_ERROR' | 'INTERNAL_ERROR' | 'CANCEL' | 'REFUSED_STREAM' | 'ENHANCE_YOUR_CALM'

export interface ChannelReset {
  readonly by: 'peer' | 'local'
  /** As the peer sent it, or what we would send; a TCP reset is `CONNECT_ERROR`. */
  readonly code: string
  readonly reason: string
  readonly cause?: unknown
}

/** What a channel tells its one user. Never called before `start`, never re-entrantly from `start` itself. */
export interface ChannelEvents {
  /**
   * Bytes arrived. Return `true` when they are consumed on return, so that the channel may overwrite their memory;
   * `false` to keep the view for ever, in which case the channel reads into another buffer next.
   */
  data(bytes: Uint8Array): boolean
  /** The peer ended its direction cleanly; every byte before it was delivered. */
  end(): void
  /** Everything written has left this process's memory (kernel or TLS took it): writing may go on, views are free. */
  drained(): void
  /** Our direction is ended and flushed: follows `channel.end()` once. */
  finished(): void
  /** The channel is dead in both directions; bytes that arrived before were delivered. Called at most once. */
  reset(reset: ChannelReset): void
}

export interface Channel {
  /** Attaches the one user and begins to deliver. @throws when called twice. */
  start(events: ChannelEvents): void
  /**
   * Bytes that `data` answered `false` for are free after all, and nobody looks at them any more: the channel may read into
   * their memory again. A busy conveyor that lets its buffers go feeds them to the garbage collector, which costs more than copying.
   */
  free?(bytes: Uint8Array): void
  /** No `data` is delivered from now until `resume`, and the peer is slowed down; a bounded amount may be buffered. */
  pause(): void
  resume(): void
  /**
   * `true`: the bytes were taken at once, the caller may reuse their memory. `false`: they are held by reference until
   * `drained`; the caller should stop writing. Never copies, never throws; after an end or a reset it is a no-op
   * that returns `true`. Zero-length writes are ignored.
   */
  write(bytes: Uint8Array): boolean
  /** Ends our direction after what was written; the other direction goes on. Idempotent. */
  end(): void
  /**
   * Cuts both directions: the peer sees a reset, never an end. Idempotent; ignored once both directions ended. The
   * local user gets no `reset` event for a reset that it asked for.
   */
  reset(code: ResetCode, reason: string): void
}
