/** What every channel must do, whatever carries it. Each implementation and each fake runs this suite. */
import type { Channel, ChannelEvents, ChannelReset } from '@ambient/core'
import { createHash, randomBytes } from 'node:crypto'
import { afterEach, describe, expect, it } from 'vitest'

export interface ChannelPair {
  /** Two ends of one connection. */
  readonly a: Channel
  readonly b: Channel
  /** Fails when anything of the pair is left open. */
  readonly dispose: () => Promise<void>
}

/** A user that records everything; `data` never consumes at once, so views must stay untouched. */
export class Recorder implements ChannelEvents {
  readonly chunks: Uint8Array[] = []
  readonly log: string[] = []
  resetWith: ChannelReset | undefined
  #waiting: { readonly until: () => boolean; readonly resolve: () => void }[] = []

  data(bytes: Uint8Array): boolean {
    this.chunks.push(bytes)
    this.#note('data')
    return false
  }

  end(): void {
    this.#note('end')
  }

  drained(): void {
    this.#note('drained')
  }

  finished(): void {
    this.#note('finished')
  }

  reset(reset: ChannelReset): void {
    this.resetWith = reset
    this.#note('reset')
  }

  get bytes(): Buffer {
    return Buffer.concat(this.chunks)
  }

  get received(): number {
    return this.chunks.reduce((sum, chunk) => sum + chunk.length, 0)
  }

  until(condition: () => boolean): Promise<void> {
    if (condition()) return Promise.resolve()
    return new Promise(resolve => this.#waiting.push({ until: condition, resolve }))
  }

  seen(event: string): Promise<void> {
    return this.until(() => this.log.includes(event))
  }

  #note(event: string): void {
    this.log.push(event)
    const ready = this.#waiting.filter(entry => entry.until())
    this.#waiting = this.#waiting.filter(entry => !ready.includes(entry))
    for (const entry of ready) entry.resolve()
  }
}

const text = (value: string): Uint8Array => new TextEncoder().encode(value)
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

export function channelContract(name: string, setup: () => Promise<ChannelPair>): void {
  describe(`channel contract: ${name}`, () => {
    let pair: ChannelPair
    const start = async (): Promise<{ a: Recorder; b: Recorder }> => {
      pair = await setup()
      const a = new Recorder()
      const b = new Recorder()
      pair.a.start(a)
      pair.b.start(b)
      return { a, b }
    }
    afterEach(() => pair.dispose())

    it('carries bytes both ways and ends in either order', async () => {
      const { a, b } = await start()
      pair.a.write(text('ping'))
      pair.a.end()
      await b.seen('end')
      expect(b.bytes.toString()).toBe('ping')
      pair.b.write(text('pong after your end'))
      pair.b.end()
      await a.seen('end')
      expect(a.bytes.toString()).toBe('pong after your end')
      await Promise.all([a.seen('finished'), b.seen('finished')])
      expect(a.log).not.toContain('reset')
      expect(b.log).not.toContain('reset')
    })

    it('delivers 8 MiB unchanged with a reader that pauses, and tells the writer to wait', async () => {
      const { a, b } = await start()
      const sent = randomBytes(8 << 20)
      let offset = 0
      let held = 0
      const feed = (): void => {
        while (offset < sent.length) {
          const chunk = sent.subarray(offset, offset + 60_000)
          offset += chunk.length
          if (!pair.a.write(chunk)) {
            held++
            return
          }
        }
        pair.a.end()
      }
      const drained = a.drained.bind(a)
      a.drained = () => {
        drained()
        feed()
      }
      pair.b.pause()
      feed()
      await new Promise(resolve => setImmediate(resolve))
      pair.b.resume()
      await b.seen('end')
      pair.b.end()
      expect(sha256(b.bytes)).toBe(sha256(sent))
      expect(held).toBeGreaterThan(0)
      await a.seen('end')
    })

    it('holds back the writer of a paused reader: memory stays bounded', async () => {
      const { b } = await start()
      pair.b.pause()
      const chunk = new Uint8Array(65_536)
      let accepted = 0
      // What a channel takes at once is in somebody's bounded buffer (kernel, window); 64 MiB never fits.
      while (accepted < 64 << 20 && pair.a.write(chunk)) {
        accepted += chunk.length
        await new Promise(resolve => setImmediate(resolve))
      }
      expect(accepted).toBeLessThan(64 << 20)
      expect(b.received).toBeLessThanOrEqual(65_536)
      pair.a.reset('INTERNAL_ERROR', 'enough')
      pair.b.resume()
      await b.seen('reset')
    })

    it('shows a reset as a reset, after the bytes that came before it', async () => {
      const { a, b } = await start()
      pair.a.write(text('last words'))
      await b.until(() => b.received === 10)
      pair.a.reset('INTERNAL_ERROR', 'gone')
      await b.seen('reset')
      expect(b.log).not.toContain('end')
      expect(b.resetWith?.by).toBe('peer')
      expect(a.log).not.toContain('reset')
    })

    it('shows a reset that follows one side’s end', async () => {
      const { a, b } = await start()
      pair.a.end()
      await b.seen('end')
      pair.b.reset('INTERNAL_ERROR', 'no answer')
      await a.seen('reset')
      expect(a.log).not.toContain('end')
    })

    it('ignores what is written after an end or a reset', async () => {
      const { b } = await start()
      pair.a.end()
      expect(pair.a.write(text('late'))).toBe(true)
      await b.seen('end')
      expect(b.received).toBe(0)
      pair.b.reset('CANCEL', 'done')
      expect(pair.b.write(text('late'))).toBe(true)
      pair.b.reset('CANCEL', 'again')
      pair.b.end()
    })

    it('refuses a second user', async () => {
      await start()
      expect(() => pair.a.start(new Recorder())).toThrow(/already/)
      pair.a.reset('CANCEL', 'done')
    })
  })
}
