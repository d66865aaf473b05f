/** What the local listeners for SOCKS5 and HTTP CONNECT bound, with the reasons. */
import { HboneError } from './errors.ts'

export interface ProxyLimits {
  /** For each message of a client that negotiates, for the whole head of an HTTP request, and for `checkLogin`. */
  readonly requestMs: number
  /** Head of an HTTP request. A message of SOCKS5 cannot be longer than 513 bytes. */
  readonly maxRequestBytes: number
  /** Connections whose tunnel is not open yet; one more is closed at once. */
  readonly maxPendingRequests: number
  /** Connections in all; one more is closed at once. */
  readonly maxConnections: number
  /** How long a client that was refused has to read why, before it is cut. */
  readonly refusalMs: number
  /** `close()` without `graceMs`. */
  readonly graceMs: number
}

export const listenerDefaults: ProxyLimits = Object.freeze({
  requestMs: 10_000, // a program on the same machine needs milliseconds
  maxRequestBytes: 16_384, // Node's own limit of a head
  maxPendingRequests: 1_000, // each waits for a tunnel, which a pool opens 100 to a session
  maxConnections: 10_000, // two descriptors each at most; systems give 20,000 to a service
  refusalMs: 2_000, // the answer is one packet; whoever does not close is closed
  graceMs: 5_000, // as sessions have
})

/** @throws HboneError `AMBIENT_E_HBONE_OPTION` that names the limit. */
export function resolveProxyLimits(given: Partial<ProxyLimits> = {}): ProxyLimits {
  const set = Object.entries(given).filter(([, value]) => value !== undefined)
  for (const [name, value] of set) {
    const problem = !Object.hasOwn(listenerDefaults, name)
      ? 'is no limit of a local listener'
      : Number.isSafeInteger(value) && value >= (name === 'graceMs' ? 0 : 1)
        ? undefined
        : `must be a whole number of at least 1, not ${String(value)}`
    if (problem !== undefined)
      throw new HboneError('AMBIENT_E_HBONE_OPTION', `limits.${name} ${problem}`, { layer: 'config' })
  }
  return Object.freeze({ ...listenerDefaults, ...Object.fromEntries(set) })
}
