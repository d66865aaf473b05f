/**
 * Room 15, the ledger: one entry per connection, opened once, closed once, with live byte counts. Closing writes the
 * access-log line, the counters and core's record; nothing here ever throws into the data path.
 */
import {
  type ByteCounts,
  type Clock,
  type Connection,
  type ConnectionRecord,
  type Denial,
  formatHostPort,
  type ResponseFlag,
  type SpiffeId,
  topics,
} from '@ambient/core'
import { Bare, type LogSink, type MetricsRegistry, type Party } from '@ambient/core/proxy'
import { createTrafficMetrics, trafficLabels, type TrafficMetrics } from './traffic.ts'

/** What is known of a connection when it is opened. */
export interface ConnectionFacts {
  readonly connection: Connection
  readonly source: Party
  readonly destination: Party
  readonly securityPolicy: 'mutual_tls' | 'unknown'
  /** Proven on the wire, for the log; absent in plaintext. */
  readonly sourceIdentity?: SpiffeId | undefined
  readonly destinationIdentity?: SpiffeId | undefined
  /** Next hop, `dst.addr`. */
  readonly nextHop: string
  /** The target inside the tunnel, `dst.hbone_addr`. */
  readonly tunnelTarget?: string | undefined
}

export interface ConnectionOutcome {
  readonly flag: ResponseFlag
  /** Absent on success. */
  readonly error?: string | undefined
  readonly denial?: Denial | undefined
  /** A side that was reset, which is not an error of ours; kept in the line so that a cut transfer can be told. */
  readonly reset?: 'source' | 'destination' | undefined
}

export interface LedgerEntry {
  /** Fill these while copying: client to server is `aToB`. */
  readonly counts: ByteCounts
  readonly facts: ConnectionFacts
  /** Writes the one record. Later calls do nothing. */
  close(outcome: ConnectionOutcome): void
}

export interface Ledger {
  open(facts: ConnectionFacts): LedgerEntry
  /** A connection that failed before anything was known of it: one line, no counters. */
  refused(facts: {
    readonly source: { readonly address: string; readonly port: number }
    readonly destination: { readonly address: string; readonly port: number }
    readonly direction: 'inbound' | 'outbound'
    readonly error: string
  }): void
  socketOpened(reporter: 'source' | 'destination'): () => void
  /** What is open now. */
  connections(): readonly ConnectionFacts[]
  /** Ends its part in scrapes; entries that are still open can be closed. */
  release(): void
}

export const succeeded: ConnectionOutcome = Object.freeze({ flag: '-' })

export function createLedger(options: {
  readonly metrics: MetricsRegistry
  readonly log: LogSink
  readonly clock: Clock
}): Ledger {
  const traffic = createTrafficMetrics(options.metrics)
  const access = options.log.scope('access')
  const open = new Set<Entry>()
  const release = options.metrics.beforeScrape(() => {
    for (const entry of open) entry.flushBytes()
  })
  return {
    open(facts) {
      const entry = new Entry(facts, traffic, options.clock, (record, fields) => {
        open.delete(entry)
        if (record.error === undefined) access.info(fields, 'connection complete')
        else access.error(fields, 'connection complete')
        if (topics.connection.hasSubscribers) topics.connection.publish(record)
      })
      open.add(entry)
      if (options.log.enabled('access', 'debug')) access.debug(openedFields(facts), 'connection opened')
      return entry
    },
    refused({ source, destination, direction, error }) {
      access.warn(
        {
          'src.addr': new Bare(formatHostPort(source.address, source.port)),
          'dst.addr': new Bare(formatHostPort(destination.address, destination.port)),
          direction,
          error,
        },
        'connection failed',
      )
    },
    socketOpened(reporter) {
      traffic.sockets(reporter, 1)
      let isOpen = true
      return () => {
        if (isOpen) traffic.sockets(reporter, -1)
        isOpen = false
      }
    },
    connections: () => [...open].map(entry => entry.facts),
    release,
  }
}

class Entry implements LedgerEntry {
  readonly facts: ConnectionFacts
  readonly counts: ByteCounts = { aToB: 0, bToA: 0 }
  readonly #traffic: TrafficMetrics
  readonly #clock: Clock
  readonly #openedAt: number
  readonly #labels: readonly string[]
  readonly #onClose: (record: ConnectionRecord, fields: Record<string, unknown>) => void
  #reported: ByteCounts = { aToB: 0, bToA: 0 }
  #closed = false

