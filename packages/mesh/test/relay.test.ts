import { connect, type Socket } from 'node:net'
import { once } from 'node:events'
import { afterEach, describe, expect, test } from 'vitest'
import { listen } from '@ambient/core/node'
import { createMarkerScan } from '../src/marker-scan.ts'
import { createRelay } from '../src/relay.ts'

const open: { close(): Promise<void> }[] = []
const sockets = new Set<Socket>()

afterEach(async () => {
  for (const socket of sockets) socket.destroy()
  for (const thing of open.splice(0)) await thing.close()
})

/** A relay, and a server behind it that hands out its accepted sockets. */
async function setUp(): Promise<{
  relay: ReturnType<typeof createRelay>
  port: number
  accepted: () => Promise<Socket>
}> {
  const queue: Socket[] = []
  const waiting: ((socket: Socket) => void)[] = []
  const server = await listen({
    host: '127.0.0.1',
    port: 0,
    onConnection: socket => {
      sockets.add(socket)
      socket.on('error', () => {})
      const taker = waiting.shift()
      if (taker === undefined) queue.push(socket)
      else taker(socket)
    },
  })
  const relay = createRelay({ address: '127.0.0.1' })
  await relay.start()
  open.push(relay, server)
  return {
    relay,
    port: server.port,
    accepted: () =>
      new Promise(resolve => {
        const socket = queue.shift()
        if (socket === undefined) waiting.push(resolve)
        else resolve(socket)
      }),
  }
}

/** Speaks SOCKS5 to the relay; resolves with the reply code. */
async function viaRelay(
  relayPort: number,
  port: number,
  localAddress?: string,
): Promise<{ client: Socket; code: number }> {
  const client = connect({
    host: '127.0.0.1',
    port: relayPort,
    allowHalfOpen: true,
    ...(localAddress === undefined ? {} : { localAddress }),
  })
  sockets.add(client)
  client.on('error', () => {})
  await once(client, 'connect')
  client.write(Uint8Array.of(5, 1, 0))
  await once(client, 'readable')
  expect([...(client.read(2) ?? [])]).toEqual([5, 0])
  client.write(Uint8Array.of(5, 1, 0, 1, 127, 0, 0, 1, port >> 8, port & 255))
  await once(client, 'readable')
  const reply: Buffer = client.read(10)
  return { client, code: reply[1] ?? -1 }
}

async function readAll(socket: Socket): Promise<string> {
  let text = ''
  socket.on('data', chunk => {
    text += String(chunk)
  })
  socket.resume()
  await once(socket, 'end')
  return text
}

describe('relay', () => {
  test('carries bytes both ways, passes half-closes, and counts', async () => {
    const { relay, port, accepted } = await setUp()
    const { client, code } = await viaRelay(relay.port, port)
    expect(code).toBe(0)
    const server = await accepted()
    client.end('question')
    expect(await readAll(server)).toBe('question')
    server.end('answer')
    expect(await readAll(client)).toBe('answer')
    expect(relay.stats()).toMatchObject({ connections: 1, failed: 0, bytes: 14 })
  })

  test('counts a text in both directions, from the moment of asking', async () => {
    const { relay, port, accepted } = await setUp()
    const { client } = await viaRelay(relay.port, port)
    const server = await accepted()
    server.resume()
    const watch = relay.watch('secret')
    client.write('one secret, and a sec')
    await expect.poll(() => relay.stats().bytes).toBe(21)
    client.write('ret more')
    await expect.poll(() => relay.stats().bytes).toBe(29)
    client.resume()
    server.write('secret')
    await expect.poll(() => watch.count).toBe(3)
    watch.stop()
    server.end('secret')
    await once(client, 'end')
    expect(watch.count).toBe(3)
  })

  test('a reset stays a reset, in either direction', async () => {
    const { relay, port, accepted } = await setUp()
    for (const from of ['client', 'server'] as const) {
      const { client } = await viaRelay(relay.port, port)
      const server = await accepted()
      const [cut, other] = from === 'client' ? [client, server] : [server, client]
      other.resume()
      const failed = once(other, 'error')
      cut.resetAndDestroy()
      expect((await failed)[0]).toMatchObject({ code: 'ECONNRESET' })
    }
    await expect.poll(() => relay.stats().open).toBe(0)
  })

  test.runIf(process.platform === 'linux')('wears the address of its caller', async () => {
    const { relay, port, accepted } = await setUp()
    await viaRelay(relay.port, port, '127.11.12.13')
    expect((await accepted()).remoteAddress).toBe('127.11.12.13')
  })

  test('says that the far side refused', async () => {
    const { relay } = await setUp()
    const gone = await listen({ host: '127.0.0.1', port: 0, onConnection: socket => socket.destroy() })
    await gone.close()
    const { client, code } = await viaRelay(relay.port, gone.port)
    expect(code).toBe(5)
    client.resume()
    await once(client, 'end')
    expect(relay.stats().failed).toBe(1)
  })

  test('a caller that speaks something else is dropped', async () => {
    const { relay } = await setUp()
    const client = connect(relay.port, '127.0.0.1')
    sockets.add(client)
    client.on('error', () => {})
    client.write('GET / HTTP/1.1\r\n\r\n')
    await once(client, 'close')
    expect(relay.stats().connections).toBe(0)
  })
})

describe('marker scan', () => {
  test('finds every occurrence for every way to cut the text', () => {
    const text = 'abaXababaXab'
    const whole = Buffer.from(text)
    for (let first = 0; first <= text.length; first++)
      for (let second = first; second <= text.length; second++) {
        const scan = createMarkerScan('aba')
        const stream = {}
        for (const part of [whole.subarray(0, first), whole.subarray(first, second), whole.subarray(second)])
          scan.add(stream, part)
        expect(scan.count, `${first}, ${second}`).toBe(3)
      }
  })

  test('does not join what two streams say', () => {
    const scan = createMarkerScan('ab')
    scan.add({}, Buffer.from('a'))
    scan.add({}, Buffer.from('b'))
    expect(scan.count).toBe(0)
  })
})
