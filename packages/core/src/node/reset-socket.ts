/**
 * A TCP reset that also works while the socket is being shut down.
 *
 * libuv refuses to reset a stream whose shutdown is under way, and Node then forgets the handle: the descriptor stays
 * open, the peer hears nothing, and the process spins at its end. A shutdown takes one turn of the loop when everything
 * was written, so the reset waits for it.
 */
import type { Socket } from 'node:net'

/** Sends an RST, once the kernel may be told so. A socket that is not connected yet, or no longer, is destroyed. */
export function resetSocket(socket: Socket): void {
  // Before the connection is established there is nothing that could be reset.
  if (socket.connecting || socket.destroyed) {
    socket.destroy()
    return
  }
  if (!socket.writableEnded || socket.writableFinished || socket.writableLength > 0) {
    socket.resetAndDestroy()
    return
  }
  // 'finish' comes before the stream destroys itself, 'close' when the shutdown failed.
  const reset = (): void => {
    socket.off('finish', reset)
    socket.off('close', reset)
    if (!socket.destroyed) socket.resetAndDestroy()
  }
  socket.on('finish', reset)
  socket.on('close', reset)
}
