/** How a surface asks for tunnels: by target, with everything else settled. */
import type { Credentials, SpiffeId } from '@ambient/core'
import { formatHostPort, quoteText, readHostPort } from '@ambient/core'
import { HboneError } from './errors.ts'
import type { HeaderList } from './http2/hpack.ts'
import {
  checkAddress,
  checkExpected,
  checkFunction,
  checkHeaders,
  checkOptions,
  checkPool,
} from './option-checks.ts'
import type { HbonePool } from './pool.ts'
import type { SocketAddress, Tunnel } from './tunnel.ts'

/** What a tunnel leads to: the authority of its CONNECT. */
export interface TunnelTarget {
  /** A name or an IP literal without brackets. */
  readonly host: string
  readonly port: number
}

/** Opens a tunnel to a target. Rejects with `HboneError` (OPTION for what is no target), or with the signal's reason. */
export type OpenTunnel = (
  target: TunnelTarget,
  options?: { readonly signal?: AbortSignal },
) => Promise<Tunnel>

export interface TunnelsViaOptions {
  readonly pool: HbonePool
  /** Asked for each tunnel, so that a renewed certificate is used at once. */
  readonly credentials: () => Credentials | Promise<Credentials>
  /** Where the HBONE peer listens: a ztunnel, a waypoint, a gateway. */
  readonly to: SocketAddress
  /** The peer must prove one of these. Empty: nobody is good enough. */
  readonly expect: readonly SpiffeId[]
  /** Of each CONNECT: `baggage`, `forwarded`, `traceparent`. */
  readonly headers?: HeaderList | ((target: TunnelTarget) => HeaderList)
}

/** Every target through one HBONE peer. @throws HboneError `AMBIENT_E_HBONE_OPTION`. */
export function tunnelsVia(options: TunnelsViaOptions): OpenTunnel {
  checkOptions(options)
  const { pool, to, expect, headers } = options
  checkPool('pool', pool)
  checkFunction('credentials', options.credentials)
  checkAddress('to', to)
  checkExpected('expect', expect)
  if (typeof headers !== 'function') checkHeaders('headers', headers)
  return async (target, { signal } = {}) => {
    signal?.throwIfAborted()
    const authority = formatHostPort(target.host, target.port)
    const read = readHostPort(authority)
    if (!read.ok)
      throw new HboneError(
        'AMBIENT_E_HBONE_OPTION',
        `no target for a tunnel: ${quoteText(authority.slice(0, 256))}: ${read.reason}`,
        { layer: 'config' },
      )
    const credentials = await options.credentials()
    return pool.connect({
      credentials,
      to,
      expect,
      authority,
      ...(headers === undefined
        ? {}
        : { headers: typeof headers === 'function' ? headers(target) : headers }),
      ...(signal === undefined ? {} : { signal }),
    })
  }
}
