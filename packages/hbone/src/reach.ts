/** A TCP connection to an HBONE peer. */
import { CoreError, formatHostPort, messageOf } from '@ambient/core'
import type { Dial } from '@ambient/core/node'
import type { ConnectRequest } from './client.ts'
import { HboneError } from './errors.ts'
import type { HboneLimits } from './limits.ts'
import type { Reach } from './session.ts'

/** What the session of a request runs over: a connection that is dialled. */
export function reachByTcp(dial: Dial, limits: HboneLimits): Reach<ConnectRequest> {
  return async (request, signal) => {
    const { address, port } = request.to
    const name = formatHostPort(address, port)
    try {
      const carrier = await dial({
        host: address,
        port,
        timeoutMs: limits.connectMs,
        ...(request.localAddress === undefined ? {} : { localAddress: request.localAddress }),
        ...(signal === undefined ? {} : { signal }),
      })
      return { carrier, name }
    } catch (cause) {
      if (signal?.aborted === true) throw cause
      const isTimeout = cause instanceof CoreError && cause.code === 'AMBIENT_E_CONNECT_TIMEOUT'
      const reason = isTimeout
        ? `connect timed out after ${limits.connectMs} ms`
        : reasonOf(cause, request.localAddress)
      throw new HboneError(
        isTimeout ? 'AMBIENT_E_HBONE_TIMEOUT' : 'AMBIENT_E_HBONE_UNREACHABLE',
        `no HBONE session with ${name}: ${reason}`,
        { cause, layer: 'tcp' },
      )
    }
  }
}

/** What the system says without the address, which stands before it. */
function reasonOf(cause: unknown, localAddress: string | undefined): string {
  const system = cause instanceof CoreError ? cause.cause : undefined
  if (!(system instanceof Error && 'syscall' in system && 'code' in system)) return messageOf(cause)
  return `${system.syscall} ${system.code}${localAddress === undefined ? '' : ` from ${localAddress}`}`
}
