/** The conveyor's rules that need a channel under full control: order, codes, what it leaves behind. */
import { createHash, randomBytes } from 'node:crypto'
import { type Channel, type ChannelEvents, pump } from '@ambient/core'
import { channelPair } from '@ambient/core/testing'
import { describe, expect, it } from 'vitest'
import { Recorder } from '../../../test/contracts/channel.ts'

const text = (value: string): Uint8Array => new TextEncoder().encode(value)
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')
const turn = (): Promise<void> => new Promise(resolve => setImmediate(resolve))

/** `client ⇄ a` and `b ⇄ server`, in memory. */
function memoryLine(): { client: Channel; a: Channel; b: Channel; server: Channel } {
  const [client, a] = channelPair()
  const [b, server] = channelPair()
  return { client, a, b, server }
}

describe('pump and a reset behind bytes that the sink still holds', () => {
  it('lets the bytes go first, then resets', async () => {
    const [client, a] = channelPair()
    const [b, server] = channelPair({ windowBytes: 1000 })
    const atServer = new Recorder()
    client.start(new Recorder())
    server.start(atServer)
    server.pause()
    const done = pump(a, b)
    const sent = randomBytes(30_000)
    client.write(sent)
    client.reset('INTERNAL_ERROR', 'gone')
    await turn()
    expect(atServer.log).toEqual([])
    server.resume()
    await atServer.seen('reset')
    expect(sha256(atServer.bytes)).toBe(sha256(sent))
    expect(atServer.log.at(-1)).toBe('reset')
    expect(await done).toMatchObject({ aToB: sent.length, ending: { kind: 'reset', side: 'a' } })
  })

  it('does not wait for a sink that is reset itself', async () => {
    const [client, a] = channelPair()
    const [b, server] = channelPair({ windowBytes: 1000 })
    client.start(new Recorder())
    server.start(new Recorder())
    server.pause()
    const done = pump(a, b)
    client.write(new Uint8Array(30_000))
    client.reset('INTERNAL_ERROR', 'gone')
    await turn()
    server.reset('INTERNAL_ERROR', 'gone as well')
    expect((await done).ending).toMatchObject({ kind: 'reset', side: 'b' })
  })

  it('is freed by the signal', async () => {
    const controller = new AbortController()
    const [client, a] = channelPair()
    const [b, server] = channelPair({ windowBytes: 1000 })
    client.start(new Recorder())
    server.start(new Recorder())
    server.pause()
    const done = pump(a, b, { signal: controller.signal })
    client.write(new Uint8Array(30_000))
    client.reset('INTERNAL_ERROR', 'gone')
    await turn()
    controller.abort('forced')
    expect((await done).ending).toEqual({ kind: 'aborted', reason: 'forced' })
  })
})

describe('pump and the code of a reset', () => {
  it.each([
    ['CONNECT_ERROR', 'CONNECT_ERROR'],
    ['INTERNAL_ERROR', 'INTERNAL_ERROR'],
    // A peer reads CANCEL and REFUSED_STREAM as harmless; after bytes were owed they must not pass.
    ['CANCEL', 'INTERNAL_ERROR'],
    ['REFUSED_STREAM', 'INTERNAL_ERROR'],
    ['ENHANCE_YOUR_CALM', 'INTERNAL_ERROR'],
  ] as const)('%s arrives as %s', async (sent, seen) => {
    const line = memoryLine()
    const server = new Recorder()
    line.client.start(new Recorder())
    line.server.start(server)
    const done = pump(line.a, line.b)
    line.client.reset(sent, 'why')
    await server.seen('reset')
    expect(server.resetWith).toMatchObject({ code: seen, reason: 'why' })
    // The record keeps what the peer said.
    expect((await done).ending).toMatchObject({ reset: { code: sent } })
  })

  it('an abort is INTERNAL_ERROR, with the reason’s message', async () => {
    const line = memoryLine()
    const server = new Recorder()
    line.client.start(new Recorder())
    line.server.start(server)
    void pump(line.a, line.b, { signal: AbortSignal.abort(new Error('policy changed')) })
    await server.seen('reset')
    expect(server.resetWith).toMatchObject({ code: 'INTERNAL_ERROR', reason: 'policy changed' })
  })
})

describe('pump and what it leaves behind', () => {
  it('takes its listener off the signal', async () => {
    const line = memoryLine()
    line.client.start(new Recorder())
    line.server.start(new Recorder())
    const { signal } = new AbortController()
    let listeners = 0
    const add = signal.addEventListener.bind(signal)
    const remove = signal.removeEventListener.bind(signal)
    signal.addEventListener = (...args: Parameters<typeof add>) => {
      listeners++
      add(...args)
    }
    signal.removeEventListener = (...args: Parameters<typeof remove>) => {
      listeners--
      remove(...args)
    }
    const done = pump(line.a, line.b, { signal })
    expect(listeners).toBe(1)
    line.client.end()
    line.server.end()
    await done
    expect(listeners).toBe(0)
  })

  it('tells a source that its bytes were consumed only when the sink took them', () => {
    const source = new ScriptedChannel(true)
    const sink = new ScriptedChannel(false)
    void pump(source, sink)
    expect(source.events?.data(text('held'))).toBe(false)
    expect(source.calls).toEqual(['pause'])
    expect(source.events?.data(text('one more chunk was on its way'))).toBe(false)
    expect(source.calls).toEqual(['pause'])
    sink.events?.drained()
    expect(source.calls).toEqual(['pause', 'resume'])
    expect(sink.events?.data(text('taken'))).toBe(true)
  })
})

/** A channel that does nothing by itself. */
class ScriptedChannel implements Channel {
  readonly calls: string[] = []
  readonly #takes: boolean
  events: ChannelEvents | undefined

  constructor(takes: boolean) {
    this.#takes = takes
  }

  start(events: ChannelEvents): void {
    this.events = events
  }

  pause(): void {
    this.calls.push('pause')
  }

  resume(): void {
    this.calls.push('resume')
  }

  write(): boolean {
    return this.#takes
  }

  end(): void {
    this.calls.push('end')
  }

  reset(code: string): void {
    this.calls.push(`reset ${code}`)
  }
}

describe('pump and memory that its sink had to hold', () => {
  it('gives it back to its source once it has left, and once only', async () => {
    const [client, a] = channelPair()
    const [b, server] = channelPair({ windowBytes: 1000 })
    const freed: Uint8Array[] = []
    a.free = bytes => freed.push(bytes)
    const atServer = new Recorder()
    client.start(new Recorder())
    server.start(atServer)
    server.pause()
    const done = pump(a, b)
    const sent = randomBytes(30_000)
    client.write(sent)
    await turn()
    expect(freed).toEqual([])
    server.resume()
    client.end()
    await atServer.seen('end')
    server.end()
    await done
    expect(sha256(atServer.bytes)).toBe(sha256(sent))
    expect(freed.map(({ length }) => length)).toEqual([sent.length])
  })
})
