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
  let hasEnded = false
  let timer: Timer | undefined
  const keepBack =
    (done: Done): Done =>
    error => {
      if (error == null || socket.destroyed || hasEnded) return done(error)
      if (failure === undefined) timer = systemClock.after(READ_OUT_MS, () => socket.destroy(error))
      failure ??= error
      done()
    }
  const { _write, _writev, push } = socket
  socket._write = (chunk, encoding, done) =>
    failure === undefined ? _write.call(socket, chunk, encoding, keepBack(done)) : done()
  if (_writev != null)
    socket._writev = (chunks, done) =>
      failure === undefined ? _writev.call(socket, chunks, keepBack(done)) : done()
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
