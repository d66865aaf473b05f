/**
 * Room 15 of the waypoint: one entry per request and per TCP connection, closed once. Closing writes the access-log
 * line, the metrics, the span and the record; nothing here ever throws into the data path.
 */
import {
  type Clock,
  type Connection,
  type Counter,
  type Directory,
  formatHostPort,
  type Logger,
  messageOf,
  type SpiffeId,
  topics,
  type Workload,
} from '@ambient/core'
import { type LogSink, type MetricsRegistry, type Party, unknownParty } from '@ambient/core/proxy'
import type { WaypointDecision } from '@ambient/policy'
import type { WaypointConfig } from '../config/config.ts'
import type { ExchangeObserver } from '../http/desk.ts'
import type { InboundStream } from '../stream.ts'
import { type AccessEntry, type AccessParties, formatAccessJson, formatAccessText } from './access-log.ts'
import { observeExchange } from './exchange.ts'
import { createTrafficMetrics, type TrafficMetrics } from './http-metrics.ts'
import {
  accessParties,
  createRequestLabels,
  destinationParty,
  type RequestLabels,
  sourceParty,
} from './labels.ts'
import { openTcpEntry, type TcpEntry } from './tcp-entry.ts'
import type { SpanExporter } from './otlp.ts'

/** What entries need of the ledger. */
export interface LedgerContext {
  readonly config: Pick<WaypointConfig, 'tracing' | 'trustDomain' | 'gateway' | 'clusterId' | 'podName'>
  readonly clock: Clock
  readonly directory: Directory
  readonly metrics: TrafficMetrics
  readonly spans: SpanExporter | undefined
  readonly requestLabels: RequestLabels
  /** A path and query without anything secret. */
  shownPath(stream: InboundStream, path: string): string
  source(stream: InboundStream): Party
  /** Of the chosen endpoint. */
  destination(workload: Workload | undefined): Party
  access(stream: InboundStream, entry: AccessEntry, decision: WaypointDecision | undefined): void
  /** Says who refused what, and counts it. */
  denied(connection: Connection, decision: WaypointDecision, what: Readonly<Record<string, string>>): void
  /** Says what AUDIT policies marked and dry runs would have done, and counts the latter. */
  marked(connection: Connection, decision: WaypointDecision, what: Readonly<Record<string, string>>): void
}

export interface Ledger {
  observe(stream: InboundStream): ExchangeObserver
  /** One TCP connection that reached its decision. */
  openTcp(stream: InboundStream, connection: Connection): TcpEntry
  /** A tunnel that was refused before anything was served: one line, no metrics. */
  refused(facts: {
    readonly source: { readonly address: string; readonly port: number }
    readonly identity: SpiffeId
    readonly authority: string
    readonly status: number
    readonly reason: string
  }): void
  /** TCP connections that are open now. */
  connections(): readonly Connection[]
  /** Ends its part in scrapes. */
  release(): void
}

export interface LedgerOptions {
  readonly config: WaypointConfig
  readonly clock: Clock
  readonly directory: Directory
  readonly metrics: MetricsRegistry
  readonly log: LogSink
  readonly spans: SpanExporter | undefined
  /** A path and query without anything secret. */
  readonly shownPath: (stream: InboundStream, path: string) => string
}

export function createLedger(options: LedgerOptions): Ledger {
  const { metrics, log, clock } = options
  const open = new Set<TcpEntry>()
  const logger = log.scope('access')
  const write = createWriter(options)
  const context = createContext(options, { logger, write })
  const flush = (): void => {
    for (const entry of open) entry.flushBytes()
  }
  const release = metrics.beforeScrape(flush)
  return {
    observe: stream => guarded(observeExchange(context, stream), logger),
    openTcp(stream, connection) {
      const entry = openTcpEntry(context, stream, connection, () => open.delete(entry))
      open.add(entry)
      return entry
    },
    refused({ source, identity, authority, status, reason }) {
      const remote = formatHostPort(source.address, source.port)
      const parties = { 'src.identity': identity.uri }
      logger.warn({ 'src.addr': remote, ...parties, authority, status, reason }, 'tunnel refused')
      write(
        {
          startMs: clock.now(),
          method: 'CONNECT',
          protocol: 'HTTP/2',
          status,
          flags: status === 400 ? ['DPE'] : ['NR'],
          detail: status === 400 ? 'invalid_authority' : 'route_not_found',
          receivedBytes: 0,
          sentBytes: 0,
          durationMs: 0,
          authority,
          downstreamLocal: authority === '' ? '-' : authority,
          downstreamRemote: remote,
        },
        parties,
      )
    },
    connections: () => [...open].map(entry => entry.connection),
    release,
  }
}

type AccessWriter = (entry: AccessEntry, parties: AccessParties, decision?: WaypointDecision) => void

function createWriter({ config, log }: LedgerOptions): AccessWriter {
  return (entry, parties, decision) => {
    if (config.accessLog === 'text') log.line(formatAccessText(entry, parties))
    if (config.accessLog !== 'json') return
    const extra = decision === undefined ? {} : { ...denialFields(decision), ...markFields(decision) }
    log.line(formatAccessJson(entry, parties, extra))
  }
}

