/** A TCP socket as a channel. */
import type { Socket } from 'node:net'
import type { Channel } from '../channel.ts'
import { readOutFirst } from './failed-write.ts'
import { resetSocket } from './reset-socket.ts'
import { readStatically } from './static-reads.ts'
import { StreamChannel, type StreamMeans } from './stream-channel.ts'
import { canWriteThrough, writeThrough } from './write-through.ts'

const means: StreamMeans<Socket> = {
  sendReset: socket => resetSocket(socket),
  takesBytes: () => true,
  writeThrough: undefined,
  readStatically,
}
const plainMeans: StreamMeans<Socket> = { ...means, writeThrough }

/**
 * Takes over a connected socket (made with `allowHalfOpen`, not yet read from). A reset is a TCP RST in both
 * directions: what the peer's RST says arrives as `reset`, and `channel.reset()` sends one.
 */
export function socketChannel(socket: Socket): Channel {
  readOutFirst(socket)
  return new StreamChannel(socket, canWriteThrough(socket) ? plainMeans : means)
}
