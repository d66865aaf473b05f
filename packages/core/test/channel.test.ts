/** The channel contract over TCP sockets read in either way, over Duplexes and in memory. */
import type { Socket } from 'node:net'
import { duplexChannel, socketChannel } from '@ambient/core/node'
import { channelPair } from '@ambient/core/testing'
import { confirmEnd } from '../src/node/confirmed-end.ts'
import { allowStaticReads, proveStaticReads } from '../src/node/static-reads.ts'
import { channelContract } from '../../../test/contracts/channel.ts'
import { socketPair } from './socket-pair.ts'

for (const how of ['static reads', 'events'] as const)
  channelContract(`TCP socket, read by ${how}`, async () => {
    await proveStaticReads()
    const { dialled, accepted, close } = await socketPair()
    allowStaticReads(how === 'static reads')
    return {
      a: socketChannel(dialled),
      b: socketChannel(accepted),
      dispose: () => {
        allowStaticReads(true)
        return close()
      },
    }
  })

channelContract('memory', async () => {
  const [a, b] = channelPair()
  return { a, b, dispose: async () => {} }
})

channelContract('Duplex', async () => {
  const { dialled, accepted, close } = await socketPair()
  // A reset of a plain Duplex is its destruction with an error; these Duplexes carry that over as a TCP reset.
  const hard = (socket: Socket): Socket => {
    confirmEnd(socket)
    const destroy = socket.destroy.bind(socket)
    socket.destroy = error => (error === undefined ? destroy() : socket.resetAndDestroy())
    return socket
  }
  return { a: duplexChannel(hard(dialled)), b: duplexChannel(hard(accepted)), dispose: close }
})
