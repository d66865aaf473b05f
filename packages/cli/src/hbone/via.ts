/** The HBONE peer of a command line, and tunnels through it. */
import { lookup } from 'node:dns/promises'
import { canonicalIp, messageOf } from '@ambient/core'
import { type HbonePool, type OpenTunnel, type SocketAddress, tunnelsVia } from '@ambient/hbone'
import { CliError } from '../errors.ts'
import type { Place } from './common-options.ts'
import type { OwnCredentials } from './own-credentials.ts'

/** A name is looked up once: the pool shares sessions by address. */
export async function resolvePeer({ host, port }: Place): Promise<SocketAddress> {
  const literal = canonicalIp(host)
  if (literal !== undefined) return { address: literal, port }
  try {
    return { address: (await lookup(host)).address, port }
  } catch (cause) {
    const message = `${host} cannot be resolved: ${messageOf(cause)}`
    throw new CliError('AMBIENT_E_CLI_CONNECT', message, { cause, layer: 'tcp' })
  }
}

/** Whom to believe is the credentials' to say, so the list of expected peers stays empty. */
export function tunnelsOf(of: {
  readonly pool: HbonePool
  readonly own: OwnCredentials
  readonly to: SocketAddress
}): OpenTunnel {
  return tunnelsVia({ pool: of.pool, to: of.to, credentials: () => of.own.current(), expect: [] })
}
