/**
 * A connection whose bytes are nobody's business: providers, guard, route, dial, conveyor, one record. Where the caller has not
 * been answered yet, 200 comes after the far end is connected, so that a failure is one for the caller as well.
 */
import { type Channel, type Connection, type Drain, pump, type PumpResult } from '@ambient/core'
import type { WaypointDecision } from '@ambient/policy'
import type { Authorization } from './authorization.ts'
import { connectionOf } from './connection.ts'
import type { Guard, Proof } from './guard.ts'
import { createLifeline, type Lifeline } from './lifeline.ts'
import { decideTcpRoute } from './route/decide.ts'
import type { Backend, RouteTable } from './route/ir.ts'
import type { InboundStream } from './stream.ts'
import type { Ledger } from './telemetry/ledger.ts'
import type { TcpEntry, TcpOutcome } from './telemetry/tcp-entry.ts'
import type { DispatchFailure, TcpOrder, TcpResult } from './upstream/order.ts'

export interface TcpContext {
  readonly guard: Guard
  readonly authorization: Pick<Authorization, 'connection'>
  readonly ledger: Ledger
  readonly drain: Drain
  readonly random: () => number
  table(stream: InboundStream): RouteTable
  connect(order: TcpOrder): Promise<TcpResult>
}

/** Exactly one of `accept` and `refuse` is called, once. */
export interface TcpCaller {
  /** Aborted when the caller gave up before it was answered. */
  readonly gone?: AbortSignal
  accept(): Channel
  refuse(status: 401 | 503): void
}

/** Owns the connection until its record is written. Never rejects. */
export async function passTcp(context: TcpContext, stream: InboundStream, caller: TcpCaller): Promise<void> {
  const connection = connectionOf(stream)
  const entry = context.ledger.openTcp(stream, connection)
  const lifeline = createLifeline(context.drain)
  const onGone = (): void =>
    lifeline.cut({ flags: ['DC'], error: 'client disconnected before it was answered' })
  caller.gone?.addEventListener('abort', onGone)
  if (caller.gone?.aborted === true) onGone()
  try {
    const asked = context.authorization.connection(stream, connection, lifeline.signal)
    const cleared = asked instanceof Promise ? await asked : asked
    if (cleared.kind === 'denied') refuse(cleared.denial, ['UAEX'], caller, entry, lifeline)
    else await admitAndPass({ context, stream, caller, entry, lifeline }, connection, cleared.proof)
  } finally {
    caller.gone?.removeEventListener('abort', onGone)
    lifeline.release()
  }
}

interface Passing {
  readonly context: TcpContext
  readonly stream: InboundStream
  readonly caller: TcpCaller
  readonly entry: TcpEntry
  readonly lifeline: Lifeline
}

async function admitAndPass(passing: Passing, connection: Connection, proof: Proof): Promise<void> {
  const { context, stream, caller, entry, lifeline } = passing
  const admission = context.guard.admit(stream, connection, proof)
  if (!admission.allowed) return refuse(admission.denial, [], caller, entry, lifeline)
  entry.admitted(admission.decision)
  admission.permit.onWithdrawn = denial =>
    lifeline.cut({
      flags: [],
      detail: denial.detail,
      error: 'connection closed due to policy change',
      denial,
    })
  try {
    await connectAndPump(context, stream, caller, entry, lifeline)
  } finally {
    admission.permit.release()
  }
}

/** Who left, or was cut, meanwhile was not refused. */
function refuse(
  denial: WaypointDecision,
  flags: readonly string[],
  caller: TcpCaller,
  entry: TcpEntry,
  lifeline: Lifeline,
): void {
  caller.refuse(lifeline.outcome === undefined ? 401 : 503)
  entry.close(
    lifeline.outcome ?? {
      flags,
      detail: denial.detail,
      error: `connection closed due to policy rejection: ${denial.reason}`,
      denial,
    },
  )
}

async function connectAndPump(
  context: TcpContext,
  stream: InboundStream,
  caller: TcpCaller,
  entry: TcpEntry,
  lifeline: Lifeline,
): Promise<void> {
  const table = context.table(stream)
  const backend = decideTcpRoute(table, context.random)
  if (backend.kind !== 'cluster') {
    caller.refuse(503)
    entry.close(outcomeOfMissing(backend))
    return
  }
  const { cluster } = backend
  const name = table.tcp[0]?.name ?? ''
  const result = await context.connect({
    cluster,
    caller: stream.caller,
    traceparent: stream.traceparent,
    signal: lifeline.signal,
  })
  entry.toward(cluster, name, result.endpoint)
  if (result.kind === 'failed') {
    const denied = lifeline.outcome?.denial !== undefined
    caller.refuse(denied ? 401 : 503)
    entry.close(lifeline.outcome ?? outcomeOfFailure(result))
    return
  }
  try {
    const ending = await pump(caller.accept(), result.channel, {
      signal: lifeline.signal,
      counts: entry.counts,
    })
    entry.close(outcomeOfPump(ending, lifeline))
  } finally {
    result.release()
  }
}

function outcomeOfMissing({ reason }: Exclude<Backend, { kind: 'cluster' }>): TcpOutcome {
  return { flags: ['NC'], detail: 'cluster_not_found', error: reason }
}

function outcomeOfFailure({ flags, detail, reason }: DispatchFailure): TcpOutcome {
  return { flags, detail, error: reason }
}

/** `a` of the pump is the caller's side. A reset is how applications end connections: no error, but the line says it. */
function outcomeOfPump({ ending }: PumpResult, lifeline: Lifeline): TcpOutcome {
  if (ending.kind === 'ended') return { flags: [] }
  if (ending.kind === 'aborted') return lifeline.outcome ?? { flags: ['UC'] }
  return ending.side === 'a'
    ? { flags: ['DR'], detail: 'downstream_reset' }
    : { flags: ['UR'], detail: 'upstream_reset' }
}
