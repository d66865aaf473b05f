/** Peers that keep us waiting: each wait has a timer, on a clock that the test moves; when it has run out, all is let go. */
import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { dial } from '@ambient/core/node'
import { createManualClock, type ManualClock } from '@ambient/core/testing'
import type { HboneFailure, Tunnel } from '@ambient/hbone'
import { describe, expect, it } from 'vitest'
import { Recorder } from '../../../test/contracts/channel.ts'
import { encodeHeaders } from '../src/http2/hpack.ts'
import { CODE } from './attack-rows.ts'
import { onTunnel, victim } from './attack-victim.ts'
import { db, deferred, failure, harness, later, web } from './harness.ts'
import {
  frame,
  onRequests,
  rawClient,
  type RawPeer,
  rawServer,
  request,
  setting,
  TYPE,
  uint32,
} from './raw-peer.ts'

/** What a timer may be late by. */
const LATE_MS = 2_000
const settings = frame(TYPE.settings, 0, 0)
const acknowledgement = frame(TYPE.settings, 1, 0)

const waits: Readonly<Record<string, (peer: RawPeer) => void>> = {
  'never says its preface or SETTINGS': () => {},
  'never acknowledges our SETTINGS': peer => peer.write(settings),
  'stops in the middle of the header of a frame': peer =>
    peer.write(settings, acknowledgement, Buffer.from([0, 0, 8])),
  'stops in the middle of a control frame': peer =>
    peer.write(settings, acknowledgement, frame(TYPE.ping, 0, 0, Buffer.alloc(8)).subarray(0, 12)),
  'stops in the middle of HEADERS': peer => peer.write(settings, acknowledgement, request(1).subarray(0, 15)),
  'never continues its HEADERS': peer => peer.write(settings, acknowledgement, request(1, 0)),
  'never ends its CONTINUATION': peer =>
    peer.write(settings, acknowledgement, request(1, 0), frame(TYPE.continuation, 0, 1)),
}

