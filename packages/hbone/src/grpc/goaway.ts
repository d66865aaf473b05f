/**
 * A tunnel that carries HTTP/2, and tells its client in HTTP/2's own words when it drains: a GOAWAY between two frames of the
 * server, after which calls under way finish and new ones get a new connection.
 */
import type { Channel, ChannelEvents, ResetCode } from '@ambient/core'

const FRAME_HEADER_BYTES = 9
const HEADERS = 1
const PUSH_PROMISE = 5
const CONTINUATION = 9
const END_HEADERS = 0x4
/** Every stream is still looked at, NO_ERROR. */
const GOAWAY = Uint8Array.of(0, 0, 8, 7, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0)

/** The same channel; once `draining` is aborted, its user reads a GOAWAY at the next border of frames. */
export function announceDraining(channel: Channel, draining: AbortSignal): Channel {
  return new AnnouncingChannel(channel, draining)
}

class AnnouncingChannel implements Channel {
  readonly #channel: Channel
  readonly #draining: AbortSignal
  readonly #frames = new FrameWalk()
  #events: ChannelEvents | undefined
  #paused = false
  /** The user is within its `data`. */
  #isDelivering = false
  #wanted = false
  #over = false

  constructor(channel: Channel, draining: AbortSignal) {
    this.#channel = channel
    this.#draining = draining
  }

  start(events: ChannelEvents): void {
    this.#events = events
    this.#channel.start({
      data: bytes => this.#onData(events, bytes),
      end: () => {
        this.#stop()
        events.end()
      },
      drained: () => events.drained(),
      finished: () => events.finished(),
      reset: reset => {
        this.#stop()
        events.reset(reset)
      },
    })
    if (this.#draining.aborted) this.#onDraining()
    else this.#draining.addEventListener('abort', this.#onDraining)
  }

  pause(): void {
    this.#paused = true
    this.#channel.pause()
  }

  resume(): void {
    this.#paused = false
    this.#announce()
    // What it was told may have made it pause again.
    if (!this.#paused) this.#channel.resume()
  }

  write(bytes: Uint8Array): boolean {
    return this.#channel.write(bytes)
  }

  end(): void {
    this.#channel.end()
  }

  reset(code: ResetCode, reason: string): void {
    this.#stop()
    this.#channel.reset(code, reason)
  }

  readonly #onDraining = (): void => {
    this.#wanted = true
    this.#announce()
  }

  /** Now, if a frame has just ended and its reader is done with it. */
  #announce(): void {
    if (!this.#wanted || this.#over || this.#paused || this.#isDelivering || !this.#frames.isBetween) return
    this.#stop()
    this.#events?.data(GOAWAY.slice())
  }

  #onData(events: ChannelEvents, bytes: Uint8Array): boolean {
    if (this.#over) return events.data(bytes)
    if (!this.#wanted) {
      this.#frames.take(bytes, false)
      return this.#deliver(events, bytes)
    }
    const border = this.#frames.take(bytes, true)
    if (border === undefined) return events.data(bytes)
    this.#stop()
    const wasTaken = border === 0 || events.data(bytes.subarray(0, border))
    events.data(GOAWAY.slice())
    const rest = bytes.subarray(border)
    return (rest.length === 0 || events.data(rest)) && wasTaken
  }

  /** Its reader may be who ends the pool: it hears of that after what it is being given. */
  #deliver(events: ChannelEvents, bytes: Uint8Array): boolean {
    this.#isDelivering = true
    const wasTaken = events.data(bytes)
    this.#isDelivering = false
    this.#announce()
    return wasTaken
  }

  /** Nothing is announced any more. */
  #stop(): void {
    this.#over = true
    this.#draining.removeEventListener('abort', this.#onDraining)
  }
}

/** Where frames begin and end, and nothing else of them. */
class FrameWalk {
  readonly #header = new Uint8Array(FRAME_HEADER_BYTES)
  #headerBytes = 0
  #payloadBytes = 0
  /** A header block must not be interrupted, and nothing comes before the first frame. */
  #isOpen = true

  get isBetween(): boolean {
    return this.#headerBytes === 0 && this.#payloadBytes === 0 && !this.#isOpen
  }

  /** Walks over bytes; with `stops`, to the first place between two frames, which it gives. */
  take(bytes: Uint8Array, stops: boolean): number | undefined {
    let at = 0
    while (at < bytes.length) {
      if (stops && this.isBetween) return at
      if (this.#payloadBytes > 0) {
        const skipped = Math.min(this.#payloadBytes, bytes.length - at)
        this.#payloadBytes -= skipped
        at += skipped
        continue
      }
      this.#header[this.#headerBytes++] = bytes[at++] ?? 0
      if (this.#headerBytes === FRAME_HEADER_BYTES) this.#readHeader()
    }
    return stops && this.isBetween ? at : undefined
  }

  #readHeader(): void {
    const [a = 0, b = 0, c = 0, type = 0, flags = 0] = this.#header
    this.#headerBytes = 0
    this.#payloadBytes = (a << 16) | (b << 8) | c
    const isBlock = type === HEADERS || type === PUSH_PROMISE || type === CONTINUATION
    this.#isOpen = isBlock && (flags & END_HEADERS) === 0
  }
}
