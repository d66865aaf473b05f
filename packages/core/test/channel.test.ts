/** The channel contract over TCP sockets, over Duplexes and in memory. */
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { duplexChannel, socketChannel } from '@ambient/core/node'
import { channelPair } from '@ambient/core/testing'
import { confirmEnd } from '../src/node/confirmed-end.ts'
import { channelContract } from '../../../test/contracts/channel.ts'

async function socketPair(): Promise<{ client: Socket; accepted: Socket; server: Server }> {
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  const client = connect({ port: address.port, host: '127.0.0.1', allowHalfOpen: true })
  const [[accepted]] = await Promise.all([
    once(server, 'connection') as Promise<[Socket]>,
    once(client, 'connect'),
  ])
  return { client, accepted, server }
}

async function closeAll(sockets: readonly Socket[], server: Server): Promise<void> {
  for (const socket of sockets) socket.destroy()
  await Promise.all(sockets.map(socket => (socket.closed ? undefined : once(socket, 'close'))))
  server.close()
  await once(server, 'close')
}

channelContract('TCP socket', async () => {
  const { client, accepted, server } = await socketPair()
  return {
    a: socketChannel(client),
    b: socketChannel(accepted),
    dispose: () => closeAll([client, accepted], server),
  }
})

channelContract('memory', async () => {
  const [a, b] = channelPair()
  return { a, b, dispose: async () => {} }
})

channelContract('Duplex', async () => {
  const { client, accepted, server } = await socketPair()
  // A reset of a plain Duplex is its destruction with an error; these Duplexes carry that over as a TCP reset.
  const hard = (socket: Socket): Socket => {
    confirmEnd(socket)
    const destroy = socket.destroy.bind(socket)
    socket.destroy = error => (error === undefined ? destroy() : socket.resetAndDestroy())
    return socket
  }
  return {
    a: duplexChannel(hard(client)),
    b: duplexChannel(hard(accepted)),
    dispose: () => closeAll([client, accepted], server),
  }
})
