/** Two ends of one loopback TCP connection, half-open and unread. */
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'

export interface SocketPair {
  readonly dialled: Socket
  readonly accepted: Socket
  /** Destroys both and resolves when the port is free. */
  close(): Promise<void>
}

export async function socketPair(): Promise<SocketPair> {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  const dialled = connect({ port: address.port, host: '127.0.0.1', allowHalfOpen: true })
  dialled.on('error', () => {})
  const [[accepted]] = await Promise.all([
    once(server, 'connection') as Promise<[Socket]>,
    once(dialled, 'connect'),
  ])
  accepted.on('error', () => {})
  return {
    dialled,
    accepted,
    async close() {
      for (const socket of [dialled, accepted]) socket.destroy()
      await Promise.all(
        [dialled, accepted].map(socket => (socket.closed ? undefined : once(socket, 'close'))),
      )
      server.close()
      await once(server, 'close')
    },
  }
}
