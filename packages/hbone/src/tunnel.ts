/** What both ends of a tunnel say of it. */
import type { Channel, SpiffeId } from '@ambient/core'
import type { HeaderList } from './http2/hpack.ts'
import type { TunnelSocket, TunnelSocketOptions } from './tunnel-socket.ts'

/** The proven other end of a session. */
export interface TunnelPeer {
  readonly id: SpiffeId
  /** Canonical IP. */
  readonly address: string
  readonly port: number
  /** When its certificate expires, milliseconds since the epoch. */
  readonly notAfter: number
}

export interface SocketAddress {
  readonly address: string
  readonly port: number
}

/** An open tunnel, client side. Its channel belongs to whoever was given it; `socket()` hands the same one out as a stream. */
export interface Tunnel {
  readonly channel: Channel
  readonly peer: TunnelPeer
  /** The gateway whose tunnel carries the session, proven as well; `peer` then has its address. */
  readonly via?: TunnelPeer
  readonly local: SocketAddress
  readonly responseHeaders: HeaderList
  /**
   * Aborted when its session takes no new tunnels (GOAWAY, retirement) or has ended. The tunnel itself lives on: whoever
   * keeps idle connections inside should end them now, and whoever works on should not use it for anything new.
   */
  readonly draining: AbortSignal
  /** The tunnel as a `net.Socket`-like stream. Use either this or `channel`, once. */
  socket(options?: TunnelSocketOptions): TunnelSocket
}
