/**
 * CRL_PATH of a proxy: peers whose certificate was withdrawn are refused, and those that live are judged again at each
 * change.
 */
import { type Clock, isAmbientError, type Logger, type Meter } from '@ambient/core'
import { createCrlFile, type CrlFile } from './crl-file.ts'
import type { CrlMode } from './judge.ts'
import { nothingRevoked, type Revocations } from './revocations.ts'

/** Who writes a connection down: the side that was called, or the side that calls. */
export type Reporter = 'destination' | 'source'

export interface RevocationGuardOptions {
  /** The lists and what is made of them; `undefined`: nothing is ever revoked, and nothing counted. */
  readonly config: { readonly path: string; readonly mode: CrlMode } | undefined
  /** Lists changed: live peers are to be judged again. Returns how many sessions ended. */
  readonly recheck: () => number
  readonly clock: Clock
  readonly logger: Logger
  readonly meter: Meter
}

export interface RevocationGuard {
  /** For the manager: what is known of withdrawn certificates, from `start` on. */
  readonly revocations: Revocations
  /** Reads the lists and follows them. Resolves after the first reading, whatever came of it. */
  start(): Promise<void>
  /** Counts a new connection that failed because its peer is revoked; one handshake counts once. */
  failed(reporter: Reporter, error: unknown): void
  close(): Promise<void>
}

export function createRevocationGuard(options: RevocationGuardOptions): RevocationGuard {
  const { config, recheck, clock, logger, meter } = options
  if (config === undefined) return noGuard
  const rejections = rejectionCounter(meter)
  const counted = new WeakSet<Error>()
  let file: CrlFile | undefined
  const onChange = (): void => {
    const ended = recheck()
    if (ended > 0) logger.warn({ sessions: ended }, 'sessions ended, their peers are revoked')
  }
  return {
    revocations: { problemOf: (path, at) => file?.revocations.problemOf(path, at) },
    start() {
      file ??= createCrlFile({ ...config, clock, logger, meter, onChange })
      return file.ready
    },
    failed(reporter, error) {
      if (!saysRevoked(error) || counted.has(error)) return
      counted.add(error)
      rejections.add(1, [reporter])
    },
    close: async () => file?.close(),
  }
}

const noGuard: RevocationGuard = Object.freeze({
  revocations: nothingRevoked,
  start: async () => {},
  failed: () => {},
  close: async () => {},
})

/** Errors of handshakes bear the problem of the verdict that ended them. */
function saysRevoked(error: unknown): error is Error {
  return isAmbientError(error) && 'problem' in error && error.problem === 'revoked'
}

/** ztunnel's two counters. Every session of ours can be judged again, so that the second stays at zero. */
function rejectionCounter(meter: Meter): ReturnType<Meter['counter']> {
  const labels = ['reporter']
  const rejections = meter.counter({
    name: 'istio_crl_policy_rejections',
    help: 'New connections whose peer was refused for a revoked certificate (unstable)',
    labels,
  })
  const untracked = meter.counter({
    name: 'istio_crl_untracked_connections',
    help: 'Connections that cannot be judged again when revocation lists change (unstable)',
    labels,
  })
  for (const reporter of ['destination', 'source'])
    for (const counter of [rejections, untracked]) counter.add(0, [reporter])
  return rejections
}
