/** The ledger's entry of one TCP connection: live byte counts, one line and one record when it ends. */
import { type ByteCounts, type Connection, type Denial, formatHostPort, topics } from '@ambient/core'
import type { WaypointDecision } from '@ambient/policy'
import { clusterName } from '../route/cluster-name.ts'
import type { ClusterEndpoint } from '../route/endpoints.ts'
import type { ClusterRef } from '../route/ir.ts'
import type { InboundStream } from '../stream.ts'
import type { AccessEntry } from './access-log.ts'
import { type Peers, serviceOf, tcpLabels } from './labels.ts'
import type { LedgerContext } from './ledger.ts'

export interface TcpOutcome {
  /** Envoy's: `-`, `UF`, `UH`, `NC`, `DC`, … */
  readonly flags: readonly string[]
  /** `%CONNECTION_TERMINATION_DETAILS%`. */
  readonly detail?: string | undefined
  /** Why, in words; absent when it ended well. */
  readonly error?: string | undefined
  readonly denial?: WaypointDecision | undefined
}

export interface TcpEntry {
  readonly connection: Connection
  /** Fill these while copying: client to server is `aToB`. */
  readonly counts: ByteCounts
  /** Where it goes, once that is known; before `close`. */
  toward(cluster: ClusterRef, routeName: string, endpoint: ClusterEndpoint | undefined): void
  /** The decision that let it in. */
  admitted(decision: WaypointDecision): void
  /** Brings the counters up to date. */
  flushBytes(): void
  /** Writes everything, once. */
  close(outcome: TcpOutcome): void
}

export function openTcpEntry(
  context: LedgerContext,
  stream: InboundStream,
  connection: Connection,
  onClosed: () => void,
): TcpEntry {
  return new Entry(context, stream, connection, onClosed)
}

class Entry implements TcpEntry {
  readonly connection: Connection
  readonly counts: ByteCounts = { aToB: 0, bToA: 0 }
  readonly #context: LedgerContext
  readonly #stream: InboundStream
  readonly #onClosed: () => void
  readonly #startMs: number
  readonly #startedAt: number
  #cluster: ClusterRef | undefined
  #routeName: string | undefined
  #admitted: WaypointDecision | undefined
  #endpoint: ClusterEndpoint | undefined
  /** Set with the first number that is reported; opened and closed agree on all but the flags. */
  #peers: Peers | undefined
  #reported: ByteCounts = { aToB: 0, bToA: 0 }
  #isClosed = false

  constructor(context: LedgerContext, stream: InboundStream, connection: Connection, onClosed: () => void) {
    this.#context = context
    this.#stream = stream
    this.connection = connection
    this.#onClosed = onClosed
    this.#startMs = context.clock.now()
    this.#startedAt = context.clock.monotonic()
  }

  toward(cluster: ClusterRef, routeName: string, endpoint: ClusterEndpoint | undefined): void {
    this.#cluster = cluster
    this.#routeName = routeName
    this.#endpoint = endpoint
    if (endpoint !== undefined) this.#open()
  }

  admitted(decision: WaypointDecision): void {
    this.#admitted = decision
  }

  flushBytes(): void {
    const { metrics } = this.#context
    const received = this.counts.aToB - this.#reported.aToB
    const sent = this.counts.bToA - this.#reported.bToA
    if (received === 0 && sent === 0) return
    const labels = tcpLabels(this.#open(), '-')
    if (received > 0) metrics.received(received, labels)
    if (sent > 0) metrics.sent(sent, labels)
    this.#reported = { ...this.counts }
  }

  close(outcome: TcpOutcome): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#onClosed()
    this.flushBytes()
    const { flags, denial } = outcome
    this.#context.metrics.closed(tcpLabels(this.#open(), flags.length === 0 ? '-' : flags.join(',')))
    const durationMs = this.#context.clock.monotonic() - this.#startedAt
    const decision = denial ?? this.#admitted
    this.#context.access(this.#stream, this.#entry(outcome, durationMs), decision)
    if (denial !== undefined) this.#context.denied(this.connection, denial, {})
    if (decision?.audited !== undefined || decision?.dryRun !== undefined)
      this.#context.marked(this.connection, decision, {})
    this.#publish(outcome, durationMs)
  }

  #open(): Peers {
    if (this.#peers !== undefined) return this.#peers
    const { directory } = this.#context
    this.#peers = {
      source: this.#context.source(this.#stream),
      destination: this.#context.destination(this.#endpoint?.workload),
      service: serviceOf(this.#cluster, this.#stream.target, directory),
    }
    this.#context.metrics.opened(tcpLabels(this.#peers, '-'))
    return this.#peers
  }

  #entry({ flags, detail, error }: TcpOutcome, durationMs: number): AccessEntry {
    const { caller, destination } = this.#stream
    const endpoint = this.#endpoint
    return {
      startMs: this.#startMs,
      status: 0,
      flags,
      terminationDetail: detail,
      transportFailure: flags.includes('UF') ? error : undefined,
      receivedBytes: this.counts.aToB,
      sentBytes: this.counts.bToA,
      durationMs,
      upstreamHost: endpoint === undefined ? undefined : formatHostPort(endpoint.address, endpoint.port),
      upstreamCluster:
        this.#cluster === undefined ? undefined : clusterName(this.#cluster, 'inbound-vip', 'tcp'),
      downstreamLocal: formatHostPort(destination.address, destination.port),
      downstreamRemote: formatHostPort(caller.address, caller.port),
      routeName: this.#routeName,
    }
  }

  #publish({ error, denial }: TcpOutcome, durationMs: number): void {
    if (!topics.connection.hasSubscribers) return
    topics.connection.publish({
      connection: this.connection,
      securityPolicy: 'mutual_tls',
      receivedBytes: this.counts.aToB,
      sentBytes: this.counts.bToA,
      durationMs,
      flag: denial !== undefined ? 'DENY' : error === undefined ? '-' : 'CONNECT',
      ...(error === undefined ? {} : { error }),
      ...(denial === undefined ? {} : { denial: denialOf(denial) }),
    })
  }
}

function denialOf({ reason, by, considered }: WaypointDecision): Denial {
  return { allowed: false, reason, considered, ...(by === undefined ? {} : { by }) }
}
