/** Flood limits: what a peer may make us do without moving bytes. Each ends the session with ENHANCE_YOUR_CALM. */
import type { Clock } from '@ambient/core'
import type { HboneLimits } from '../limits.ts'
import { violation } from './codes.ts'

/** A token bucket: `burst` at once, `perSecond` for ever. */
export class Budget {
  readonly #what: string
  readonly #clock: Clock
  readonly #burst: number
  readonly #perSecond: number
  #tokens: number
  #since: number

  constructor(what: string, burst: number, perSecond: number, clock: Clock) {
    this.#what = what
    this.#clock = clock
    this.#burst = burst
    this.#perSecond = perSecond
    this.#tokens = burst
    this.#since = clock.monotonic()
  }

  /** @throws HboneError ENHANCE_YOUR_CALM that names the limit. */
  spend(): void {
    this.#refill()
    if (this.#tokens < 1) throw violation('ENHANCE_YOUR_CALM', `too many ${this.#what}`)
    this.#tokens--
  }

  #refill(): void {
    const now = this.#clock.monotonic()
    this.#tokens = Math.min(this.#burst, this.#tokens + ((now - this.#since) * this.#perSecond) / 1_000)
    this.#since = now
  }
}

export interface FloodGuard {
  readonly settings: Budget
  readonly ping: Budget
  readonly emptyData: Budget
  readonly paddedData: Budget
  /** PRIORITY, unknown frames, frames on streams that are over. */
  readonly idleFrame: Budget
  /** WINDOW_UPDATE beyond what the DATA that we sent explains. */
  readonly windowUpdate: Budget
  readonly abortedRequest: Budget
  readonly peerReset: Budget
  readonly streamError: Budget
}

export function createFloodGuard(limits: HboneLimits, clock: Clock): FloodGuard {
  const budget = (what: string, burst: number, perSecond: number): Budget =>
    new Budget(what, burst, perSecond, clock)
  return {
    settings: budget('SETTINGS frames', limits.settingsBurst, limits.settingsPerSecond),
    ping: budget('PING frames', limits.pingBurst, limits.pingPerSecond),
    emptyData: budget('empty DATA frames', limits.emptyDataBurst, limits.emptyDataPerSecond),
    paddedData: budget('DATA frames of padding', limits.paddedDataBurst, limits.paddedDataPerSecond),
    idleFrame: budget('PRIORITY and unknown frames', limits.idleFrameBurst, limits.idleFramePerSecond),
    windowUpdate: budget('WINDOW_UPDATE frames', limits.idleFrameBurst, limits.idleFramePerSecond),
    abortedRequest: budget('requests given up', limits.abortedRequestBurst, limits.abortedRequestPerSecond),
    peerReset: budget('streams reset', limits.peerResetBurst, limits.peerResetPerSecond),
    streamError: budget('stream errors', limits.streamErrorBurst, limits.streamErrorPerSecond),
  }
}
