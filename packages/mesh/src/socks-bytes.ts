/** Reading exactly so many bytes of a paused socket, for the small binary protocol of SOCKS5. */
import type { Socket } from 'node:net'

/** Exactly `length` bytes, `undefined` when the stream ends or fails before. */
export async function takeBytes(socket: Socket, length: number): Promise<Buffer | undefined> {
  if (length === 0) return Buffer.alloc(0)
  for (;;) {
    const chunk: unknown = socket.read(length)
    if (chunk instanceof Buffer) return chunk.length === length ? chunk : undefined
    if (socket.readableEnded || socket.destroyed) return undefined
    await new Promise<void>(resolve => {
      const done = (): void => {
        socket.off('readable', done).off('end', done).off('close', done)
        resolve()
      }
      socket.on('readable', done).on('end', done).on('close', done)
    })
  }
}
