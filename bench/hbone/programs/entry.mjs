// The way into a pair: a port that leads to the application, or a SOCKS5 proxy that is asked for it.
import { dialStatic } from './static-read.mjs'

const GREETING = Buffer.from([5, 1, 0])
const GREETING_ANSWER_BYTES = 2
/** To a CONNECT, with an IPv4 address. */
const ANSWER_BYTES = 10

/**
 * @param {{ host: string, port: number, socks?: { host: string, port: number } }} entry
 * @param onReady called with the socket when bytes may be written that the application is to get
 */
export function dialEntry(entry, onBytes, onReady) {
  if (entry.socks === undefined) {
    const socket = dialStatic(entry, onBytes)
    onReady(socket)
    return socket
  }
  let awaited = GREETING_ANSWER_BYTES + ANSWER_BYTES
  const proxied = dialStatic(entry.socks, (socket, bytes) => {
    if (awaited === 0) return onBytes(socket, bytes)
    awaited -= bytes.length
    if (awaited === ANSWER_BYTES) socket.write(connectTo(entry))
    else if (awaited === 0 && bytes.at(-ANSWER_BYTES + 1) === 0) onReady(socket)
    else if (awaited <= 0) socket.destroy(new Error('the SOCKS5 proxy refused'))
  })
  proxied.write(GREETING)
  return proxied
}

function connectTo({ host, port }) {
  return Buffer.from([5, 1, 0, 1, ...host.split('.').map(Number), port >> 8, port & 0xff])
}
