/**
 * A TCP reset that finds unread bytes must not look like an end.
 *
 * libuv, when a poll reports data and a hang-up together, delivers the data and then end-of-file without reading
 * again; the reset that the next read would have returned is lost, and a cut transfer looks complete. So the first
 * end-of-file of a socket is doubted: reading is started once more, and the kernel answers either with
 * end-of-file again, or with the reset.
 *
 * Leans on `socket._handle.readStart`, which is not documented. Where it is missing, ends are believed as before;
 * `test/confirmed-end.test.ts` shows on each Node version that it is there and works.
 */
import { Socket } from 'node:net'

interface ReadableHandle {
  readStart(): number
}

const DOUBTED = Symbol('doubted end')

/** A socket that confirms its end, and whether that was doubted already. */
interface Doubting extends Socket {
  [DOUBTED]?: boolean
}

/** Makes `socket` confirm its end before it emits `'end'`. Call before the socket is read from; again is nothing. */
export function confirmEnd(socket: Doubting): void {
  if (socket[DOUBTED] !== undefined) return
  socket[DOUBTED] = false
  socket.push = pushConfirmed
}

/** `push` of a socket that confirms its end. One function for all sockets: an idle one costs nothing more. */
export function pushConfirmed(this: Doubting, chunk: unknown, encoding?: BufferEncoding): boolean {
  if (chunk === null && this[DOUBTED] !== true) {
    this[DOUBTED] = true
    const handle = handleOf(this)
    if (handle !== undefined && handle.readStart() === 0) return false
  }
  return Socket.prototype.push.call(this, chunk, encoding)
}

function handleOf(socket: Socket): ReadableHandle | undefined {
  const handle = (socket as { _handle?: unknown })._handle
  const known =
    typeof handle === 'object' &&
    handle !== null &&
    'readStart' in handle &&
    typeof handle.readStart === 'function'
  return known ? (handle as ReadableHandle) : undefined
}
