/** A drain told in HTTP/2's words: between two frames, however the bytes come, once, and never in a header block. */
import type { ChannelEvents } from '@ambient/core'
import { channelPair } from '@ambient/core/testing'
import { describe, expect, it } from 'vitest'
import { announceDraining } from '../src/grpc/goaway.ts'
import { seededRandom } from './random.ts'

const GOAWAY = Buffer.from('000008070000000000' + '7fffffff' + '00000000', 'hex')
const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve))

function frame(type: number, flags: number, payload: number): Buffer {
  const header = Buffer.from([payload >> 16, (payload >> 8) & 255, payload & 255, type, flags, 0, 0, 0, 1])
  return Buffer.concat([header, Buffer.alloc(payload, type)])
}

const settings = frame(4, 0, 6)
const data = frame(0, 0, 300)
const headers = frame(1, 4, 20)
const openHeaders = frame(1, 0, 20)
const continuation = frame(9, 4, 5)

interface Reader {
  readonly abort: () => void
  readonly send: (bytes: Uint8Array) => Promise<void>
  readonly read: () => Buffer
  readonly channel: ReturnType<typeof announceDraining>
}

function reader(): Reader {
  const [near, far] = channelPair()
  const draining = new AbortController()
  const channel = announceDraining(near, draining.signal)
  const chunks: Uint8Array[] = []
  const events: ChannelEvents = {
    data: bytes => {
      chunks.push(Uint8Array.from(bytes))
      return true
    },
    end() {},
    drained() {},
    finished() {},
    reset() {},
  }
  channel.start(events)
  far.start({ ...events, data: () => true })
  const send = async (bytes: Uint8Array): Promise<void> => {
    far.write(bytes)
    await turn()
  }
  return { abort: () => draining.abort(), send, read: () => Buffer.concat(chunks), channel }
}

describe('a drain of a tunnel with HTTP/2 inside', () => {
  it('is told at once between two frames, and only once', async () => {
    const { abort, send, read } = reader()
    await send(Buffer.concat([settings, data]))
    abort()
    expect(read()).toEqual(Buffer.concat([settings, data, GOAWAY]))
    await send(data)
    expect(read()).toEqual(Buffer.concat([settings, data, GOAWAY, data]))
  })

  it('waits for the first frame', async () => {
    const { abort, send, read } = reader()
    abort()
    expect(read().length).toBe(0)
    await send(settings)
    expect(read()).toEqual(Buffer.concat([settings, GOAWAY]))
  })

  it('waits for the end of a header block', async () => {
    const { abort, send, read } = reader()
    await send(Buffer.concat([settings, openHeaders]))
    abort()
    expect(read()).toEqual(Buffer.concat([settings, openHeaders]))
    await send(Buffer.concat([continuation, data]))
    expect(read()).toEqual(Buffer.concat([settings, openHeaders, continuation, GOAWAY, data]))
  })

  it('waits while the reader pauses', async () => {
    const { abort, send, read, channel } = reader()
    await send(settings)
    channel.pause()
    abort()
    expect(read()).toEqual(settings)
    channel.resume()
    expect(read()).toEqual(Buffer.concat([settings, GOAWAY]))
  })

  it('comes after the bytes whose reader begins it, not within them', async () => {
    const [near, far] = channelPair()
    const draining = new AbortController()
    const channel = announceDraining(near, draining.signal)
    const told: string[] = []
    const name = (bytes: Uint8Array): string => (GOAWAY.equals(bytes) ? 'GOAWAY' : `${bytes.length} bytes`)
    const events: ChannelEvents = {
      data: bytes => {
        told.push(`begin ${name(bytes)}`)
        if (bytes.length === data.length) draining.abort()
        told.push(`end ${name(bytes)}`)
        return true
      },
      end() {},
      drained() {},
      finished() {},
      reset() {},
    }
    channel.start(events)
    far.start({ ...events, data: () => true })
    for (const bytes of [settings, data, headers]) {
      far.write(bytes)
      await turn()
    }
    expect(told).toEqual(
      [settings, data, GOAWAY, headers].flatMap(bytes => [`begin ${name(bytes)}`, `end ${name(bytes)}`]),
    )
  })

  it('leaves a reader paused that pauses when it is told', async () => {
    const [near, far] = channelPair()
    const draining = new AbortController()
    const channel = announceDraining(near, draining.signal)
    const heard: Uint8Array[] = []
    const quietly = { end() {}, drained() {}, finished() {}, reset() {} }
    channel.start({
      ...quietly,
      data: bytes => {
        heard.push(Uint8Array.from(bytes))
        if (GOAWAY.equals(bytes)) channel.pause()
        return true
      },
    })
    far.start({ ...quietly, data: () => true })
    far.write(settings)
    await turn()
    channel.pause()
    draining.abort()
    channel.resume()
    far.write(data)
    await turn()
    expect(Buffer.concat(heard)).toEqual(Buffer.concat([settings, GOAWAY]))
    channel.resume()
    await turn()
    expect(Buffer.concat(heard)).toEqual(Buffer.concat([settings, GOAWAY, data]))
  })

  it('finds the next border wherever the bytes are cut and whenever it begins', async () => {
    const next = seededRandom(7)
    const frames = [settings, headers, data, frame(0, 0, 0), openHeaders, continuation, data, headers]
    const all = Buffer.concat(frames)
    const allowed = new Set<number>()
    for (let i = 1, at = 0; i <= frames.length; i++) {
      at += frames[i - 1]?.length ?? 0
      if (frames[i - 1] !== openHeaders) allowed.add(at)
    }
    for (let round = 0; round < 200; round++) {
      const { abort, send, read } = reader()
      const begin = Math.floor(next() * all.length)
      let isDraining = false
      for (let at = 0; at < all.length; ) {
        if (!isDraining && at >= begin) {
          abort()
          isDraining = true
        }
        const size = 1 + Math.floor(next() * 200)
        await send(all.subarray(at, at + size))
        at += size
      }
      if (!isDraining) abort()
      const seen = read()
      const found = seen.indexOf(GOAWAY)
      expect(allowed, `begun at ${begin}`).toContain(found)
      expect(Buffer.concat([seen.subarray(0, found), seen.subarray(found + GOAWAY.length)])).toEqual(all)
    }
  })
})
