/** The ledger's entry of one request: gathers what the rooms say, and writes it down when the last byte is gone. */
import { type Connection, formatHostPort } from '@ambient/core'
import type { WaypointDecision } from '@ambient/policy'
import { connectionOf } from '../connection.ts'
import type { ExchangeObserver, ExchangeOutcome, ExchangeStart } from '../http/desk.ts'
import type { HttpRoute } from '../route/ir.ts'
import type { RouteDecision } from '../route/decide.ts'
import { clusterName } from '../route/cluster-name.ts'
import type { InboundStream } from '../stream.ts'
import type { DispatchResult } from '../upstream/order.ts'
import type { AccessEntry } from './access-log.ts'
import { type Peers, serviceOf } from './labels.ts'
import type { LedgerContext } from './ledger.ts'
import { type RequestRecord, requestTopic } from './records.ts'
import { spanOf } from './span.ts'
import { continueTrace, formatTraceparent, type TraceContext } from './trace-context.ts'

export function observeExchange(context: LedgerContext, stream: InboundStream): ExchangeObserver {
  return new ExchangeEntry(context, stream)
}

class ExchangeEntry implements ExchangeObserver {
  readonly #context: LedgerContext
  readonly #stream: InboundStream
  readonly #startMs: number
  readonly #startedAt: number
  #request: ExchangeStart | undefined
  #path: string | undefined
  #trace: TraceContext | undefined
  #decision: WaypointDecision | undefined
  #routing: RouteDecision | undefined
  #result: DispatchResult | undefined
  #isDone = false

  constructor(context: LedgerContext, stream: InboundStream) {
    this.#context = context
    this.#stream = stream
    this.#startMs = context.clock.now()
    this.#startedAt = context.clock.monotonic()
  }

  start(request: ExchangeStart): string | undefined {
    this.#request = request
    // Rooms may edit the head in place; the log wants what came.
    this.#path = this.#context.shownPath(this.#stream, request.head.path)
    if (this.#context.spans === undefined) return undefined
    const { headers } = request.head
    this.#trace = continueTrace(
      { traceparent: headers.get('traceparent'), tracestate: headers.get('tracestate') },
      this.#context.config.tracing,
    )
    return formatTraceparent(this.#trace)
  }

  authorized(decision: WaypointDecision): void {
    this.#decision = decision
  }

  routed(decision: RouteDecision): void {
    this.#routing = decision
  }

  dispatched(result: DispatchResult): void {
    this.#result = result
  }

  done(outcome: ExchangeOutcome): void {
    if (this.#isDone) return
    this.#isDone = true
    const { metrics, spans, clock } = this.#context
    const durationMs = clock.monotonic() - this.#startedAt
    const peers = this.#peers()
    const entry = this.#entry(outcome, durationMs)
    this.#context.access(this.#stream, entry, this.#decision)
    this.#tellDecision(entry)
    metrics.request(
      {
        durationMs,
        requestBytes: outcome.requestHeadBytes + outcome.receivedBytes,
        responseBytes: outcome.responseHeadBytes + outcome.sentBytes,
      },
      this.#context.requestLabels(peers, {
        protocol: this.#request?.isGrpc === true ? 'grpc' : 'http',
        status: outcome.status,
        flags: flagsOf(outcome),
        grpcStatus: outcome.grpcStatus,
      }),
    )
    const trace = this.#trace
    if (trace?.isSampled === true)
      spans?.export(
        spanOf({
          context: this.#context,
          trace,
          entry,
          outcome,
          peers,
          stream: this.#stream,
          route: this.#route(),
          peerAddress: this.#stream.caller.address,
        }),
      )
    this.#publish(entry, peers, trace)
  }

