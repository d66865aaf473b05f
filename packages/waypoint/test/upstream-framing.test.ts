/** The dispatch desk where a request, or an answer, is not what its head says: what ends where over HTTP/1.1. */
import { once } from 'node:events'
import { createServer as createHttpServer } from 'node:http'
import { createServer, type Server, type Socket } from 'node:net'
import { PassThrough } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { WebSocketServer } from 'ws'
import type { DispatchResponse, DispatchResult } from '../src/upstream/dispatch.ts'
import { backend, cleanup, desk, noRetry, order, textOf } from './upstream-fixtures.ts'

/** A server that says what it is told to, byte by byte, and everything that each of its connections said. */
function tcp(onData: (socket: Socket, said: string) => void): { server: Server; said: string[] } {
  const said: string[] = []
  const server = createServer({ allowHalfOpen: true }, socket => {
    const serial = said.push('') - 1
    socket.on('error', () => {})
    cleanup(() => socket.destroy())
    socket.on('data', bytes => {
      said[serial] += bytes.toString('latin1')
      onData(socket, said[serial] ?? '')
    })
  })
  return { server, said }
}

function responded(result: DispatchResult): DispatchResponse {
  if (result.kind === 'failed') throw new Error(`${result.detail}: ${result.reason}`)
  return result
}

const answer = 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'

describe('an upgrade', () => {
  const handshake = { 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==', 'sec-websocket-version': '13' }

  it('announces no body, and what answers it with anything but a switch is not used again', async () => {
    const { server, said } = tcp(socket => socket.write(answer))
    const dispatcher = await desk([await backend(server)])
    const fields = { ...handshake, 'content-length': '40', trailer: 'sum' }
    const upgraded = await dispatcher.dispatch(order({ upgrade: 'websocket', fields }))
    expect(await textOf(responded(upgraded).response)).toBe('ok')
    await expect.poll(() => dispatcher.active).toBe(0)
    expect(dispatcher.idle).toBe(0)
    await textOf(responded(await dispatcher.dispatch(order({ path: '/next' }))).response)
    expect(said).toHaveLength(2)
    expect(said[0]).not.toMatch(/content-length|trailer/i)
    expect(said[1]).toMatch(/^GET \/next /)
  })

  it.each([
    ['unasked', undefined, 'upgrade: websocket\r\nconnection: upgrade\r\n'],
    ['unasked, to nothing', undefined, ''],
    ['to another protocol', 'websocket', 'upgrade: raw\r\nconnection: upgrade\r\n'],
    ['to nothing', 'websocket', ''],
  ])('that a server carries out %s makes no raw connection', async (_, upgrade, fields) => {
    const { server } = tcp(socket =>
      socket.write(`HTTP/1.1 101 Switching Protocols\r\n${fields}\r\nHTTP/1.1 200 OK\r\n\r\n`),
    )
    const dispatcher = await desk([await backend(server)])
    const result = await dispatcher.dispatch(
      order(upgrade === undefined ? {} : { upgrade, fields: handshake }),
    )
    expect(result).toMatchObject({ kind: 'failed', status: 502, flag: 'UPE' })
    expect(dispatcher.active).toBe(0)
    expect(dispatcher.idle).toBe(0)
  })

  it('to a WebSocket that came over HTTP/2, and so without a key, has one of our own', async () => {
    const app = createHttpServer()
    const sockets = new WebSocketServer({ server: app })
    sockets.on('connection', socket => socket.close())
    cleanup(() => sockets.close())
    const dispatcher = await desk([await backend(app)])
    const ask = { upgrade: 'websocket', http2: true, fields: { 'sec-websocket-version': '13' } }
    const { response } = responded(await dispatcher.dispatch(order(ask)))
    expect(response.status).toBe(101)
    expect(response.headers.has('sec-websocket-accept')).toBe(false)
    // An unmasked close frame of ws.
    const [frame] = (await once(response.upgraded ?? new PassThrough(), 'data')) as [Buffer]
    expect(frame[0]).toBe(0x88)
    response.upgraded?.destroy()
  })

  it('to a WebSocket whose server has not read our key is none', async () => {
    const { server } = tcp(socket =>
      socket.write(
        'HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: x\r\n\r\n',
      ),
    )
    const dispatcher = await desk([await backend(server)])
    const result = await dispatcher.dispatch(order({ upgrade: 'websocket', http2: true }))
    expect(result).toMatchObject({ kind: 'failed', status: 502, flag: 'UPE' })
  })
})

describe('a response whose body is coded for the transfer', () => {
  it.each(['gzip', 'gzip, chunked', 'identity'])('with %s is a protocol error', async coding => {
    const { server } = tcp(socket =>
      socket.end(`HTTP/1.1 200 OK\r\ntransfer-encoding: ${coding}\r\n\r\n0\r\n\r\n`),
    )
    const dispatcher = await desk([await backend(server)])
    expect(await dispatcher.dispatch(order())).toMatchObject({ kind: 'failed', status: 502, flag: 'UPE' })
    expect(dispatcher.idle).toBe(0)
  })
})

describe('a body that is not as long as its head says', () => {
  it.each([
    ['shorter', '9', 'abc'],
    ['longer', '2', 'abc'],
    ['of no readable length', '3, 4', 'abc'],
    ['not there', '3', undefined],
  ])('is cut, and its connection with it (%s)', async (_, length, body) => {
    const { server, said } = tcp((socket, all) => {
      if (all.includes('/next')) socket.write(answer)
    })
    const dispatcher = await desk([await backend(server)])
    const retry = { ...noRetry, attempts: 3, on: new Set(['5xx']) }
    const ask = { method: 'POST', fields: { 'content-length': length }, retry }
    const result = await dispatcher.dispatch(order(body === undefined ? ask : { ...ask, body }))
    expect(result).toMatchObject({ kind: 'failed', status: 502, flag: 'UPE', attempts: 1 })
    await expect.poll(() => dispatcher.active).toBe(0)
    expect(dispatcher.idle).toBe(0)
    await textOf(responded(await dispatcher.dispatch(order({ path: '/next' }))).response)
    expect(said.at(-1)).toMatch(/^GET \/next /)
  })
})
