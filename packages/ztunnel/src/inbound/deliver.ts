/**
 * Rooms 12 to 15 of an inbound connection, tunnel or plaintext: the guard, delivery, the conveyor, one record. The
 * client is answered only after both the guard and the application said yes.
 */
import { type Authorizer, type Channel, type Connection, type Drain, isLoopback, pump } from '@ambient/core'
import { type Dial, socketChannel } from '@ambient/core/node'
import { formatProxyHeader } from '@ambient/hbone'
import type { Socket } from 'node:net'
import { defaults } from '../defaults.ts'
import { createLifeline, type Lifeline } from '../lifeline.ts'
import { outcomeOfDelivery, outcomeOfDenial, outcomeOfPump, outcomeOfWithdrawal } from '../outcome.ts'
import type { ConnectionFacts, Ledger, LedgerEntry } from '../telemetry/ledger.ts'
import type { InboundTarget } from './target.ts'

export interface DeliveryContext {
  readonly authorizer: Authorizer
  readonly ledger: Ledger
  readonly drain: Drain
  readonly dial: Dial
  /** Deliver from the client's address where that needs no privilege. */
  readonly originalSource: boolean
}

export interface Delivery {
  readonly facts: ConnectionFacts
  readonly target: Extract<InboundTarget, { kind: 'deliver' }>
  /** Aborted when the client gave up before it was answered. */
  readonly gone?: AbortSignal
  /** Exactly one of these is called, once. */
  readonly answer: {
    accept(): Channel
    denied(): void
    unreachable(): void
  }
}

/** Owns the connection until its record is written. Rejects only before anything was answered or recorded. */
export async function deliver(context: DeliveryContext, delivery: Delivery): Promise<void> {
  const { facts, answer } = delivery
  const admission = context.authorizer.admit(facts.connection)
  const entry = context.ledger.open(facts)
  if (!admission.allowed) {
    entry.close(outcomeOfDenial(admission.denial))
    answer.denied()
    return
  }
  const lifeline = createLifeline(context.drain)
  const onGone = (): void =>
    lifeline.cut({ flag: 'CONNECT', error: 'client disconnected before it was answered' })
  admission.permit.onWithdrawn = denial => lifeline.cut(outcomeOfWithdrawal(denial))
  delivery.gone?.addEventListener('abort', onGone)
  if (delivery.gone?.aborted === true) onGone()
  try {
    await connectAndPump(context, delivery, entry, lifeline)
  } finally {
    delivery.gone?.removeEventListener('abort', onGone)
    admission.permit.release()
    lifeline.release()
  }
}

async function connectAndPump(
  context: DeliveryContext,
  delivery: Delivery,
  entry: LedgerEntry,
  lifeline: Lifeline,
): Promise<void> {
  const { answer, target, facts } = delivery
  let socket: Socket
  try {
    socket = await context.dial({
      ...dialAddress(context, target, facts.connection),
      timeoutMs: defaults.connectTimeoutMs,
      signal: lifeline.signal,
    })
  } catch (error) {
    entry.close(lifeline.outcome ?? outcomeOfDelivery(error))
    if (lifeline.outcome?.flag === 'DENY') answer.denied()
    else answer.unreachable()
    return
  }
  socket.on('error', () => {})
  if (target.announce !== undefined) {
    const { source } = facts.connection
    socket.write(
      formatProxyHeader({
        addresses: { source, destination: target.announce },
        ...(source.identity === undefined ? {} : { sourceIdentity: source.identity.uri }),
      }),
    )
  }
  const result = await pump(answer.accept(), socketChannel(socket), {
    signal: lifeline.signal,
    counts: entry.counts,
  })
  entry.close(outcomeOfPump(result, lifeline))
}

/** The client's own address as source, where binding it needs no privilege and does not collide with the target. */
function dialAddress(
  context: DeliveryContext,
  target: Delivery['target'],
  { source }: Connection,
): { host: string; port: number; localAddress?: string } {
  const { address, port } = target.hop
  if (target.onLoopback) {
    const loopback = address.includes(':') ? '::1' : '127.0.0.1'
    return { host: loopback, port, localAddress: loopback }
  }
  const isSpoofable = context.originalSource && isLoopback(source.address) && source.address !== address
  return { host: address, port, ...(isSpoofable ? { localAddress: source.address } : {}) }
}
