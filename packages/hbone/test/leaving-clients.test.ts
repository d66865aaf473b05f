/** Clients of the local listeners that leave at every stage: their tunnels end with them, in the way that they left. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { tunnelsVia } from '@ambient/hbone'
import { createConnectProxy } from '@ambient/hbone/connect-proxy'
import { createSocksListener } from '@ambient/hbone/socks'
import { describe, expect, it } from 'vitest'
import { db, deferred, harness, later, web } from './harness.ts'
import { drain, take } from './proxy-harness.ts'

const name = Buffer.from('echo.test')
const listeners = [
  {
    kind: 'SOCKS5',
    create: createSocksListener,
    begin: Buffer.from([5, 1, 0, 5, 1, 0]),
    rest: Buffer.concat([Buffer.from([3, name.length]), name, Buffer.from([0, 80])]),
    answers: [2, 10],
  },
  {
    kind: 'HTTP CONNECT',
    create: createConnectProxy,
    begin: Buffer.from('CONNECT echo.test:80 HTTP/1.1\r\n'),
    rest: Buffer.from('host: echo.test\r\n\r\n'),
    answers: ['HTTP/1.1 200 Connection established\r\n\r\n'.length],
  },
] as const

const ways: readonly (readonly [string, (socket: Socket) => void])[] = [
  ['an end', socket => void socket.end()],
  ['a reset', socket => void socket.resetAndDestroy()],
]

/** In front of a server that echoes; a tunnel is opened when `open` is called. */
async function held({ create }: (typeof listeners)[number]) {
  const { promise: asked, resolve: ask } = deferred<void>()
  const { promise: opening, resolve: open } = deferred<void>()
  const endings: string[] = []
  const { pool, port, server } = await harness({
    onTunnel: request => {
      const channel = request.accept()
      channel.start({
        data: bytes => channel.write(bytes) && false,
        end: () => {
          endings.push('end')
          channel.end()
        },
        drained() {},
        finished() {},
        reset: () => endings.push('reset'),
      })
    },
  })
  const to = { address: port.address, port: port.port }
  const real = tunnelsVia({ pool, credentials: () => web, to, expect: [db.id] })
  const proxy = create({
    open: async (target, options) => {
      ask()
      await opening
      return real(target, options)
    },
    listen: { host: '127.0.0.1', port: 0 },
  })
  await proxy.start()
  later(() => proxy.close({ graceMs: 0 }))
  const socket = connect({ host: proxy.address, port: proxy.port, allowHalfOpen: true })
  socket.on('error', () => {})
  later(async () => socket.destroy())
  await once(socket, 'connect')
  const nothingIsLeft = async (): Promise<void> => {
    // Waits for what is open, longer than a test may take.
    await proxy.close({ graceMs: 60_000 })
    await server.close({ graceMs: 60_000 })
    expect([proxy.connections, server.tunnels]).toEqual([0, 0])
  }
  return { socket, asked, open, endings, nothingIsLeft }
}

async function turns(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await new Promise(resolve => setImmediate(resolve))
}

describe.each(listeners)('of a $kind listener', listener => {
  const { begin, rest, answers } = listener
  const answerBytes = answers.reduce((sum, length) => sum + length, 0)
  describe.each(ways)('a client that leaves by %s', (how, leave) => {
    it('in the middle of its request opens nothing', async () => {
      const { socket, endings, nothingIsLeft } = await held(listener)
      socket.write(begin)
      leave(socket)
      if (how === 'an end') expect((await drain(socket)).end).toBe('fin')
      await nothingIsLeft()
      expect(endings).toEqual([])
    })

    it.each(['', 'early'])('while its tunnel is opened, having said "%s", is done with', async early => {
      const { socket, asked, open, endings, nothingIsLeft } = await held(listener)
      socket.write(Buffer.concat([begin, rest, Buffer.from(early)]))
      await asked
      leave(socket)
      await turns()
      open()
      if (how === 'an end') {
        const { bytes, end } = await drain(socket)
        expect([bytes.subarray(answerBytes).toString(), end]).toEqual([early, 'fin'])
      }
      await nothingIsLeft()
      // Who was reset away before there was a tunnel gets none.
      expect(endings).toEqual(how === 'an end' ? ['end'] : [])
    })

    it('when it is answered is done with', async () => {
      const { socket, open, endings, nothingIsLeft } = await held(listener)
      open()
      socket.write(Buffer.concat([begin, rest]))
      for (const length of answers) await take(socket, length)
      socket.write('last words')
      leave(socket)
      if (how === 'an end') expect((await drain(socket)).bytes.toString()).toBe('last words')
      await nothingIsLeft()
      expect(endings).toEqual([how === 'an end' ? 'end' : 'reset'])
    })
  })
})
