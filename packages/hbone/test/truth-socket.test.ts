/**
 * The truth of bytes through `TunnelSocket`, which closes as a kernel closes a socket; and of applications that answer
 * early or die.
 */
import { once } from 'node:events'
import { createTunnelSocket, type TunnelSocket } from '@ambient/hbone'
import { describe, expect, it } from 'vitest'
import { deferred, harness, later } from './harness.ts'
import { bytesOf, MUCH } from '../../../test/contracts/tcp-app.ts'
import { SMALL_WINDOWS } from './truth-line.ts'

const FACTS = { remoteAddress: '127.0.0.1', remotePort: 1, localAddress: '127.0.0.1', localPort: 2 }

interface Ends {
  readonly client: TunnelSocket
  readonly server: TunnelSocket
}

/** A socket at each end of one tunnel. */
async function sockets(): Promise<Ends> {
  const { promise, resolve } = deferred<TunnelSocket>()
  const { connect } = await harness(
    {
      onTunnel: request => resolve(createTunnelSocket(request.accept(), FACTS)),
      limits: SMALL_WINDOWS,
    },
    { limits: SMALL_WINDOWS },
  )
  const client = (await connect()).socket()
  const server = await promise
  later(async () => {
    for (const socket of [client, server]) socket.destroy()
  })
  return { client, server }
}

interface Heard {
  bytes: number
  readonly log: string[]
  readonly closed: Promise<unknown>
}

function listenTo(socket: TunnelSocket): Heard {
  const heard: Heard = { bytes: 0, log: [], closed: new Promise(resolve => socket.once('close', resolve)) }
  socket.on('data', (chunk: Buffer) => {
    heard.bytes += chunk.length
  })
  socket.on('end', () => heard.log.push('end'))
  socket.on('error', (error: NodeJS.ErrnoException) => heard.log.push(error.code ?? 'error'))
  return heard
}

const pairs = [
  { first: 'client', last: 'server' },
  { first: 'server', last: 'client' },
] as const

for (const { first, last } of pairs)
  describe(`sockets, the ${first} first`, () => {
    it('an end leaves the other direction alone; both ended, both close', async () => {
      const ends = await sockets()
      const [heardFirst, heardLast] = [listenTo(ends[first]), listenTo(ends[last])]
      ends[first].end(bytesOf(MUCH))
      await once(ends[last], 'end')
      expect([heardLast.bytes, heardFirst.log]).toEqual([MUCH, []])
      ends[last].end(bytesOf(MUCH))
      await Promise.all([heardFirst.closed, heardLast.closed])
      expect([heardFirst.bytes, heardFirst.log, heardLast.log]).toEqual([MUCH, ['end'], ['end']])
    })

    for (const bytes of [0, 1_000])
      it(`resetAndDestroy after ${bytes} bytes that nobody has read yet: ECONNRESET after them, no end`, async () => {
        const ends = await sockets()
        ends[first].on('error', () => {})
        if (bytes > 0) {
          ends[last].pause()
          ends[first].write(bytesOf(bytes))
          while (ends[last].bytesRead < bytes) await new Promise(resolve => setImmediate(resolve))
        }
        const heard = listenTo(ends[last])
        ends[first].resetAndDestroy()
        // Some turns later the reset is there as well.
        for (let turn = 0; turn < 50; turn++) await new Promise(resolve => setImmediate(resolve))
        ends[last].resume()
        await heard.closed
        expect([heard.bytes, heard.log]).toEqual([bytes, ['ECONNRESET']])
      })

    it('destroy with bytes that were not sent: a prefix, then ECONNRESET, no end', async () => {
      const ends = await sockets()
      const heard = listenTo(ends[last])
      ends[first].on('error', () => {})
      ends[first].write(bytesOf(MUCH))
      await once(ends[last], 'data')
      ends[first].destroy()
      await heard.closed
      expect(heard.bytes).toBeLessThan(MUCH)
      expect(heard.log).toEqual(['ECONNRESET'])
    })

    it('destroy at rest: an end; what comes afterwards was thrown away, and its sender hears so', async () => {
      const ends = await sockets()
      ends[first].on('error', () => {})
      const heard = listenTo(ends[last])
      ends[first].destroy()
      await once(ends[last], 'end')
      ends[last].write('to nobody')
      await heard.closed
      expect(heard.log).toEqual(['end', 'ECONNRESET'])
    })
  })
