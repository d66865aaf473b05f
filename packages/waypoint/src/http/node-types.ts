/** Node's HTTP takes any Duplex; its types ask for `net.Socket`. The one place where that is bridged. */
import type { IncomingMessage, Server } from 'node:http'
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

/**
 * From 25 on Node reads the body of a request with an upgrade itself, so that its head cannot be read anew. It can be
 * told to look at no upgrade, but then forgets what else has come with it: such a request has to be the last.
 */
export const readsUpgradeBodies = Number(process.versions.node.split('.')[0]) >= 25

/** Requests whose upgrade is not looked at, where {@link readsUpgradeBodies}. */
export function ignoreUpgrades(server: Server, isIgnored: (message: IncomingMessage) => boolean): void {
  if (!readsUpgradeBodies) return
  Object.assign(server, { shouldUpgradeCallback: (message: IncomingMessage) => !isIgnored(message) })
}

/** What Node's parser leaves behind on a socket that it has let go of. */
export function forgetParser(socket: Duplex): void {
  socket.removeAllListeners('resume').removeAllListeners('pause')
}

/** Ends the socket when everything is sent. */
export function endSoon(socket: Duplex): void {
  if ('destroySoon' in socket && typeof socket.destroySoon === 'function') socket.destroySoon()
  else if (socket.writableFinished) socket.destroy()
  else socket.end(() => socket.destroy())
}
