import { once } from 'node:events'
import type { Socket } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { resetSocket, socketChannel } from '../src/node/index.ts'
import { type SocketPair, socketPair } from './socket-pair.ts'

const pairs: SocketPair[] = []

afterEach(async () => {
  for (const pair of pairs.splice(0)) await pair.close()
})

/** A pair, with the errors of the dialled side. */
async function newPair(): Promise<SocketPair & { errors: string[] }> {
  const pair = await socketPair()
  pairs.push(pair)
  const errors: string[] = []
  pair.dialled.on('error', error => errors.push(error.message))
  return { ...pair, errors }
}

/** How a channel over the socket ends. */
function endingOf(socket: Socket): Promise<string> {
  return new Promise(resolve => {
    socketChannel(socket).start({
      data: () => true,
      end: () => resolve('end'),
      drained() {},
      finished() {},
      reset: ({ reason }) => resolve(reason),
    })
  })
}

/** What a write says to a peer that has ended and then reset: its own direction is dead, ours was complete. */
async function writeTo(socket: Socket): Promise<string> {
  const failed = new Promise<string>(resolve =>
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message)),
  )
  socket.resume()
  socket.write('anybody there?')
  return failed
}

const turns: readonly [when: string, pass: () => unknown][] = [
  ['in the turn of its end', () => undefined],
  ['a turn after its end', () => new Promise(resolve => setImmediate(resolve))],
  // Nothing tells of a shutdown that has long been done.
  ['when its end is done', () => new Promise(resolve => setTimeout(resolve, 20))],
]

describe('a reset', () => {
  test.each(turns)('%s closes the socket and reaches the peer', async (_when, pass) => {
    const { dialled, accepted, errors } = await newPair()
    dialled.end()
    await pass()
    const closed = once(dialled, 'close')
    resetSocket(dialled)
    await closed
    expect(errors).toEqual([])
    expect(await writeTo(accepted)).toMatch(/^(EPIPE|ECONNRESET)$/)
  })

  test('of a channel that was just ended does so too', async () => {
    const { dialled, accepted, errors } = await newPair()
    const channel = socketChannel(dialled)
    channel.start({ data: () => true, end() {}, drained() {}, finished() {}, reset() {} })
    const closed = once(dialled, 'close')
    channel.end()
    channel.reset('INTERNAL_ERROR', 'test')
    await closed
    expect(errors).toEqual([])
    expect(await writeTo(accepted)).toMatch(/^(EPIPE|ECONNRESET)$/)
  })

  test('with unwritten bytes does not wait for them', async () => {
    const { dialled, accepted } = await newPair()
    for (let index = 0; index < 200; index++) dialled.write(Buffer.alloc(65_536))
    dialled.end()
    const closed = once(dialled, 'close')
    resetSocket(dialled)
    await closed
    expect(await endingOf(accepted)).toContain('ECONNRESET')
  })
})
