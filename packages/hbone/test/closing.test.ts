/** The end of pools and servers: what is left finishes in its grace, then is cut; nothing stays behind. */
import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import type { Channel } from '@ambient/core'
import { dial } from '@ambient/core/node'
import { createManualClock } from '@ambient/core/testing'
import { connect, createHbonePool, type HboneError } from '@ambient/hbone'
import { describe, expect, it } from 'vitest'
import { Recorder } from '../../../test/contracts/channel.ts'
import { db, deferred, emptied, failure, harness, later, web } from './harness.ts'
import { frame, rawClient, request as rawRequest, TYPE } from './raw-peer.ts'

const accept = {
  onTunnel: (request: { accept(): Channel }) => void request.accept().start(new Recorder()),
}

describe('closing', () => {
  it('a pool lets tunnels finish within the grace, then cuts them', async () => {
    const clock = createManualClock()
    const {
      connect: open,
      pool,
      server,
    } = await harness(
      {
        onTunnel: request => void request.accept().start(new Recorder()),
      },
      { clock },
    )
    const events = new Recorder()
    const tunnel = await open()
    tunnel.channel.start(events)
    const closing = pool.close({ graceMs: 1_000 })
    expect((await failure(open())).code).toBe('AMBIENT_E_CLOSED')
    clock.advance(999)
    expect(events.log).toEqual([])
    clock.advance(1)
    await events.seen('reset')
    expect(events.resetWith).toMatchObject({ by: 'local' })
    await closing
    expect([pool.sessions, pool.tunnels, clock.pending]).toEqual([0, 0, 0])
    await emptied(server, 0)
    await pool.close()
  })

  it('a pool does not wait for a handshake that never ends', async () => {
    const sockets: Socket[] = []
    const silent = createServer(socket => void sockets.push(socket))
    silent.listen(0, '127.0.0.1')
    await once(silent, 'listening')
    later(async () => {
      for (const socket of sockets) socket.destroy()
      silent.close()
    })
    const address = silent.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    const pool = createHbonePool()
    const { request } = await harness(accept)
    const opening = failure(pool.connect(request({ to: { address: '127.0.0.1', port } })))
    await once(silent, 'connection')
    await pool.close({ graceMs: 60_000 })
    expect((await opening).code).toBe('AMBIENT_E_CLOSED')
  })

  it.each([0, 60_000])(
    'a server does not wait long for handshakes and credentials (grace %i)',
    async graceMs => {
      const clock = createManualClock()
      const hung = { onTunnel: () => {}, credentials: () => new Promise<never>(() => {}), clock }
      const { server, port } = await harness(hung)
      const stuck = (await dial({ host: '127.0.0.1', port: port.port })).on('error', () => {})
      const other = await harness({ onTunnel: () => {}, clock })
      const silent = (await dial({ host: '127.0.0.1', port: other.port.port })).on('error', () => {})
      const gone = Promise.all([once(stuck.resume(), 'end'), once(silent.resume(), 'end')])
      const closing = Promise.all([server.close({ graceMs }), other.server.close({ graceMs })])
      if (graceMs > 0) clock.advance(2_000)
      await closing
      await gone
      stuck.destroy()
      silent.destroy()
    },
  )

  it('a server cuts what is left after the grace, and refuses newcomers meanwhile', async () => {
    const clock = createManualClock()
    const events = new Recorder()
    const { connect: open, server } = await harness({
      onTunnel: request => void request.accept().start(events),
      clock,
    })
    const near = new Recorder()
    const tunnel = await open()
    tunnel.channel.start(near)
    const closing = server.close({ graceMs: 2_000 })
    expect((await failure(open({ expect: [db.id, web.id] }))).code).toBe('AMBIENT_E_TLS')
    clock.advance(2_000)
    await Promise.all([near.seen('reset'), events.seen('reset')])
    await closing
    expect([server.sessions, server.tunnels, clock.pending]).toEqual([0, 0, 0])
  })

  it('a handshake that is broken off by the other side is noticed at once', async () => {
    const { promise: failed, resolve } = deferred<HboneError>()
    const { port } = await harness({ onTunnel: () => {}, onFailure: entry => resolve(entry.error) })
    const socket = await dial({ host: '127.0.0.1', port: port.port })
    socket.end()
    socket.resume()
    expect((await failed).code).toBe('AMBIENT_E_TLS')
    socket.destroy()
  })

  it('a tunnel of its own takes its session with it', async () => {
    const { request, server } = await harness(accept)
    const tunnel = await connect(request())
    expect(server.sessions).toBe(1)
    tunnel.channel.reset('CANCEL', 'done')
    await emptied(server, 0)
  })

  it('an announced GOAWAY is followed by the last one, also when the last tunnel ends in between', async () => {
    const { promise: accepted, resolve } = deferred<Channel>()
    const { server, port } = await harness({ onTunnel: request => resolve(request.accept()) })
    const peer = await rawClient(port.port, web)
    peer.settings()
    peer.write(rawRequest(1, 5))
    const channel = await accepted
    channel.start(new Recorder())
    server.retire()
    channel.end()
    await peer.until(() => peer.find(TYPE.ping) !== undefined && peer.find(TYPE.data, 1) !== undefined)
    // A request that crossed the first GOAWAY is still served.
    peer.write(rawRequest(3, 5))
    await peer.until(() => peer.find(TYPE.headers, 3) !== undefined)
    expect(peer.all(TYPE.goaway).map(entry => entry.payload.readUInt32BE(0))).toEqual([0x7fff_ffff])
    peer.write(frame(TYPE.ping, 1, 0, peer.find(TYPE.ping)?.payload ?? ''))
    await peer.until(() => peer.all(TYPE.goaway).length === 2)
    expect(peer.all(TYPE.goaway)[1]?.payload.readUInt32BE(0)).toBe(3)
    expect(server.tunnels).toBe(1)
  })
})