  constructor(
    facts: ConnectionFacts,
    traffic: TrafficMetrics,
    clock: Clock,
    onClose: (record: ConnectionRecord, fields: Record<string, unknown>) => void,
  ) {
    this.facts = facts
    this.#traffic = traffic
    this.#clock = clock
    this.#onClose = onClose
    this.#openedAt = clock.monotonic()
    this.#labels = this.#labelsWith('-')
    traffic.opened(this.#labels)
  }

  flushBytes(): void {
    const received = this.counts.aToB - this.#reported.aToB
    const sent = this.counts.bToA - this.#reported.bToA
    if (received > 0) this.#traffic.received(received, this.#labels)
    if (sent > 0) this.#traffic.sent(sent, this.#labels)
    this.#reported = { ...this.counts }
  }

  close(outcome: ConnectionOutcome): void {
    if (this.#closed) return
    this.#closed = true
    this.flushBytes()
    const failed = outcome.flag !== '-'
    this.#traffic.closed(failed ? this.#labelsWith(outcome.flag) : this.#labels, failed)
    const durationMs = this.#clock.monotonic() - this.#openedAt
    const record: ConnectionRecord = {
      connection: this.facts.connection,
      securityPolicy: this.facts.securityPolicy,
      receivedBytes: this.counts.aToB,
      sentBytes: this.counts.bToA,
      durationMs,
      flag: outcome.flag,
      ...(outcome.error === undefined ? {} : { error: outcome.error }),
      ...(outcome.denial === undefined ? {} : { denial: outcome.denial }),
    }
    this.#onClose(record, closedFields(this.facts, this.counts, durationMs, outcome))
  }

  #labelsWith(flag: ResponseFlag): readonly string[] {
    const { connection, source, destination, securityPolicy } = this.facts
    const reporter = connection.direction === 'inbound' ? 'destination' : 'source'
    return trafficLabels(
      { reporter, source, destination, service: connection.destination.service, securityPolicy },
      flag,
    )
  }
}

/** ztunnel's fields in ztunnel's order; absent ones are left out. */
function openedFields(facts: ConnectionFacts): Record<string, unknown> {
  const { connection, source, destination } = facts
  const fields: Record<string, unknown> = {
    'src.addr': new Bare(formatHostPort(connection.source.address, connection.source.port)),
  }
  const put = (key: string, value: string | undefined): void => {
    if (value !== undefined && value !== '') fields[key] = value
  }
  put('src.workload', source.logName)
  put('src.namespace', source.namespace)
  put('src.identity', facts.sourceIdentity?.uri)
  put('src.cluster', source.cluster)
  fields['dst.addr'] = new Bare(facts.nextHop)
  if (facts.tunnelTarget !== undefined) fields['dst.hbone_addr'] = new Bare(facts.tunnelTarget)
  put('dst.service', connection.destination.service?.hostname)
  put('dst.workload', destination.logName)
  put('dst.namespace', destination.namespace)
  put('dst.identity', facts.destinationIdentity?.uri)
  put('dst.cluster', destination.cluster)
  fields['direction'] = connection.direction
  return fields
}

function closedFields(
  facts: ConnectionFacts,
  counts: ByteCounts,
  durationMs: number,
  outcome: ConnectionOutcome,
): Record<string, unknown> {
  const fields = openedFields(facts)
  const inbound = facts.connection.direction === 'inbound'
  fields['bytes_sent'] = inbound ? counts.bToA : counts.aToB
  fields['bytes_recv'] = inbound ? counts.aToB : counts.bToA
  fields['duration'] = `${Math.round(durationMs)}ms`
  if (outcome.reset !== undefined) fields['reset'] = outcome.reset
  const { denial } = outcome
  if (denial !== undefined) {
    fields['policy'] = denial.by?.policy ?? denial.considered.join(',')
    if (denial.by?.rule !== undefined) fields['rule'] = denial.by.rule
  }
  if (outcome.error !== undefined) fields['error'] = outcome.error
  return fields
}