describe('a client that', () => {
  for (const [name, begin] of Object.entries(waits))
    it(`${name} is dropped in time, its neighbours are not`, async () => {
      const clock = createManualClock()
      const at = await harness({ onTunnel, clock })
      const patient = await rawClient(at.port.port, web)
      patient.settings()
      await patient.sync()
      const peer = await rawClient(at.port.port, web)
      await peer.until(() => peer.find(TYPE.settings) !== undefined)
      begin(peer)
      if (begin !== waits['never says its preface or SETTINGS'])
        await peer.until(() => peer.all(TYPE.settings).some(entry => entry.flags === 1))
      clock.advance(9_999)
      expect(at.server.sessions).toBe(2)
      clock.advance(1)
      await peer.closed
      expect(peer.goawayCode).toBe(CODE.settingsTimeout)
      await patient.sync()
      expect(at.server.sessions).toBe(1)
    })

  it('sends a control frame a byte at a time has no more time for it', async () => {
    const clock = createManualClock()
    const at = await harness({ onTunnel, clock })
    const peer = await rawClient(at.port.port, web)
    peer.settings()
    await peer.sync()
    const slow = request(1)
    for (let sent = 0; sent < 5; sent++) {
      peer.write(slow.subarray(sent, sent + 1))
      await taken(peer)
      clock.advance(2_400)
    }
    await peer.closed
    expect(peer.goawayCode).toBe(CODE.settingsTimeout)
  })

  it('sends DATA a byte at a time may', async () => {
    const clock = createManualClock()
    const { at } = await victim({ clock })
    const peer = await rawClient(at.port.port, web)
    peer.settings()
    peer.write(request(1))
    await peer.until(() => peer.find(TYPE.headers, 1) !== undefined)
    await peer.sync()
    const data = frame(TYPE.data, 0, 1, Buffer.from('0123456789'))
    const echoed = (): number => peer.all(TYPE.data, 1).reduce((sum, entry) => sum + entry.payload.length, 0)
    peer.write(data.subarray(0, 10))
    for (let sent = 1; sent < 10; sent++) {
      await peer.until(() => echoed() === sent)
      clock.advance(9_000)
      await new Promise(resolve => setImmediate(resolve))
      const asked = peer.all(TYPE.ping).at(-1)?.payload
      if (asked !== undefined) expect(asked).toHaveLength(8)
      peer.write(data.subarray(9 + sent, 10 + sent))
    }
    await peer.until(() => echoed() === 10)
    expect(at.server.sessions).toBe(2)
  })

  it.each(['says nothing at all', 'stops in its ClientHello', 'speaks HTTP/1.1 instead of TLS'])(
    '%s has 10 s for its handshake',
    async name => {
      const clock = createManualClock()
      const { promise: failed, resolve } = deferred<HboneFailure>()
      const at = await harness({ onTunnel, clock, onFailure: resolve })
      const socket = await dial({ host: '127.0.0.1', port: at.port.port })
      later(async () => void socket.destroy())
      socket.on('error', () => {}).resume()
      if (name === 'stops in its ClientHello') socket.write(Buffer.from([22, 3, 1, 2, 0, 1, 0, 1, 252]))
      if (name === 'speaks HTTP/1.1 instead of TLS') socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
      else {
        while (clock.pending === 0) await new Promise(done => setImmediate(done))
        clock.advance(9_999)
        expect(socket.readableEnded).toBe(false)
        clock.advance(1 + LATE_MS)
      }
      const { error } = await failed
      expect(error.code).toBe(name.startsWith('speaks') ? 'AMBIENT_E_TLS' : 'AMBIENT_E_HBONE_TIMEOUT')
      await over(socket)
      expect(at.server.sessions).toBe(0)
    },
  )

  it('begins handshakes and none of them ends: there is room for so many', async () => {
    const clock = createManualClock()
    const at = await harness({ onTunnel, clock, limits: { maxPendingHandshakes: 3 } })
    const open = async (): Promise<Socket> => {
      const socket = await dial({ host: '127.0.0.1', port: at.port.port })
      later(async () => void socket.destroy())
      return socket.on('error', () => {}).resume()
    }
    const waiting = [await open(), await open(), await open()]
    const one = await open()
    await over(one)
    expect(waiting.map(socket => socket.readableEnded)).toEqual([false, false, false])
    while (clock.pending < 3) await new Promise(done => setImmediate(done))
    clock.advance(10_000)
    await Promise.all(waiting.map(over))
    const tunnel = await at.connect()
    tunnel.channel.start(new Recorder())
  })

  it('grants no window keeps what it asked for waiting for an hour, other streams do not wait (CVE-2019-9517)', async () => {
    const clock = createManualClock()
    const events = new Recorder()
    const at = await harness({
      onTunnel: tunnel => {
        const channel = tunnel.accept()
        channel.start(events)
        channel.write(Buffer.alloc(1 << 20))
      },
      clock,
      limits: { pingAfterMs: 2 ** 40 },
    })
    const peer = await rawClient(at.port.port, web)
    peer.settings(setting(4, 10))
    await peer.sync()
    peer.write(request(1), request(3))
    await peer.until(() => peer.find(TYPE.data, 3) !== undefined)
    const hour = 3_600_000
    clock.advance(hour / 2)
    // A byte in half an hour is slow, and enough.
    peer.write(frame(TYPE.update, 0, 3, uint32(1)))
    await peer.until(() => peer.all(TYPE.data, 3).length === 2)
    clock.advance(hour / 2 + LATE_MS)
    await peer.until(() => peer.find(TYPE.reset) !== undefined)
    expect(peer.find(TYPE.reset)).toMatchObject({ id: 1, payload: uint32(CODE.calm) })
    await events.seen('reset')
    expect(events.resetWith?.reason).toContain('took no byte of the stream for 3600000 ms')
    expect([at.server.sessions, at.server.tunnels]).toEqual([1, 1])
    clock.advance(hour / 2)
    await peer.until(() => peer.find(TYPE.reset, 3) !== undefined)
    expect(at.server.tunnels).toBe(0)
  })

  it('does not close after our GOAWAY is cut', async () => {
    const clock = createManualClock()
    const at = await harness({ onTunnel, clock })
    const peer = await rawClient(at.port.port, web)
    peer.settings()
    await peer.sync()
    peer.socket.removeAllListeners('end')
    peer.write(frame(TYPE.data, 0, 0, 'x'))
    await peer.until(() => peer.goawayCode === CODE.protocol)
    const closing = at.server.close({ graceMs: 600_000 })
    await new Promise(resolve => setImmediate(resolve))
    clock.advance(1_000 + LATE_MS)
    await closing
  })

  it('resets its stream while our reader has stopped: the reader hears of it within 2 s', async () => {
    const clock = createManualClock()
    const events = new Recorder()
    const at = await harness({
      onTunnel: tunnel => {
        const channel = tunnel.accept()
        channel.start(events)
        channel.pause()
      },
      clock,
    })
    const peer = await rawClient(at.port.port, web)
    peer.settings()
    peer.write(request(1))
    await peer.until(() => peer.find(TYPE.headers, 1) !== undefined)
    peer.write(frame(TYPE.data, 0, 1, 'never read'), frame(TYPE.reset, 0, 1, uint32(2)))
    await peer.sync()
    clock.advance(1_999)
    expect(events.log).toEqual([])
    clock.advance(1)
    await events.seen('reset')
    expect(events.received).toBe(0)
  })
})

/** Both sides had their turns: what was written is with the other end. */
async function taken(peer: RawPeer): Promise<void> {
  while (peer.socket.writableLength > 0) await new Promise(resolve => setImmediate(resolve))
  for (let turn = 0; turn < 20; turn++) await new Promise(resolve => setImmediate(resolve))
}

