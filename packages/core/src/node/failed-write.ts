/**
 * A write that fails must not take received bytes with it.
 *
 * An application that answers early and closes over unread bytes sends its answer and then a reset. Whoever reads first gets
 * both; whoever writes first hears of the reset, and Node then destroys the socket with the answer still in the kernel. So a failed
 * write is kept back: later ones go nowhere, reading goes on to the end, and there the failure is told. That end is none:
 * the kernel says a reset once only, and the write has heard it.
 *
 * Leans on `_write`, `_writev` and `push`, which are what implementers of streams override. The overrides are the same
 * functions for all sockets, and a socket that never fails holds no state for them.
 */
import { Socket } from 'node:net'
import { systemClock } from '../clock.ts'
import { confirmEnd, pushConfirmed } from './confirmed-end.ts'

/** As the pump: how long a reader that has stopped may take for what came before a reset. */
const READ_OUT_MS = 2_000

type Done = (error?: Error | null) => void
type Chunks = Parameters<NonNullable<Socket['_writev']>>[0]

/** The first write of `socket` failed. `true` takes the failure over: the socket lives on, and later writes go nowhere. */
type Keep = (error: Error, socket: Socket) => boolean

const KEEP = Symbol('keeps failed writes')
const KEPT = Symbol('a failed write was kept')
const FAILURE = Symbol('failed write')

/** A socket that may fail to write. */
interface Failing extends Socket {
  [KEEP]?: Keep
  [KEPT]?: boolean
  [FAILURE]?: Error
}

/**
 * Makes `socket` deliver what it has received before it fails because of a write, and confirm its end. Call before it is
 * written to or read from.
 */
export function readOutFirst(socket: Socket): void {
  confirmEnd(socket)
  socket.push = push
  keepFailedWrites(socket, readOut)
}

/**
 * Tells `keep` of the first write that fails, before that write is called done. Whoever keeps it ends the socket;
 * otherwise Node destroys it. Call before the socket is written to. The same functions for all sockets.
 */
export function keepFailedWrites(socket: Failing, keep: Keep): void {
  socket[KEEP] = keep
  socket._write = write
  if (Socket.prototype._writev != null) socket._writev = writev
}

function write(this: Failing, chunk: unknown, encoding: BufferEncoding, done: Done): void {
  if (this[KEPT] === true) return done()
  Socket.prototype._write.call(this, chunk, encoding, watched(this, done))
}

function writev(this: Failing, chunks: Chunks, done: Done): void {
  if (this[KEPT] === true) return done()
  Socket.prototype._writev?.call(this, chunks, watched(this, done))
}

function watched(socket: Failing, done: Done): Done {
  return error => {
    if (error == null || socket.destroyed) return done(error)
    if (socket[KEPT] !== true) socket[KEPT] = socket[KEEP]?.(error, socket) === true
    done(socket[KEPT] ? null : error)
  }
}

/** The end may have been met already, behind a header; nothing is left to read out then. */
function readOut(failure: Error, socket: Failing): boolean {
  if (socket.readableEnded) return false
  socket[FAILURE] = failure
  const timer = systemClock.after(READ_OUT_MS, () => socket.destroy(failure))
  socket.once('end', () => socket.destroy(failure))
  socket.once('close', () => timer.cancel())
  return true
}

/** The end behind a failure is none; what the stream still holds for a reader that has paused comes before it. */
function push(this: Failing, chunk: unknown, encoding?: BufferEncoding): boolean {
  const failure = this[FAILURE]
  if (chunk !== null || failure === undefined) return pushConfirmed.call(this, chunk, encoding)
  if (this.readableLength === 0 || this.listenerCount('data') === 0) this.destroy(failure)
  else this.on('data', () => this.readableLength === 0 && this.destroy(failure))
  return false
}
