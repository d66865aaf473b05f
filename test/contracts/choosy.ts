/** A reader that keeps some views, consumes others and pauses now and then: what it keeps must stay as it was. */
import { createHash } from 'node:crypto'
import type { Channel, ChannelEvents } from '@ambient/core'

export const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

export class Choosy implements ChannelEvents {
  /** Of every byte, as it arrived. */
  readonly hash = createHash('sha256')
  readonly kept: { readonly view: Uint8Array; readonly digest: string }[] = []
  readonly ended: Promise<void>
  readonly #channel: Channel
  #count = 0
  #end: () => void = () => {}

  /** Pauses the channel; who starts it is the caller's business. */
  constructor(channel: Channel) {
    this.#channel = channel
    this.ended = new Promise(resolve => {
      this.#end = resolve
    })
  }

  data(bytes: Uint8Array): boolean {
    this.hash.update(bytes)
    this.#count++
    if (this.#count % 5 === 0) {
      this.#channel.pause()
      // A pause right after a resume, in one turn.
      setImmediate(() => {
        this.#channel.resume()
        this.#channel.pause()
        setImmediate(() => this.#channel.resume())
      })
    }
    if (this.#count % 3 !== 0) return true
    this.kept.push({ view: bytes, digest: sha256(bytes) })
    return false
  }

  end(): void {
    this.#end()
  }

  drained(): void {}
  finished(): void {}
  reset(): void {}
}
