/**
 * A write that fails must not take received bytes with it.
 *
 * An application that answers early and closes over unread bytes sends its answer and then a reset. Whoever reads first gets
 * both; whoever writes first hears of the reset, and Node then destroys the socket with the answer still in the kernel. So a failed
 * write is kept back: later ones go nowhere, reading goes on to the end, and there the failure is told. That end is none:
 * the kernel says a reset once only, and the write has heard it.
 *
 * Leans on `_write`, `_writev` and `push`, which are what implementers of streams override.
 */
import type { Socket } from 'node:net'
import { systemClock, type Timer } from '../clock.ts'

/** As the pump: how long a reader that has stopped may take for what came before a reset. */
const READ_OUT_MS = 2_000

type Done = (error?: Error | null) => void

/** Makes `socket` deliver what it has received before it fails because of a write. Call before it is written to. */
export function readOutFirst(socket: Socket): void {
  let failure: Error | undefined
  // The end may have been met behind a header; nothing is left to read out then.
  let hasEnded = socket.readableEnded
  let timer: Timer | undefined
  keepFailedWrites(socket, error => {
    if (hasEnded) return false
    failure = error
    timer = systemClock.after(READ_OUT_MS, () => socket.destroy(error))
    return true
  })
  const { push } = socket
  socket.push = (chunk: unknown, encoding?: BufferEncoding): boolean => {
    if (chunk !== null || failure === undefined) return push.call(socket, chunk, encoding)
    socket.destroy(failure)
    return false
  }
  socket.once('end', () => {
    hasEnded = true
    if (failure !== undefined) socket.destroy(failure)
  })
  socket.once('close', () => timer?.cancel())
}

/**
 * Tells `keep` of the first write that fails, before that write is called done. `true` takes the failure over: the socket lives on,
 * later writes go nowhere, and whoever kept it ends the socket. Otherwise Node destroys it. Call before it is written to.
 */
export function keepFailedWrites(socket: Socket, keep: (error: Error) => boolean): void {
  let isKept = false
  const watched =
    (done: Done): Done =>
    error => {
      if (error == null || socket.destroyed) return done(error)
      isKept ||= keep(error)
      done(isKept ? null : error)
    }
  const { _write, _writev } = socket
  socket._write = (chunk, encoding, done) =>
    isKept ? done() : _write.call(socket, chunk, encoding, watched(done))
  if (_writev != null)
    socket._writev = (chunks, done) => (isKept ? done() : _writev.call(socket, chunks, watched(done)))
}
