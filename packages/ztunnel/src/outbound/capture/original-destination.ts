/** Where a captured connection wanted to go. */
import type { Socket } from 'node:net'
import { canonicalIp } from '@ambient/core'
import type { Target } from '../route.ts'

/** How the original destination of an accepted socket is found; the kernel's answer can replace this one. */
export type OriginalDestination = (socket: Socket) => Target | undefined

/**
 * The local address, which is the original destination wherever nothing was redirected. (The kernel's
 * SO_ORIGINAL_DST needs native code.)
 */
export const localAddressDestination: OriginalDestination = socket => {
  const address = canonicalIp(socket.localAddress ?? '')
  return address === undefined || socket.localPort === undefined
    ? undefined
    : { address, port: socket.localPort }
}
