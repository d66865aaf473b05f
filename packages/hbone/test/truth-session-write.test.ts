/**
 * A peer that sends its last bytes and closes the TCP connection over something of ours: our next write finds the reset
 * before our next read does, and what had arrived is delivered all the same.
 */
import { createSecureContext } from 'node:tls'
import type { Channel } from '@ambient/core'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Recorder } from '../../../test/contracts/channel.ts'
import { bytesOf } from '../../../test/contracts/tcp-app.ts'
import { allowTlsReads, proveTlsReads } from '../src/tls-static.ts'
import { db } from './harness.ts'
import { frame, type RawPeer, TYPE } from './raw-peer.ts'
import { roles } from './raw-tunnel.ts'

/** What a kernel takes for a reader that does not read. */
const BURST = 48_000
/** Leaves at once. */
const UNREAD = 40_000
const END_STREAM = 1

/** The peer's last bytes, a close over ours, and a write of ours: all before the next read of the event loop. */
async function burst(peer: RawPeer, channel: Channel, flags: number): Promise<void> {
  // Answered by what was read: what follows runs between a read and the writes of its turn.
  await peer.sync()
  channel.write(bytesOf(UNREAD))
  // One write: TLS takes no second one in the same turn.
  const pieces = [0, 16_000, 32_000].map(at => bytesOf(BURST).subarray(at, at + 16_000))
  peer.write(...pieces.map((piece, index) => frame(TYPE.data, index === 2 ? flags : 0, 1, piece)))
  peer.socket.destroy()
  channel.write(bytesOf(1_000))
}

const context = createSecureContext({
  cert: db.certificateChain,
  key: db.privateKey(),
  minVersion: 'TLSv1.3',
})

const rows = (['client', 'server'] as const).flatMap(role =>
  (['reads', 'is paused'] as const).map(reader => ({ role, reader })),
)

// There a reset takes with it what was received before.
describe.skipIf(process.platform === 'win32').each(['static reads', 'events'])(
  'a session read by %s, cut under its writes',
  how => {
    beforeEach(async () => {
      await proveTlsReads(context)
      allowTlsReads(how === 'static reads')
    })
    afterEach(() => allowTlsReads(true))

    for (const { role, reader } of rows)
      for (let round = 1; round <= 3; round++) {
        it(`all bytes and the end arrive at our ${role}, whose reader ${reader} (${round})`, async () => {
          const { peer, channel } = await roles[role]()
          const events = new Recorder()
          channel.start(events)
          if (reader === 'is paused') channel.pause()
          await burst(peer, channel, END_STREAM)
          await peer.closed
          channel.resume()
          await events.seen('end')
          expect(events.bytes.equals(bytesOf(BURST))).toBe(true)
          // What we said after that went nowhere, and whoever goes on hears of it.
          channel.end()
          await events.seen('reset')
          expect(events.log).not.toContain('finished')
        })

        it(`all bytes and a reset arrive at our ${role}, whose reader ${reader} (${round})`, async () => {
          const { peer, channel } = await roles[role]()
          const events = new Recorder()
          channel.start(events)
          if (reader === 'is paused') channel.pause()
          await burst(peer, channel, 0)
          await peer.closed
          channel.resume()
          await events.seen('reset')
          expect(events.bytes.equals(bytesOf(BURST))).toBe(true)
          expect(events.log).not.toContain('end')
        })
      }

    it('an end of ours that did not leave is never said to be finished', async () => {
      const { peer, channel } = await roles.client()
      const events = new Recorder()
      channel.start(events)
      const cut = burst(peer, channel, END_STREAM)
      await peer.sync()
      await cut
      channel.end()
      await events.seen('reset')
      expect(events.bytes.equals(bytesOf(BURST))).toBe(true)
      expect([events.log.includes('end'), events.log.includes('finished')]).toEqual([true, false])
    })
  },
)
