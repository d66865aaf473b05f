/**
 * HTTP/2 sessions to back ends, shared by the exchanges with one endpoint. A session that drains or is full takes no further
 * stream; without streams it ends, at once when it drains, else when its time is up.
 */
import { type ClientHttp2Session, connect } from 'node:http2'
import type { Clock, Timer } from '@ambient/core'
import { upstreamLimits } from '../limits.ts'
import { type Link, whileWanted } from './link.ts'

export class Http2Sessions {
  readonly #clock: Clock
  readonly #sessions = new Map<string, Http2Session[]>()
  readonly #opening = new Map<string, Promise<Http2Session>>()
  #isClosing = false

  constructor(clock: Clock) {
    this.#clock = clock
  }

  get idle(): number {
    return this.#all().filter(session => session.streams === 0).length
  }

  /**
   * A session with room for one more stream, held until `release`. Whoever comes while one is being opened waits for it,
   * and a failure to connect is everybody's; who gives up does so for itself.
   * Rejects with what `open` rejects with.
   */
  async take(key: string, open: () => Promise<Link>, signal: AbortSignal): Promise<Http2Session> {
    for (;;) {
      const known = this.#sessions.get(key)?.find(session => session.hasRoom)
      if (known !== undefined) return known.hold()
      const opening = this.#opening.get(key)
      if (opening === undefined) return (await whileWanted(this.#open(key, open), signal)).hold()
      await whileWanted(opening, signal)
    }
  }

  /** None takes a further stream. */
  retire(): void {
    for (const session of this.#all()) session.retire()
  }

  close(): void {
    this.#isClosing = true
    this.retire()
  }

  cut(): void {
    for (const session of this.#all()) session.cut()
  }

  #all(): readonly Http2Session[] {
    return [...this.#sessions.values()].flat()
  }

  #open(key: string, open: () => Promise<Link>): Promise<Http2Session> {
    const opening = open().then(link => this.#add(key, link))
    this.#opening.set(key, opening)
    const done = (): void => void this.#opening.delete(key)
    opening.then(done, done)
    return opening
  }

  #add(key: string, link: Link): Http2Session {
    const session = new Http2Session(link, this.#clock, () => {
      const left = (this.#sessions.get(key) ?? []).filter(one => one !== session)
      if (left.length === 0) this.#sessions.delete(key)
      else this.#sessions.set(key, left)
    })
    this.#sessions.set(key, [...(this.#sessions.get(key) ?? []), session])
    if (this.#isClosing) session.retire()
    // Whoever it was opened for may have gone.
    else session.rest()
    return session
  }
}

export class Http2Session {
  readonly node: ClientHttp2Session
  /** Exchanges that hold it. */
  streams = 0
  /** It was held before: what it is sent now may meet an end that was under way. */
  uses = 0
  readonly #clock: Clock
  #isRetired = false
  #resets = 0
  #timer: Timer | undefined

  constructor(link: Link, clock: Clock, onClosed: () => void) {
    this.#clock = clock
    const socket = link.socket()
    this.node = connect('http://upstream', {
      createConnection: () => socket,
      settings: { enablePush: false, initialWindowSize: upstreamLimits.http2WindowBytes },
      maxHeaderListPairs: upstreamLimits.maxHeaderPairs,
      maxSessionMemory: upstreamLimits.http2SessionMegabytes,
    })
    this.node.on('connect', () => {
      // It is told of its beginning even when it has ended before.
      if (this.node.destroyed) return
      this.node.setLocalWindowSize(upstreamLimits.http2ConnectionWindowBytes)
    })
    this.node.on('error', () => {})
    this.node.on('goaway', () => this.retire())
    const retire = (): void => this.retire()
    link.draining?.addEventListener('abort', retire)
    this.node.once('close', () => {
      this.#isRetired = true
      this.#timer?.cancel()
      link.draining?.removeEventListener('abort', retire)
      onClosed()
    })
    if (link.draining?.aborted === true) this.retire()
  }

  get hasRoom(): boolean {
    const allowed = this.node.remoteSettings?.maxConcurrentStreams ?? upstreamLimits.maxStreamsPerSession
    const isUsable = !this.#isRetired && !this.node.closed && !this.node.destroyed
    return isUsable && this.streams < Math.min(allowed, upstreamLimits.maxStreamsPerSession)
  }

  hold(): this {
    this.#timer?.cancel()
    this.streams++
    this.uses++
    return this
  }

  release(): void {
    this.streams--
    this.rest()
  }

  /** A stream was cut. Servers end sessions with too many of those, and everybody's streams with them: it takes no more before. */
  countReset(): void {
    if (++this.#resets >= upstreamLimits.maxResetsPerSession) this.retire()
  }

  /** Without streams its time runs. */
  rest(): void {
    if (this.streams > 0) return
    this.#timer?.cancel()
    if (this.#isRetired) this.#end()
    else this.#timer = this.#clock.after(upstreamLimits.idleMs, () => this.retire())
  }

  retire(): void {
    this.#isRetired = true
    if (this.streams === 0) this.#end()
  }

  cut(): void {
    this.node.destroy()
  }

  #end(): void {
    if (!this.node.closed && !this.node.destroyed) this.node.close()
  }
}
