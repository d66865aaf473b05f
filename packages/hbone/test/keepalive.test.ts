/** PING: a peer that is gone is noticed, one that is only busy or slow is not. */
import { createManualClock } from '@ambient/core/testing'
import { describe, expect, it } from 'vitest'
import { Recorder } from '../../../test/contracts/channel.ts'
import { encodeHeaders } from '../src/http2/hpack.ts'
import { db, harness, web } from './harness.ts'
import {
  type Frame,
  frame,
  rawClient,
  type RawPeer,
  rawServer,
  onRequests,
  request,
  TYPE,
} from './raw-peer.ts'

const asked = (peer: RawPeer): readonly Frame[] => peer.all(TYPE.ping).filter(entry => entry.flags === 0)
const pings = (peer: RawPeer): number => asked(peer).length
const answer = (peer: RawPeer): void => peer.write(frame(TYPE.ping, 1, 0, asked(peer).at(-1)?.payload ?? ''))

async function server(): Promise<{
  peer: RawPeer
  clock: ReturnType<typeof createManualClock>
  events: Recorder
  sessions: () => number
}> {
  const clock = createManualClock()
  const events = new Recorder()
  const at = await harness({ onTunnel: tunnel => tunnel.accept().start(events), clock })
  const peer = await rawClient(at.port.port, web)
  peer.settings()
  peer.write(request(1))
  await peer.until(() => peer.find(TYPE.headers, 1) !== undefined)
  await peer.sync()
  return { peer, clock, events, sessions: () => at.server.sessions }
}

describe('keep-alive of a server', () => {
  it('asks after 10 s, and again 10 s after each answer', async () => {
    const { peer, clock, sessions } = await server()
    clock.advance(9_999)
    await peer.sync()
    expect(pings(peer)).toBe(0)
    for (let round = 1; round <= 3; round++) {
      clock.advance(10_000)
      await peer.until(() => pings(peer) === round)
      answer(peer)
      await peer.sync()
    }
    expect(sessions()).toBe(1)
  })

  it('drops a peer that says nothing for 20 s, with NO_ERROR; its tunnels are reset', async () => {
    const { peer, clock, events, sessions } = await server()
    clock.advance(10_000)
    await peer.until(() => pings(peer) === 1)
    clock.advance(20_000)
    await events.seen('reset')
    expect(events.resetWith?.reason).toContain('answered no PING')
    await peer.closed
    expect(peer.goawayCode).toBe(0)
    expect(sessions()).toBe(0)
  })

  it('waits for one that says something else', async () => {
    const { peer, clock, events, sessions } = await server()
    clock.advance(10_000)
    await peer.until(() => pings(peer) === 1)
    for (let round = 1; round <= 3; round++) {
      peer.write(frame(TYPE.data, 0, 1, 'x'))
      await events.until(() => events.received === round)
      clock.advance(20_000)
      await peer.sync()
    }
    expect(sessions()).toBe(1)
    clock.advance(20_000)
    await new Promise(resolve => setImmediate(resolve))
    clock.advance(20_000)
    await events.seen('reset')
  })

  it('does not take an answer that it did not ask for', async () => {
    const { peer, clock, events } = await server()
    clock.advance(10_000)
    await peer.until(() => pings(peer) === 1)
    peer.write(frame(TYPE.ping, 1, 0, Buffer.from([1, 0, 0, 0, 0, 0, 0, 99])))
    await peer.sync()
    clock.advance(20_000)
    await new Promise(resolve => setImmediate(resolve))
    // That chunk was a sign of life; nothing came since.
    clock.advance(20_000)
    await events.seen('reset')
  })

  it('notices a peer that stopped reading and answering in the middle of a download', async () => {
    const { peer, clock, events } = await server()
    peer.socket.pause()
    clock.advance(10_000)
    clock.advance(20_000)
    await events.seen('reset')
    peer.socket.destroy()
  })
})

describe('keep-alive of a client', () => {
  it('resets the tunnels of a server that is gone', async () => {
    const clock = createManualClock()
    const { pool, request: to } = await harness({ onTunnel: () => {} }, { clock })
    const events = new Recorder()
    const working = await rawServer(db, peer => {
      peer.settings()
      onRequests(peer, id => peer.write(frame(TYPE.headers, 4, id, encodeHeaders([[':status', '200']]))))
    })
    const { channel } = await pool.connect(to({ to: { address: '127.0.0.1', port: working.port } }))
    channel.start(events)
    const [peer] = working.peers
    await peer?.until(() => peer.all(TYPE.settings).length === 2)
    clock.advance(10_000)
    await peer?.until(() => pings(peer) === 1)
    clock.advance(20_000)
    await events.seen('reset')
    expect(events.resetWith?.reason).toContain('answered no PING')
    expect(pool.sessions).toBe(0)
  })
})
