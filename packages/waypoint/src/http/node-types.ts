/** Node's HTTP takes any Duplex; its types ask for `net.Socket`. The one place where that is bridged. */
import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'

export function netSocket(socket: Duplex): Socket {
  // Documented for `'connection'`: "this event can also be explicitly emitted … any Duplex stream can be passed".
  return socket as Socket
}

/** A caller that ended its direction may still read its answer. Node has the switch, but neither type nor option for it. */
export function allowHalfOpen(server: Server): void {
  Object.assign(server, { httpAllowHalfOpen: true })
}

/** Ends the socket when everything is sent. */
export function endSoon(socket: Duplex): void {
  if ('destroySoon' in socket && typeof socket.destroySoon === 'function') socket.destroySoon()
  else if (socket.writableFinished) socket.destroy()
  else socket.end(() => socket.destroy())
}
