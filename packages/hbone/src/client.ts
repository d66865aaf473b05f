/** What a tunnel is asked for with, and a session of its own for one tunnel. */
import { type Clock, type Credentials, type SpiffeId, systemClock } from '@ambient/core'
import { type Dial, dial } from '@ambient/core/node'
import { checkHead } from './connect-head.ts'
import type { HeaderList } from './http2/hpack.ts'
import { type HboneLimits, resolveLimits } from './limits.ts'
import { checkConnectRequest } from './option-checks.ts'
import { reachByTcp } from './reach.ts'
import { openSession } from './session.ts'
import type { SocketAddress, Tunnel } from './tunnel.ts'

export interface ConnectRequest {
  /** Who we are, and whom we believe. */
  readonly credentials: Credentials
  /** Where the HBONE server listens; an IP literal. */
  readonly to: SocketAddress
  /** The peer must prove one of these. Empty: nobody is good enough. */
  readonly expect: readonly SpiffeId[]
  /** `host:port` of the CONNECT: a DNS name or an IP literal, IPv6 in brackets, and a decimal port from 1 to 65535. */
  readonly authority: string
  /** Lower-case names; `baggage`, `forwarded`, `traceparent`. */
  readonly headers?: HeaderList
  /** Source address to dial from. */
  readonly localAddress?: string
  readonly signal?: AbortSignal
}

/**
 * A tunnel through a session of its own, which ends with it. Most callers want a pool.
 * @throws HboneError as {@link createHbonePool}'s `connect`.
 */
export async function connect(
  request: ConnectRequest & {
    readonly dial?: Dial
    readonly limits?: Partial<HboneLimits>
    readonly clock?: Clock
  },
): Promise<Tunnel> {
  checkConnectRequest(request)
  checkHead(request)
  const limits = resolveLimits(request.limits)
  const nothing = (): void => {}
  const options = {
    reach: reachByTcp(request.dial ?? dial, limits),
    limits,
    maxAgeMs: 0,
    clock: request.clock ?? systemClock,
    onDraining: nothing,
    onCapacity: nothing,
    onClosed: nothing,
    onGone: nothing,
  }
  const session = await openSession(request, options, request.signal)
  const answer = session.open(request)
  session.drain()
  return answer
}
