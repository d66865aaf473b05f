/** How a transport is ended: what was written leaves, the peer gets a moment to close, then it is destroyed. */
import type { Duplex } from 'node:stream'
import type { Clock, Timer } from '@ambient/core'

export interface FarewellLimits {
  /** How long the peer has to close after our last byte left. */
  readonly lingerMs: number
  /** How long bytes may wait without one of them leaving. */
  readonly stallMs: number
}

/** Owns the transport from now on. Its `'close'` is the end of it. */
export function sayFarewell(transport: Duplex, clock: Clock, limits: FarewellLimits): void {
  if (transport.destroyed) return
  let timer: Timer | undefined
  let peerEnded = transport.readableEnded
  let left = transport.writableLength
  let stalledMs = 0
  const wait = (): void => {
    timer?.cancel()
    timer = clock.after(limits.lingerMs, check, { keepAlive: true })
  }
  const check = (): void => {
    if (transport.writableFinished) return void transport.destroy()
    stalledMs = transport.writableLength < left ? 0 : stalledMs + limits.lingerMs
    left = transport.writableLength
    if (stalledMs >= limits.stallMs) transport.destroy()
    else wait()
  }
  transport.once('close', () => timer?.cancel())
  transport.once('finish', () => {
    if (peerEnded) transport.destroy()
    else wait()
  })
  transport.once('end', () => {
    peerEnded = true
    if (transport.writableFinished) transport.destroy()
  })
  wait()
  transport.end()
  transport.resume()
}
