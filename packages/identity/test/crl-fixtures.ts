/** Revocation lists with any fault, and a clock that says when somebody begins to wait. */
import 'reflect-metadata'
import { webcrypto } from 'node:crypto'
import type { Clock } from '@ambient/core'
import { createManualClock, type ManualClock } from '@ambient/core/testing'
import { type Extension, X509CrlGenerator } from '@peculiar/x509'
import { formatPem } from '../src/x509/pem.ts'
import { HOUR, type Made, NOW } from './fixtures.ts'

const P256 = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }

export interface CrlParts {
  readonly serials?: readonly string[]
  readonly thisUpdate?: number
  /** `null`: none is named. */
  readonly nextUpdate?: number | null
  readonly extensions?: readonly Extension[]
  readonly entryExtensions?: readonly Extension[]
  /** Signs in the issuer's name. */
  readonly keys?: webcrypto.CryptoKeyPair
}

/** PEM. */
export async function crlOf(issuer: Made, parts: CrlParts = {}): Promise<string> {
  const { serials = [], thisUpdate = NOW - HOUR, nextUpdate = NOW + HOUR } = parts
  const crl = await X509CrlGenerator.create(
    {
      issuer: issuer.subject,
      thisUpdate: new Date(thisUpdate),
      ...(nextUpdate === null ? {} : { nextUpdate: new Date(nextUpdate) }),
      entries: serials.map(serialNumber => ({
        serialNumber,
        revocationDate: new Date(thisUpdate),
        ...(parts.entryExtensions === undefined ? {} : { extensions: [...parts.entryExtensions] }),
      })),
      ...(parts.extensions === undefined ? {} : { extensions: [...parts.extensions] }),
      signingKey: (parts.keys ?? issuer.keys).privateKey,
      signingAlgorithm: P256,
    },
    webcrypto,
  )
  return formatPem('X509 CRL', new Uint8Array(crl.rawData))
}

export const derOf = (pem: string): Uint8Array => Buffer.from(pem.replace(/-----[^-]+-----/g, ''), 'base64')

export interface WatchedClock extends Clock, Pick<ManualClock, 'advance' | 'pending'> {
  /** The next timer of this length begins, or waits already. */
  armed(delayMs: number): Promise<void>
}

/** A manual clock; `armed` is how a test knows that a change of a folder was noticed. */
export function createWatchedClock(startMs = NOW): WatchedClock {
  const clock = createManualClock(startMs)
  const waiting = new Map<number, number>()
  const told: { delayMs: number; resolve: () => void }[] = []
  const tell = (): void => {
    for (const [index, { delayMs, resolve }] of [...told.entries()].reverse()) {
      if ((waiting.get(delayMs) ?? 0) === 0) continue
      told.splice(index, 1)
      resolve()
    }
  }
  const count = (delayMs: number, by: number): void => {
    waiting.set(delayMs, (waiting.get(delayMs) ?? 0) + by)
  }
  return {
    now: clock.now,
    monotonic: clock.monotonic,
    advance: clock.advance,
    get pending() {
      return clock.pending
    },
    after(delayMs, run, options) {
      let isWaiting = true
      const settle = (): void => {
        if (isWaiting) count(delayMs, -1)
        isWaiting = false
      }
      const ends = (then: () => void) => () => {
        settle()
        then()
      }
      const timer = clock.after(delayMs, ends(run), options)
      count(delayMs, 1)
      tell()
      return { cancel: ends(() => timer.cancel()) }
    },
    armed: delayMs =>
      new Promise(resolve => {
        told.push({ delayMs, resolve })
        tell()
      }),
  }
}
