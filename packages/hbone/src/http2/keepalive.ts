/** PING on our side: finds dead peers, and marks a point in the peer's stream of frames. */
import type { Clock, Timer } from '@ambient/core'
import type { HboneLimits } from '../limits.ts'

/** First byte of a payload says what the PING was for. */
const KEEPALIVE = 1
const MARK = 2

export interface KeepaliveHost {
  sendPing(payload: Uint8Array): void
  /** No sign of life for `pingTimeoutMs`. */
  peerDead(): void
}

export class Keepalive {
  readonly #host: KeepaliveHost
  readonly #limits: HboneLimits
  readonly #clock: Clock
  #timer: Timer | undefined
  #sequence = 0
  #outstanding = 0
  #mark: { readonly sequence: number; readonly run: () => void; readonly timer: Timer } | undefined
  /** Set by every chunk that arrives. */
  heard = false

  constructor(host: KeepaliveHost, limits: HboneLimits, clock: Clock) {
    this.#host = host
    this.#limits = limits
    this.#clock = clock
  }

  start(): void {
    this.#timer?.cancel()
    this.#timer = this.#clock.after(this.#limits.pingAfterMs, () => this.#ping())
  }

  stop(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#mark?.timer.cancel()
    this.#mark = undefined
  }

  /** Runs `run` once the peer has seen everything that we sent before, or never says so. */
  mark(run: () => void): void {
    const sequence = ++this.#sequence
    const timer = this.#clock.after(this.#limits.pingTimeoutMs, () => {
      this.#mark = undefined
      run()
    })
    this.#mark = { sequence, run, timer }
    this.#host.sendPing(payloadOf(MARK, sequence))
  }

  /** `false` for an answer to nothing that we asked. */
  acknowledged(payload: Uint8Array): boolean {
    const sequence = new DataView(payload.buffer, payload.byteOffset, payload.length).getUint32(4)
    if (payload[0] === KEEPALIVE && sequence !== 0 && sequence === this.#outstanding) {
      this.#outstanding = 0
      this.start()
    } else if (payload[0] === MARK && sequence === this.#mark?.sequence) {
      const { run, timer } = this.#mark
      timer.cancel()
      this.#mark = undefined
      run()
    } else return false
    return true
  }

  #ping(): void {
    this.#outstanding = ++this.#sequence
    this.heard = false
    this.#host.sendPing(payloadOf(KEEPALIVE, this.#outstanding))
    this.#await()
  }

  #await(): void {
    this.#timer = this.#clock.after(this.#limits.pingTimeoutMs, () => {
      // A loop that was blocked runs its timers before it reads what has arrived meanwhile.
      setImmediate(() => {
        if (this.#timer === undefined || this.#outstanding === 0) return
        if (!this.heard) return this.#host.peerDead()
        this.heard = false
        this.#await()
      })
    })
  }
}

function payloadOf(kind: number, sequence: number): Uint8Array {
  const payload = new Uint8Array(8)
  payload[0] = kind
  new DataView(payload.buffer).setUint32(4, sequence)
  return payload
}
