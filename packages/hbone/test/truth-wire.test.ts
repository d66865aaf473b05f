/**
 * The truth on the wire, frame by frame: what a proxy says when its TCP side ends, resets or is cut, and what its TCP side
 * sees of what a peer says. The peer is written by hand, in both roles.
 */
import { pump } from '@ambient/core'
import { socketChannel } from '@ambient/core/node'
import { createManualClock } from '@ambient/core/testing'
import { describe, expect, it } from 'vitest'
import { Recorder } from '../../../test/contracts/channel.ts'
import { harness, later, web } from './harness.ts'
import { type Frame, frame, type RawPeer, rawClient, request, TYPE, uint32 } from './raw-peer.ts'
import { roles } from './raw-tunnel.ts'
import { App, bytesOf, MUCH, socketPair } from '../../../test/contracts/tcp-app.ts'

const CODES = [
  'NO_ERROR',
  'PROTOCOL_ERROR',
  'INTERNAL_ERROR',
  'FLOW_CONTROL_ERROR',
  'SETTINGS_TIMEOUT',
  'STREAM_CLOSED',
  'FRAME_SIZE_ERROR',
  'REFUSED_STREAM',
  'CANCEL',
  'COMPRESSION_ERROR',
  'CONNECT_ERROR',
  'ENHANCE_YOUR_CALM',
  'INADEQUATE_SECURITY',
  'HTTP_1_1_REQUIRED',
] as const
const UNKNOWN = 0x99
const [INTERNAL_ERROR, CONNECT_ERROR] = [2, 10]
const END_STREAM = 1

/** As `roles`, with the channel pumped to a TCP connection whose other end is an application. */
async function proxied(role: 'server' | 'client', paused = false) {
  const wired = await roles[role]()
  const [ours, theirs] = await socketPair()
  const app = new App(theirs, paused)
  later(async () => void theirs.destroy())
  const done = pump(wired.channel, socketChannel(ours))
  return { ...wired, app, done }
}

function endOf(peer: RawPeer): Frame | undefined {
  return peer.frames.find(
    ({ type, flags, id }) => type === TYPE.data && id === 1 && (flags & END_STREAM) !== 0,
  )
}

function dataOf(peer: RawPeer): number {
  return peer.all(TYPE.data, 1).reduce((sum, { payload }) => sum + payload.length, 0)
}

/** The code of the one RST_STREAM that was said. */
async function resetOf(peer: RawPeer): Promise<number | undefined> {
  await peer.until(() => peer.find(TYPE.reset, 1) !== undefined)
  expect(peer.all(TYPE.reset, 1)).toHaveLength(1)
  return peer.find(TYPE.reset, 1)?.payload.readUInt32BE(0)
}

