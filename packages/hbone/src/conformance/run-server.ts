/** Asks an HBONE server every question that there is, one after the other. */
import {
  type Clock,
  type Credentials,
  formatHostPort,
  isLoopback,
  messageOf,
  type SpiffeId,
  systemClock,
} from '@ambient/core'
import { dial } from '@ambient/core/node'
import { HboneError } from '../errors.ts'
import { reachByTcp } from '../reach.ts'
import { resolveLimits } from '../limits.ts'
import { handshakeAsClient } from '../tls.ts'
import type { SocketAddress } from '../tunnel.ts'
import { Origin } from './origin.ts'
import { byteCases } from './server-bytes.ts'
import type { ServerCase } from './server-case.ts'
import { connectCases } from './server-connect.ts'
import { errorCases } from './server-errors.ts'
import { http2Cases } from './server-http2.ts'
import { tlsCases } from './server-tls.ts'
import { answer, isSuccess, Target, type TargetFacts } from './target.ts'
import { type ConformanceCase, type ConformanceResult, selectCases, Verdict } from './verdict.ts'

/** Peers answer in milliseconds; one that is asked over the sea, or is busy, in a second. */
const DEFAULT_TIMEOUT_MS = 3_000
const ECHO_PROBE = 'is anybody there?'

const cases: readonly ServerCase[] = [
  ...tlsCases,
  ...http2Cases,
  ...connectCases,
  ...byteCases,
  ...errorCases,
]

/** What `runServerConformance` asks, in its order. */
export const serverCases: readonly ConformanceCase[] = cases.map(({ id, title, requirement, level }) =>
  Object.freeze({ id, title, requirement, level }),
)

export interface ServerConformanceOptions {
  readonly target: SocketAddress
  readonly credentials: Credentials
  /** The server must prove one of these. Default: any identity of our trust domain. */
  readonly expect?: readonly SpiffeId[]
  /**
   * A target that the server accepts and that echoes. Default, for a server on a loopback address: an echo of our own on
   * 127.0.0.1, which also lets the cases look at what arrives there.
   */
  readonly authority?: string
  /** Credentials of a CA that the server does not know, to see that they are refused. */
  readonly foreign?: Credentials
  /** Ids of the cases to run. Default: all. */
  readonly cases?: readonly string[]
  /** For each thing that the server has to do. Default 3,000. */
  readonly timeoutMs?: number
  readonly onResult?: (result: ConformanceResult) => void
  /** No case is begun after it. */
  readonly signal?: AbortSignal
  readonly clock?: Clock
}

/**
 * Runs the cases in their order. A server that cannot be reached, does not prove who it should be, or refuses the tunnel
 * to the echo, is no finding but an error.
 * @throws HboneError OPTION, UNREACHABLE, TIMEOUT, TLS, PEER_IDENTITY or REFUSED; the signal's reason.
 */
export async function runServerConformance(
  options: ServerConformanceOptions,
): Promise<readonly ConformanceResult[]> {
  const selected = selectCases(cases, options.cases)
  const clock = options.clock ?? systemClock
  const { target: to, credentials, authority, timeoutMs = DEFAULT_TIMEOUT_MS } = options
  await prove(options, clock)
  const origin = authority === undefined ? new Origin(clock) : undefined
  if (origin !== undefined && !isLoopback(to.address)) throw needsAuthority(to)
  try {
    const facts: TargetFacts = {
      to,
      credentials,
      foreign: options.foreign,
      authority: authority ?? (await origin?.start('127.0.0.1')) ?? '',
      origin,
      clock,
      timeoutMs,
    }
    const isOurs = await probe(new Target(facts), origin)
    const target = new Target({ ...facts, origin: isOurs ? origin : undefined })
    const results: ConformanceResult[] = []
    for (const one of selected) {
      options.signal?.throwIfAborted()
      const result = await runCase(one, () => one.run(target), clock)
      target.clear()
      results.push(result)
      options.onResult?.(result)
    }
    return results
  } finally {
    await origin?.close()
  }
}

/** One case from its beginning to its verdict. Never rejects. */
export async function runCase(
  { id, title, requirement, level }: ConformanceCase,
  run: () => Promise<void>,
  clock: Clock,
): Promise<ConformanceResult> {
  const from = clock.monotonic()
  const facts = { id, title, requirement, level }
  const ms = (): number => Math.round(clock.monotonic() - from)
  try {
    await run()
    return { ...facts, outcome: 'pass', detail: '', ms: ms() }
  } catch (error) {
    const outcome = error instanceof Verdict ? error.outcome : 'fail'
    return { ...facts, outcome, detail: messageOf(error), ms: ms() }
  }
}

/** Who is there, before anything else is asked. */
async function prove({ target, credentials, expect }: ServerConformanceOptions, clock: Clock): Promise<void> {
  const limits = resolveLimits()
  const request = { credentials, to: target, expect: expect ?? [], authority: '' }
  const { carrier } = await reachByTcp(dial, limits)(request, undefined)
  const proven = await handshakeAsClient(carrier, {
    credentials,
    expect: expect === undefined ? { kind: 'own-trust-domain' } : { kind: 'one-of', ids: expect },
    timeoutMs: limits.handshakeMs,
    clock,
  })
  proven.socket.destroy()
}

/** Whether the server dials our echo. What else may be wrong with it is for the cases to say. */
async function probe(target: Target, origin: Origin | undefined): Promise<boolean> {
  try {
    const wire = await target.session()
    const stream = wire.request(target.head)
    const status = await answer(wire, stream)
    if (!isSuccess(status)) throw refused(target, status)
    await target.echoes(wire, stream, ECHO_PROBE)
  } catch (error) {
    if (!(error instanceof Verdict)) throw error
  } finally {
    target.clear()
  }
  return (origin?.arrivals ?? 0) > 0
}

function refused(target: Target, status: string): HboneError {
  const code = /^[0-9]{3}$/.test(status) ? { status: Number(status) } : {}
  return new HboneError(
    'AMBIENT_E_HBONE_REFUSED',
    `${target.name} answered CONNECT ${target.authority} with ${status}: it must let us reach a target that echoes; allow this one, or name another (authority)`,
    code,
  )
}

function needsAuthority(to: SocketAddress): HboneError {
  return new HboneError(
    'AMBIENT_E_HBONE_OPTION',
    `authority: ${formatHostPort(to.address, to.port)} is not on this machine and cannot reach an echo of ours: name a target that it accepts and that echoes`,
    { layer: 'config' },
  )
}