function createContext(
  { config, metrics, clock, directory, spans, shownPath }: LedgerOptions,
  { logger, write }: { readonly logger: Logger; readonly write: AccessWriter },
): LedgerContext {
  const parties = new WeakMap<InboundStream, AccessParties>()
  const sources = new WeakMap<InboundStream, Party>()
  // Workloads are other objects as soon as anything of them has changed.
  const callers = new WeakMap<Workload, Party>()
  const destinations = new WeakMap<Workload, Party>()
  const denials: Counter = metrics.counter({
    name: 'ambient_policy_denials',
    help: 'Requests and connections that a policy refused (unstable)',
    labels: ['policy'],
  })
  const dryRuns: Counter = metrics.counter({
    name: 'ambient_policy_dry_runs',
    help: 'What policies in a dry run would have done (unstable)',
    labels: ['action', 'result', 'policy'],
  })
  const source = (stream: InboundStream): Party => sourceOf(sources, callers, stream)
  return {
    config,
    clock,
    directory,
    metrics: createTrafficMetrics(metrics),
    spans,
    requestLabels: createRequestLabels(),
    shownPath,
    source,
    destination: workload =>
      workload === undefined
        ? unknownParty
        : remembered(destinations, workload, () => destinationParty(workload, config.trustDomain)),
    access(stream, entry, decision) {
      if (config.accessLog === 'off') return
      write(
        entry,
        remembered(parties, stream, () => accessParties(source(stream), stream)),
        decision,
      )
    },
    denied: (connection, decision, what) => tellDenial({ connection, decision, what }, logger, denials),
    marked: (connection, decision, what) => tellMarks({ connection, decision, what }, logger, dryRuns),
  }
}

/** One object for all streams of a workload, unless its proven identity is another one. */
function sourceOf(
  sources: WeakMap<InboundStream, Party>,
  callers: WeakMap<Workload, Party>,
  stream: InboundStream,
): Party {
  const { workload, identity } = stream.caller
  const known = workload === undefined ? undefined : callers.get(workload)
  if (known?.principal === identity.uri) return known
  const party = remembered(sources, stream, () => sourceParty(stream))
  if (workload !== undefined) callers.set(workload, party)
  return party
}

function remembered<K extends object, V>(values: WeakMap<K, V>, key: K, make: () => V): V {
  const known = values.get(key)
  if (known !== undefined) return known
  const value = make()
  values.set(key, value)
  return value
}

interface Telling {
  readonly connection: Connection
  readonly decision: WaypointDecision
  readonly what: Readonly<Record<string, string>>
}

function tellDenial({ connection, decision, what }: Telling, logger: Logger, denials: Counter): void {
  const fields = denialFields(decision)
  denials.add(1, [fields['policy'] === undefined ? 'none' : String(fields['policy'])])
  logger.info({ ...partiesOf(connection), ...what, ...fields, reason: decision.reason }, 'denied by policy')
  if (!topics.decision.hasSubscribers) return
  const { by, reason } = decision
  topics.decision.publish({
    connection,
    allowed: false,
    reason,
    ...(by === undefined ? {} : { policy: by.policy }),
    ...(by?.rule === undefined ? {} : { rule: by.rule }),
  })
}

function tellMarks({ connection, decision, what }: Telling, logger: Logger, dryRuns: Counter): void {
  const { audited, dryRun = [] } = decision
  const parties = partiesOf(connection)
  if (audited !== undefined)
    logger.info({ ...parties, ...what, policy: audited.join(',') }, 'marked by an AUDIT policy')
  for (const { action, result, by } of dryRun) {
    const policy = by?.policy ?? 'none'
    dryRuns.add(1, [action, result, policy])
    logger.debug({ ...parties, ...what, action, result, policy }, 'dry run of a policy')
  }
}

function partiesOf({ source, destination }: Connection): Record<string, string | undefined> {
  return {
    'src.addr': formatHostPort(source.address, source.port),
    'src.identity': source.identity?.uri,
    'dst.service': destination.service?.hostname,
  }
}

/** The policy and the rule; for a miss, every policy that was asked. */
function denialFields({ allowed, by, considered }: WaypointDecision): Record<string, string | number> {
  if (allowed) return {}
  const policy = by?.policy ?? considered.join(',')
  return {
    ...(policy === '' ? {} : { policy }),
    ...(by?.rule === undefined ? {} : { rule: by.rule }),
  }
}

/** `audited`: policies; `dry_run`: `ACTION RESULT POLICY` of each action. */
function markFields({ audited, dryRun }: WaypointDecision): Record<string, string> {
  const runs = dryRun?.map(({ action, result, by }) => `${action} ${result} ${by?.policy ?? 'none'}`)
  return {
    ...(audited === undefined ? {} : { audited: audited.join(',') }),
    ...(runs === undefined || runs.length === 0 ? {} : { dry_run: runs.join(', ') }),
  }
}

/** A mistake of the ledger is a log line, never a failed request. */
function guarded(observer: ExchangeObserver, logger: Logger): ExchangeObserver {
  const safely = <T>(run: () => T): T | undefined => {
    try {
      return run()
    } catch (error) {
      logger.error({ error: messageOf(error) }, 'the ledger failed')
      return undefined
    }
  }
  return {
    start: request => safely(() => observer.start(request)),
    authorized: decision => void safely(() => observer.authorized(decision)),
    routed: decision => void safely(() => observer.routed(decision)),
    dispatched: result => void safely(() => observer.dispatched(result)),
    done: outcome => void safely(() => observer.done(outcome)),
  }
}