for (const role of ['client', 'server'] as const) {
  describe(`what we say as ${role}`, () => {
    it('FIN is END_STREAM, and no reset follows', async () => {
      const { peer, app, done } = await proxied(role)
      app.send(1_000)
      app.end()
      await peer.until(() => endOf(peer) !== undefined)
      expect(dataOf(peer)).toBe(1_000)
      peer.write(frame(TYPE.data, END_STREAM, 1, 'bye'))
      await app.events.seen('end')
      expect((await done).ending).toEqual({ kind: 'ended' })
      await peer.sync()
      expect(peer.all(TYPE.reset)).toEqual([])
    })

    for (const bytes of [0, 1_000])
      it(`a TCP reset after ${bytes} bytes is CONNECT_ERROR, after the bytes, without END_STREAM`, async () => {
        const { peer, app } = await proxied(role)
        app.send(bytes)
        await peer.until(() => dataOf(peer) === bytes)
        app.reset()
        expect(await resetOf(peer)).toBe(CONNECT_ERROR)
        expect([dataOf(peer), endOf(peer)]).toEqual([bytes, undefined])
      })

    it('a TCP reset behind more than the window is CONNECT_ERROR', async () => {
      const { peer, app } = await proxied(role)
      app.send(MUCH)
      // The raw peer opens no window: what it allows is on the wire, the rest is owed.
      await peer.until(() => dataOf(peer) === 65_535)
      app.reset()
      // Held by the window, we do not read; the peer's word lets us find the reset.
      peer.write(frame(TYPE.update, 0, 0, uint32(MUCH)), frame(TYPE.update, 0, 1, uint32(MUCH)))
      expect(await resetOf(peer)).toBe(CONNECT_ERROR)
      expect(endOf(peer)).toBeUndefined()
    })

    it('a TCP reset after the peer’s end is CONNECT_ERROR', async () => {
      const { peer, app } = await proxied(role)
      peer.write(frame(TYPE.data, END_STREAM, 1, 'bye'))
      await app.events.seen('end')
      app.reset()
      expect(await resetOf(peer)).toBe(CONNECT_ERROR)
    })

    it('a TCP reset after its own FIN is CONNECT_ERROR, once bytes come for it', async () => {
      const { peer, app } = await proxied(role)
      app.end()
      await peer.until(() => endOf(peer) !== undefined)
      app.reset()
      peer.write(frame(TYPE.data, 0, 1, 'more'))
      expect(await resetOf(peer)).toBe(CONNECT_ERROR)
    })

    it('an abort of the pump is INTERNAL_ERROR', async () => {
      const { peer, channel } = await roles[role]()
      const [ours, theirs] = await socketPair()
      const app = new App(theirs, false)
      const controller = new AbortController()
      const done = pump(channel, socketChannel(ours), { signal: controller.signal })
      app.send(10)
      await peer.until(() => dataOf(peer) === 10)
      controller.abort(new Error('the policy changed'))
      expect(await resetOf(peer)).toBe(INTERNAL_ERROR)
      await app.events.seen('reset')
      expect((await done).ending.kind).toBe('aborted')
    })

    it('closing without grace is INTERNAL_ERROR on each tunnel, before GOAWAY', async () => {
      const { peer, app, cut } = await proxied(role)
      app.send(10)
      await peer.until(() => dataOf(peer) === 10)
      await cut()
      expect(await resetOf(peer)).toBe(INTERNAL_ERROR)
      await app.events.seen('reset')
      expect(app.ending).toBe('reset')
      expect(endOf(peer)).toBeUndefined()
    })
  })

  describe(`what a peer of our ${role} says`, () => {
    const numbers = [...CODES.keys(), UNKNOWN]
    for (const code of numbers)
      for (const bytes of [0, 1_000])
        for (const paused of [false, true])
          it(`RST_STREAM(${CODES[code] ?? code}) after ${bytes} bytes is a TCP reset after them${paused ? ', paused' : ''}`, async () => {
            const { peer, app, done } = await proxied(role, paused)
            const piece = bytes === 0 ? [] : [frame(TYPE.data, 0, 1, bytesOf(bytes))]
            peer.write(...piece, frame(TYPE.reset, 0, 1, uint32(code)))
            if (paused) {
              await done
              app.resume()
            }
            await app.events.seen('reset')
            expect([app.ending, app.events.received, app.hasTrueBytes]).toEqual(['reset', bytes, true])
            expect((await done).ending).toMatchObject({ kind: 'reset', side: 'a' })
          })

    it('END_STREAM and a closed connection: all bytes and the end arrive, however late they are read', async () => {
      const { peer, channel } = await roles[role]()
      const events = new Recorder()
      channel.start(events)
      channel.pause()
      peer.write(frame(TYPE.data, 0, 1, bytesOf(32_000)), frame(TYPE.data, END_STREAM, 1))
      peer.socket.end()
      await peer.closed
      channel.resume()
      await events.seen('end')
      expect(events.bytes.equals(bytesOf(32_000))).toBe(true)
      expect(events.log).not.toContain('reset')
      channel.write(bytesOf(1))
      await events.seen('reset')
    })

    for (const how of ['with', 'without'] as const)
      it(`a connection closed without END_STREAM, ${how} close_notify, is a reset after the bytes that had arrived`, async () => {
        const { peer, channel } = await roles[role]()
        const events = new Recorder()
        channel.start(events)
        channel.pause()
        peer.write(frame(TYPE.data, 0, 1, bytesOf(32_000)))
        await peer.sync()
        if (how === 'with') peer.socket.end()
        else peer.socket.destroy()
        await peer.closed
        channel.resume()
        await events.seen('reset')
        expect([events.received, events.log.includes('end')]).toEqual([32_000, false])
      })
  })
}

describe('a peer that answers no PING', () => {
  it('is told INTERNAL_ERROR on each tunnel, before GOAWAY(NO_ERROR)', async () => {
    const clock = createManualClock()
    const { port } = await harness({ onTunnel: tunnel => tunnel.accept().start(new Recorder()), clock })
    const peer = await rawClient(port.port, web)
    peer.write(frame(TYPE.settings, 0, 0), frame(TYPE.settings, 1, 0), request(1))
    await peer.until(() => peer.find(TYPE.headers, 1) !== undefined)
    await peer.sync()
    clock.advance(10_000)
    await peer.until(() => peer.all(TYPE.ping).some(({ flags }) => flags === 0))
    clock.advance(20_000)
    expect(await resetOf(peer)).toBe(INTERNAL_ERROR)
    await peer.until(() => peer.goawayCode === 0)
  })
})
