/** A session that ends gracefully on a slow wire: the last bytes of its streams leave before the transport is destroyed. */
import { Duplex } from 'node:stream'
import { createManualClock, type ManualClock } from '@ambient/core/testing'
import { defaultLimits } from '@ambient/hbone'
import { describe, expect, it } from 'vitest'
import { Recorder } from '../../../test/contracts/channel.ts'
import { Http2Connection } from '../src/http2/connection.ts'
import type { Http2Stream } from '../src/http2/stream.ts'
import { frame, request, TYPE } from './raw-peer.ts'

/** A transport that takes bytes only when told. */
class SlowWire extends Duplex {
  readonly taken: Buffer[] = []
  readonly #waiting: (() => void)[] = []

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.#waiting.push(() => {
      this.taken.push(chunk)
      done()
    })
  }

  /** Lets one write through. */
  takeOne(): void {
    this.#waiting.shift()?.()
  }

  get bytes(): number {
    return this.taken.reduce((sum, chunk) => sum + chunk.length, 0)
  }
}

const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve))

/** A server session with one stream that has sent all it had and is over, in a session that has said its last GOAWAY. */
async function ending(): Promise<{
  wire: SlowWire
  clock: ManualClock
  events: Recorder
  gone: () => boolean
}> {
  const wire = new SlowWire({ writableHighWaterMark: 1 << 20 })
  const clock = createManualClock()
  const events = new Recorder()
  let isGone = false
  const streams: Http2Stream[] = []
  const connection = new Http2Connection({
    role: 'server',
    transport: wire,
    peer: 'test',
    limits: defaultLimits,
    clock,
    handlers: {
      onRequest: stream => streams.push(stream),
      onClosed: () => {},
      onGone: () => {
        isGone = true
      },
    },
  })
  connection.start()
  wire.push('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
  wire.push(Buffer.concat([frame(TYPE.settings, 0, 0), request(1, 5)]))
  await turn()
  const [stream] = streams
  if (stream === undefined) throw new Error('no stream')
  stream.sendHeaders([[':status', '200']])
  stream.start(events)
  await turn()
  stream.write(Buffer.alloc(60_000))
  stream.end()
  expect(connection.streams.size).toBe(0)
  connection.drain()
  // The answer to the PING after the first GOAWAY: kind 2, sequence 1.
  wire.push(frame(TYPE.ping, 1, 0, Buffer.from([2, 0, 0, 0, 0, 0, 0, 1])))
  await turn()
  expect(connection.isClosed).toBe(true)
  return { wire, clock, events, gone: () => isGone }
}

describe('a graceful end', () => {
  it('waits for as long as bytes leave, and tells the stream when they have', async () => {
    const { wire, clock, events, gone } = await ending()
    for (let round = 0; round < 3; round++) {
      for (let second = 0; second < 15; second++) clock.advance(1_000)
      await turn()
      expect(wire.destroyed).toBe(false)
      wire.takeOne()
      await turn()
    }
    expect(events.log).not.toContain('reset')
    while (!wire.writableFinished) {
      wire.takeOne()
      await turn()
    }
    expect(wire.bytes).toBeGreaterThan(60_000)
    expect(events.log).toEqual(['end', 'finished'])
    clock.advance(1_000)
    await turn()
    expect(wire.destroyed).toBe(true)
    expect(gone()).toBe(true)
    expect(clock.pending).toBe(0)
  })

  it('gives up when none has left for 20 s, and tells the stream that it was cut', async () => {
    const { wire, clock, events, gone } = await ending()
    for (let second = 0; second < 20; second++) {
      expect(wire.destroyed).toBe(false)
      clock.advance(1_000)
    }
    await turn()
    expect(gone()).toBe(true)
    expect(events.log).toEqual(['end', 'reset'])
    expect(clock.pending).toBe(0)
  })

  it('does not wait for the peer once everything is said on both sides', async () => {
    const { wire, gone } = await ending()
    wire.push(null)
    while (!wire.destroyed) {
      wire.takeOne()
      await turn()
    }
    expect(wire.writableFinished).toBe(true)
    expect(gone()).toBe(true)
  })
})
