// Sockets that read into one buffer that is never kept, so that the ends of a measurement cost little themselves.
import { Socket, connect } from 'node:net'

/** Shared by all sockets of a process: what was read is looked at before the next read. */
const shared = Buffer.allocUnsafeSlow(256 << 10)

const ignore = () => {}

/** @param {(socket: Socket, bytes: Buffer) => void} onBytes */
export function dialStatic({ host, port }, onBytes) {
  const socket = connect({
    host,
    port,
    noDelay: true,
    onread: {
      buffer: shared,
      callback: size => {
        onBytes(socket, shared.subarray(0, size))
        return true
      },
    },
  })
  socket.on('error', ignore)
  return socket
}

/** An accepted, paused socket, read the same way; by events where this Node does not let its handle be taken over. */
export function adoptStatic(accepted, onBytes) {
  const handle = accepted._handle
  if (!handle) {
    accepted.on('error', ignore)
    accepted.on('data', bytes => onBytes(accepted, bytes))
    accepted.resume()
    return accepted
  }
  accepted._handle = null
  accepted.destroy()
  const socket = new Socket({
    handle,
    onread: {
      buffer: shared,
      callback: size => {
        onBytes(socket, shared.subarray(0, size))
        return true
      },
    },
  })
  socket.on('error', ignore)
  return socket
}
