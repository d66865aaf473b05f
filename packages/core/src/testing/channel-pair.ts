/** Two channels in memory: what one writes, the other delivers. Obeys the channel contract in full. */
import type { Channel, ChannelEvents, ChannelReset, ResetCode } from '../channel.ts'
import { CoreError } from '../errors.ts'

/** Bytes that a paused end buffers before its writer is told to stop. */
const DEFAULT_WINDOW_BYTES = 65_536

export function channelPair(options: { readonly windowBytes?: number } = {}): [Channel, Channel] {
  const a = new MemoryChannel(options.windowBytes ?? DEFAULT_WINDOW_BYTES)
  const b = new MemoryChannel(options.windowBytes ?? DEFAULT_WINDOW_BYTES)
  a.join(b)
  b.join(a)
  return [a, b]
}

type Item =
  | { readonly kind: 'data'; readonly bytes: Uint8Array }
  | { readonly kind: 'end' }
  | { readonly kind: 'reset'; readonly reset: ChannelReset }

class MemoryChannel implements Channel {
  readonly #window: number
  #peer: MemoryChannel | undefined
  #events: ChannelEvents | undefined
  readonly #inbox: Item[] = []
  #inboxBytes = 0
  #paused = false
  #scheduled = false
  #writerHeld = false
  #readEnded = false
  #ended = false
  #finished = false
  #dead = false

  constructor(window: number) {
    this.#window = window
  }

  join(peer: MemoryChannel): void {
    this.#peer = peer
  }

  start(events: ChannelEvents): void {
    if (this.#events !== undefined) throw new CoreError('AMBIENT_E_CLOSED', 'the channel was started already')
    this.#events = events
    this.#schedule()
  }

  pause(): void {
    this.#paused = true
  }

  resume(): void {
    this.#paused = false
    this.#schedule()
  }

  write(bytes: Uint8Array): boolean {
    if (bytes.length === 0 || this.#ended || this.#dead || this.#peer === undefined) return true
    return this.#peer.receive({ kind: 'data', bytes: new Uint8Array(bytes) })
  }

  end(): void {
    if (this.#ended || this.#dead) return
    this.#ended = true
    this.#peer?.receive({ kind: 'end' })
  }

  reset(code: ResetCode, reason: string): void {
    if (this.#dead || (this.#readEnded && this.#finished)) return
    this.#dead = true
    this.#peer?.receive({ kind: 'reset', reset: { by: 'peer', code, reason } })
  }

  receive(item: Item): boolean {
    if (item.kind === 'data') this.#inboxBytes += item.bytes.length
    this.#inbox.push(item)
    this.#schedule()
    if (this.#inboxBytes <= this.#window) return true
    this.#writerHeld = true
    return false
  }

  #schedule(): void {
    if (this.#scheduled || this.#events === undefined) return
    this.#scheduled = true
    queueMicrotask(() => {
      this.#scheduled = false
      this.#deliver()
    })
  }

  #deliver(): void {
    while (!this.#paused && !this.#dead && this.#events !== undefined) {
      const item = this.#inbox.shift()
      if (item === undefined) break
      this.#deliverOne(item, this.#events)
    }
    if (this.#writerHeld && this.#inboxBytes === 0) {
      this.#writerHeld = false
      this.#peer?.writable()
    }
  }

  #deliverOne(item: Item, events: ChannelEvents): void {
    if (item.kind === 'data') {
      this.#inboxBytes -= item.bytes.length
      events.data(item.bytes)
    } else if (item.kind === 'end') {
      this.#readEnded = true
      events.end()
      this.#peer?.confirmFinished()
    } else {
      this.#dead = true
      events.reset(item.reset)
    }
  }

  writable(): void {
    if (!this.#dead) this.#events?.drained()
  }

  confirmFinished(): void {
    this.#finished = true
    if (!this.#dead) this.#events?.finished()
  }
}