  #tellDecision({ method = '', path = '', authority = '' }: AccessEntry): void {
    const decision = this.#decision
    if (decision === undefined) return
    const isMarked = decision.audited !== undefined || decision.dryRun !== undefined
    if (decision.allowed && !isMarked) return
    const what = { method, path: pathOnly(path), authority }
    if (!decision.allowed) this.#context.denied(this.#connection(), decision, what)
    if (isMarked) this.#context.marked(this.#connection(), decision, what)
  }

  #publish(entry: AccessEntry, peers: Peers, trace: TraceContext | undefined): void {
    if (!requestTopic.hasSubscribers) return
    requestTopic.publish({
      ...entry,
      gateway: this.#context.config.gateway,
      caller: this.#stream.caller.identity,
      peers,
      attempts: this.#result?.attempts ?? 0,
      ...recordOf(this.#decision),
      ...(trace === undefined ? {} : { traceId: trace.traceId }),
    })
  }

  #entry(outcome: ExchangeOutcome, durationMs: number): AccessEntry {
    const { head, protocol } = this.#request ?? {}
    const { caller, destination } = this.#stream
    const endpoint = this.#result?.endpoint
    const serviceMs = outcome.responseHeaders?.get('x-envoy-upstream-service-time')
    return {
      startMs: this.#startMs,
      method: head?.method,
      path: this.#path,
      protocol,
      status: outcome.status,
      flags: outcome.flags,
      detail: outcome.detail,
      transportFailure: transportFailure(this.#result),
      receivedBytes: outcome.receivedBytes,
      sentBytes: outcome.sentBytes,
      durationMs,
      upstreamServiceMs: serviceMs === undefined ? undefined : Number(serviceMs),
      forwardedFor: head?.headers.get('x-forwarded-for'),
      userAgent: head?.headers.get('user-agent'),
      requestId: head?.headers.get('x-request-id'),
      authority: head?.authority,
      upstreamHost: endpoint === undefined ? undefined : formatHostPort(endpoint.address, endpoint.port),
      upstreamCluster: this.#clusterName(),
      downstreamLocal: formatHostPort(destination.address, destination.port),
      downstreamRemote: formatHostPort(caller.address, caller.port),
      routeName: this.#route()?.name,
    }
  }

  #route(): HttpRoute | undefined {
    const routing = this.#routing
    return routing === undefined || routing.kind === 'not-found' ? undefined : routing.route
  }

  #clusterName(): string | undefined {
    const cluster = this.#routing?.kind === 'forward' ? this.#routing.cluster : undefined
    return cluster === undefined ? undefined : clusterName(cluster, 'inbound-vip', 'http')
  }

  #peers(): Peers {
    const { directory } = this.#context
    const cluster = this.#routing?.kind === 'forward' ? this.#routing.cluster : undefined
    return {
      source: this.#context.source(this.#stream),
      destination: this.#context.destination(this.#result?.endpoint?.workload),
      service: serviceOf(cluster, this.#stream.target, directory),
    }
  }

  #connection(): Connection {
    return connectionOf(this.#stream)
  }
}

/** Only what was decided: who was asked for it, and what they made of the request, is nobody else's. */
function recordOf(
  decision: WaypointDecision | undefined,
): Pick<RequestRecord, 'denial' | 'audited' | 'dryRun'> {
  if (decision === undefined) return {}
  const { allowed, reason, detail, by, considered, audited, dryRun } = decision
  const denial = { allowed, reason, detail, considered, ...(by === undefined ? {} : { by }) }
  return {
    ...(allowed ? {} : { denial }),
    ...(audited === undefined ? {} : { audited }),
    ...(dryRun === undefined ? {} : { dryRun }),
  }
}

function transportFailure(result: DispatchResult | undefined): string | undefined {
  return result?.kind === 'failed' && result.flag === 'UF' ? result.reason : undefined
}

function flagsOf({ flags }: ExchangeOutcome): string {
  return flags.length === 0 ? '-' : flags.join(',')
}

/** Queries may hold what is nobody's business in a log of denials. */
function pathOnly(path: string): string {
  return path.split('?', 1)[0] ?? ''
}
