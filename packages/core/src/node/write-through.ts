/**
 * Writes of a socket past the queue of its stream. The kernel mostly takes a message at once, and then the queue costs more than the
 * write does outside the kernel: a callback and a turn of its own for each message.
 *
 * Leans on `_write`, which is what a stream calls itself, and on libuv keeping the order of writes. TLS has room for one
 * write at a time, so it stays with its queue.
 */
import { Socket } from 'node:net'
import type { WriteDone } from './stream-channel.ts'

/** Whether `socket` is TCP or a pipe, and nothing that was made of one. */
export function canWriteThrough(socket: Socket): boolean {
  return Object.getPrototypeOf(socket) === Socket.prototype
}

/** For a socket whose queue is empty. `done` is called before the return when all bytes have left, and when the write has failed. */
export function writeThrough(socket: Socket, bytes: Uint8Array, done: WriteDone): void {
  // What streams call chunks that are bytes; the types know the encodings of strings only.
  socket._write(bytes, 'buffer' as BufferEncoding, done)
}
