/** A request that became a connection lives as long as policies allow it, and not a byte longer. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import type { IncomingHttpHeaders } from 'node:http2'
import { connect } from 'node:http2'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { describe, expect, it, vi } from 'vitest'
import { policy } from './process-fixtures.ts'
import { cleanup, createWorld, type World } from './world.ts'

const upgrading =
  'GET /ws HTTP/1.1\r\nhost: web\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n'

/** RFC 6455 §4.2.2. */
function accepting(request: string): string {
  const key = /^sec-websocket-key: (.*)$/im.exec(request)?.[1]?.trim() ?? ''
  const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')
  const fields = `connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: ${accept}`
  return `HTTP/1.1 101 Switching Protocols\r\n${fields}\r\n\r\nready`
}

/** A server that takes any upgrade, and tells how its connection ended. */
function server(ends: string[]): (socket: Socket) => void {
  return socket => {
    socket.once('data', chunk => socket.write(accepting(String(chunk))))
    socket.on('error', error => ends.push('code' in error ? String(error.code) : error.message))
    socket.on('close', () => ends.push('closed'))
  }
}

/** `ready` of the server has arrived. */
async function upgraded(world: World): Promise<Duplex> {
  const socket = (await world.tunnel()).socket()
  let text = ''
  socket.on('error', () => {})
  socket.on('data', chunk => {
    text += String(chunk)
  })
  socket.write(upgrading)
  await vi.waitFor(() => expect(text).toMatch(/101 [\s\S]*ready$/))
  return socket
}

describe('an upgraded request', () => {
  it('is cut on both sides when a policy comes to deny it, and recorded with that policy', async () => {
    const ends: string[] = []
    const world = await createWorld({ protocol: 'HTTP11', tcp: server(ends) })
    const socket = await upgraded(world)
    world.store.set({ authorizationPolicies: [policy('other', 'DENY', { paths: ['/elsewhere'] })] })
    expect(socket.destroyed).toBe(false)
    const closed = new Promise(resolve => socket.once('close', resolve))
    world.store.set({ authorizationPolicies: [policy('no-ws', 'DENY', { paths: ['/ws'] })] })
    await closed
    await vi.waitFor(() => expect(ends).toContain('closed'))
    const line = await world.line(/"GET \/ws HTTP\/1.1" 101/)
    expect(line).toMatch(/no-ws/)
  })

  it('over HTTP/2 as well', async () => {
    const ends: string[] = []
    const world = await createWorld({ protocol: 'HTTP11', tcp: server(ends) })
    const tunnel = await world.tunnel()
    const client = connect('http://web', { createConnection: (): Duplex => tunnel.socket() })
    cleanup(() => client.destroy())
    await once(client, 'remoteSettings')
    const stream = client.request({
      ':method': 'CONNECT',
      ':protocol': 'websocket',
      ':scheme': 'http',
      ':authority': 'web',
      ':path': '/ws',
      'sec-websocket-version': '13',
    })
    stream.on('error', () => {})
    const [head] = (await once(stream, 'response')) as [IncomingHttpHeaders]
    expect(head[':status']).toBe(200)
    const closed = new Promise(resolve => stream.resume().once('close', resolve))
    world.store.set({ authorizationPolicies: [policy('no-ws', 'DENY', { paths: ['/ws'] })] })
    await closed
    expect(stream.rstCode).not.toBe(0)
  })

  it('that a policy denies while its server thinks about it gets no 101', async () => {
    let answer: () => void = () => {}
    const world = await createWorld({
      protocol: 'HTTP11',
      tcp: socket => {
        socket.once('data', chunk => {
          answer = () => socket.write(accepting(String(chunk)))
          asked()
        })
      },
    })
    let asked: () => void = () => {}
    const isAsked = new Promise<void>(resolve => {
      asked = resolve
    })
    const socket = (await world.tunnel()).socket()
    let text = ''
    socket.on('data', chunk => {
      text += String(chunk)
    })
    socket.write(upgrading)
    await isAsked
    world.store.set({ authorizationPolicies: [policy('no-ws', 'DENY', { paths: ['/ws'] })] })
    answer()
    await once(socket, 'end')
    expect(text).toMatch(/^HTTP\/1.1 403/)
    socket.destroy()
  })
})
