/** What an attack makes us hold, in bytes: no more than the windows that we announced, and nothing when it is over. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { Channel } from '@ambient/core'
import { describe, expect, it } from 'vitest'
import { Recorder } from '../../../test/contracts/channel.ts'
import { onTunnel } from './attack-victim.ts'
import { emptied, harness, web } from './harness.ts'
import { frame, rawClient, request, TYPE, uint32 } from './raw-peer.ts'

const MIB = 1 << 20
const STREAMS = 150
/** Node's own buffers, code that was compiled meanwhile, objects of 200 streams. */
const NOISE_BYTES = 12 * MIB

async function heldBytes(): Promise<number> {
  setFlagsFromString('--expose-gc')
  const collect: unknown = runInNewContext('gc')
  for (let round = 0; round < 3; round++) {
    await new Promise(resolve => setImmediate(resolve))
    if (typeof collect === 'function') collect()
  }
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return heapUsed + arrayBuffers
}

/** Unread streams whose windows are filled with pieces of `size`, each in a read of its own full of other things. */
const shapes: Readonly<Record<string, { readonly size: number; readonly filler: number }>> = {
  'one byte at a time': { size: 1, filler: 0 },
  'small pieces between unknown frames': { size: 600, filler: 12_000 },
  'pieces just long enough to be kept as they came, between unknown frames': { size: 4_096, filler: 12_000 },
  'whole records': { size: 16_384, filler: 0 },
}

describe('memory', () => {
  for (const [name, { size, filler }] of Object.entries(shapes))
    it(`of 150 streams that nobody reads is their windows: ${name}`, { timeout: 30_000 }, async () => {
      const channels: Channel[] = []
      const at = await harness({
        onTunnel: tunnel => {
          const channel = tunnel.accept()
          channel.start(new Recorder())
          channel.pause()
          channels.push(channel)
        },
        limits: { idleFrameBurst: 100_000 },
      })
      const peer = await rawClient(at.port.port, web)
      peer.settings()
      const streams = Array.from({ length: STREAMS }, (_, index) => 2 * index + 1)
      peer.write(...streams.map(id => request(id)))
      await peer.until(() => peer.all(TYPE.headers).length === streams.length)
      await peer.sync()
      const before = await heldBytes()
      const other = filler === 0 ? Buffer.alloc(0) : frame(0x42, 0, 0, Buffer.alloc(filler))
      const rounds = Math.floor(65_536 / size) / (size === 1 ? 64 : 1)
      const piece = Buffer.alloc(size, 1)
      for (let round = 0; round < rounds; round++) {
        for (const id of streams) peer.write(frame(TYPE.data, 0, id, piece), other)
        if (round % Math.ceil(rounds / 50) === 0) await peer.sync()
      }
      await peer.sync()
      const windows = streams.length * rounds * size
      const held = (await heldBytes()) - before
      // Joined pieces double their block; a view keeps at most as much again.
      expect(held).toBeLessThan(2 * windows + NOISE_BYTES)
      for (const channel of channels) channel.reset('CANCEL', 'over')
      peer.socket.destroy()
      await emptied(at.server, 0)
      channels.length = 0
      expect((await heldBytes()) - before).toBeLessThan(NOISE_BYTES)
    })

  it('of 100 sessions one after the other that are ended by attacks is none', {
    timeout: 60_000,
  }, async () => {
    const at = await harness({ onTunnel })
    const attack = async (): Promise<void> => {
      const peer = await rawClient(at.port.port, web)
      peer.settings()
      peer.write(
        request(1),
        request(3),
        frame(TYPE.data, 0, 1, Buffer.alloc(10_000)),
        frame(TYPE.update, 0, 0, uint32(0)),
      )
      await peer.closed
    }
    for (let warm = 0; warm < 20; warm++) await attack()
    const before = await heldBytes()
    for (let round = 0; round < 100; round++) await attack()
    await emptied(at.server, 0)
    expect((await heldBytes()) - before).toBeLessThan(NOISE_BYTES / 2)
  })
})