/** The other end has closed, or cut. */
function over(socket: Socket): Promise<void> {
  return new Promise(resolve => {
    if (socket.readableEnded || socket.closed) resolve()
    socket.once('end', resolve).once('close', resolve)
  })
}

describe('a server that', () => {
  async function hostile(
    clock: ManualClock,
    greet: (peer: RawPeer) => void,
  ): Promise<{
    readonly peers: readonly RawPeer[]
    readonly open: () => Promise<Tunnel>
    sessions: () => number
  }> {
    const at = await harness({ onTunnel }, { clock })
    const { port, peers } = await rawServer(db, greet)
    const to = { address: '127.0.0.1', port }
    return { peers, open: () => at.connect({ to }), sessions: () => at.pool.sessions }
  }

  it('takes our connection and says nothing has 10 s for its handshake', async () => {
    const clock = createManualClock()
    const sockets: Socket[] = []
    const silent = createServer(socket => void sockets.push(socket))
    silent.listen(0, '127.0.0.1')
    await once(silent, 'listening')
    later(async () => {
      for (const socket of sockets) socket.destroy()
      silent.close()
    })
    const at = await harness({ onTunnel }, { clock })
    const address = silent.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    const failed = failure(at.connect({ to: { address: '127.0.0.1', port } }))
    while (clock.pending === 0) await new Promise(done => setImmediate(done))
    clock.advance(10_000 + LATE_MS)
    const error = await failed
    expect(error.code).toBe('AMBIENT_E_HBONE_TIMEOUT')
    expect(error.message).toContain('was not finished within 10000 ms')
  })

  it.each([
    ['never says SETTINGS', (_peer: RawPeer) => {}],
    ['never acknowledges ours', (peer: RawPeer) => peer.write(settings)],
  ])('%s is left after 10 s', async (_name, greet) => {
    const clock = createManualClock()
    const { peers, open, sessions } = await hostile(clock, greet)
    const failed = failure(open())
    while (peers.length === 0) await new Promise(done => setImmediate(done))
    const [peer] = peers
    await peer?.until(() => peer.find(TYPE.headers) !== undefined)
    await new Promise(done => setImmediate(done))
    clock.advance(10_000 + LATE_MS)
    const error = await failed
    expect([error.code, error.h2Code]).toEqual(['AMBIENT_E_HBONE_TIMEOUT', 'SETTINGS_TIMEOUT'])
    await peer?.closed
    expect(sessions()).toBe(0)
  })

  it('never answers CONNECT has 30 s; the request is taken back, the session stays', async () => {
    const clock = createManualClock()
    const { peers, open, sessions } = await hostile(clock, peer => {
      peer.settings()
      // Alive, and not answering.
      peer.socket.on('data', () => {
        for (const ping of peer.all(TYPE.ping).slice(answered)) {
          answered++
          if (ping.flags === 0) peer.write(frame(TYPE.ping, 1, 0, ping.payload))
        }
      })
    })
    let answered = 0
    const failed = failure(open())
    while (peers.length === 0) await new Promise(done => setImmediate(done))
    const [peer] = peers
    await peer?.until(() => peer.find(TYPE.headers) !== undefined)
    await peer?.sync()
    for (let round = 1; round <= 3; round++) {
      clock.advance(10_000)
      if (round < 3)
        await peer?.until(() => peer.all(TYPE.ping).filter(ping => ping.flags === 0).length === round)
      await peer?.sync()
    }
    const error = await failed
    expect(error.code).toBe('AMBIENT_E_HBONE_TIMEOUT')
    expect(error.message).toContain('did not answer CONNECT')
    await peer?.until(() => peer.find(TYPE.reset) !== undefined)
    expect(peer?.find(TYPE.reset)?.payload).toEqual(uint32(8))
    expect(sessions()).toBe(1)
  })

  it('grants no window: what we have to send waits for an hour, then the tunnel is reset', async () => {
    const clock = createManualClock()
    const at = await harness({ onTunnel }, { clock, limits: { pingAfterMs: 2 ** 40 } })
    const { port, peers } = await rawServer(db, peer => {
      peer.settings(setting(4, 0))
      onRequests(peer, id => peer.write(frame(TYPE.headers, 4, id, encodeHeaders([[':status', '200']]))))
    })
    const { channel } = await at.connect({ to: { address: '127.0.0.1', port } })
    const events = new Recorder()
    channel.start(events)
    expect(channel.write(Buffer.from('never sent'))).toBe(false)
    clock.advance(3_600_000 + LATE_MS)
    await events.seen('reset')
    expect(events.resetWith).toMatchObject({ by: 'peer', code: 'ENHANCE_YOUR_CALM' })
    await peers[0]?.until(() => peers[0]?.find(TYPE.reset) !== undefined)
    expect(at.pool.sessions).toBe(1)
  })
})
