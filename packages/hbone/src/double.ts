/**
 * HBONE in HBONE, for networks that reach one another through gateways only: a session with the far end within a tunnel
 * of a session with the gateway. The gateway reads the target of the outer CONNECT and passes the bytes on; the far end
 * proves itself to us through it, and sees who we are.
 *
 * A session within a tunnel carries many tunnels, where ztunnel opens one each. A gateway chooses its backend once per
 * outer tunnel, so there are several sessions to one target, taken in turn, and each is replaced after a while.
 */
import { type Clock, formatHostPort, type Logger, type SpiffeId } from '@ambient/core'
import type { ConnectRequest } from './client.ts'
import type { HeaderList } from './http2/hpack.ts'
import { type HboneLimits, resolveLimits } from './limits.ts'
import { checkExpected, checkOptions, checkPool } from './option-checks.ts'
import { createPool, type HbonePool } from './pool.ts'
import type { Reach } from './session.ts'

/** `to` is where the gateway listens, `expect` who the far end must be, `authority` the target of both CONNECTs. */
export interface DoubleConnectRequest extends ConnectRequest {
  readonly gateway: {
    /** The gateway must prove one of these. Empty: nobody is good enough. */
    readonly expect: readonly SpiffeId[]
    /** Of the outer CONNECT; those of the inner one are `headers`. */
    readonly headers?: HeaderList
  }
  /** How many backends the gateway may choose from, as far as known. Default 1. */
  readonly backends?: number
}

export interface DoubleHbonePoolOptions {
  /** Opens the tunnels to gateways. It belongs to the caller, and is to be closed after this one. */
  readonly outer: HbonePool
  readonly limits?: Partial<HboneLimits>
  readonly clock?: Clock
  readonly logger?: Logger
}

/** Its tunnels say who the far end is (`peer`) and who the gateway is (`via`). */
export type DoubleHbonePool = HbonePool<DoubleConnectRequest>

/** As {@link createHbonePool}; a failure of the outer tunnel is a failure of everybody who waits for the session. */
export function createDoubleHbonePool(options: DoubleHbonePoolOptions): DoubleHbonePool {
  checkOptions(options)
  checkPool('outer', options.outer)
  const limits = resolveLimits(options.limits)
  return createPool<DoubleConnectRequest>(options, {
    reach: reachThrough(options.outer),
    keyOf,
    maxAgeMs: limits.innerSessionAgeMs,
    sessionsFor: ({ backends = 1 }) => Math.max(1, Math.min(backends, limits.innerSessions)),
  })
}

function reachThrough(outer: HbonePool): Reach<DoubleConnectRequest> {
  return async (request, signal) => {
    const { credentials, to, gateway, authority, localAddress } = request
    const tunnel = await outer.connect({
      credentials,
      to,
      expect: gateway.expect,
      authority,
      ...(gateway.headers === undefined ? {} : { headers: gateway.headers }),
      ...(localAddress === undefined ? {} : { localAddress }),
      ...(signal === undefined ? {} : { signal }),
    })
    return {
      carrier: tunnel.socket(),
      name: `${authority} through ${formatHostPort(to.address, to.port)}`,
      via: { peer: tunnel.peer, draining: tunnel.draining },
    }
  }
}

/** The far end stands behind one target of one gateway, so these are of the key as well. */
function keyOf(request: DoubleConnectRequest): string {
  const { credentials, to, expect, gateway, authority, localAddress = '' } = request
  checkExpected('gateway.expect', gateway?.expect)
  return JSON.stringify([
    credentials.id.uri,
    credentials.generation,
    localAddress,
    to.address,
    to.port,
    authority,
    expect.map(id => id.uri),
    gateway.expect.map(id => id.uri),
  ])
}
