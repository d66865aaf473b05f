/** A finished request as the server span that Envoy would report of it. */
import { tracingDefaults } from '../defaults.ts'
import type { ExchangeOutcome } from '../http/desk.ts'
import type { HttpRoute } from '../route/ir.ts'
import type { InboundStream } from '../stream.ts'
import type { Party } from '@ambient/core/proxy'
import type { AccessEntry } from './access-log.ts'
import type { Peers } from './labels.ts'
import type { LedgerContext } from './ledger.ts'
import type { AttributeValue, Span } from './otlp.ts'
import type { TraceContext } from './trace-context.ts'

export interface SpanFacts {
  readonly context: Pick<LedgerContext, 'config'>
  readonly trace: TraceContext
  readonly entry: AccessEntry
  readonly outcome: ExchangeOutcome
  readonly peers: Peers
  readonly stream: InboundStream
  readonly route: HttpRoute | undefined
  readonly peerAddress: string
}

export function spanOf(facts: SpanFacts): Span {
  const { trace, entry } = facts
  return {
    traceId: trace.traceId,
    spanId: trace.spanId,
    parentSpanId: trace.parentSpanId,
    traceState: trace.state,
    name: operationOf(facts),
    startMs: entry.startMs,
    endMs: entry.startMs + entry.durationMs,
    attributes: { ...envoyTags(facts), ...istioTags(facts) },
    isError: entry.status >= 500 || entry.status === 0,
  }
}

/** `HOST:PORT/PATH*`, as istiod decorates its routes. */
function operationOf({ stream: { target }, route, entry }: SpanFacts): string {
  const host = target.kind === 'service' ? target.service.hostname : (entry.authority ?? target.workload.name)
  return `${host}:${target.port}${route?.matchedPrefix ?? '/'}*`
}

function envoyTags({
  context,
  entry,
  outcome,
  peerAddress,
}: SpanFacts): Record<string, AttributeValue | undefined> {
  const { gateway, podName } = context.config
  const url = `http://${entry.authority ?? ''}${(entry.path ?? '').slice(0, tracingDefaults.maxPathLength)}`
  return {
    component: 'proxy',
    node_id: `${podName}.${gateway.namespace}`,
    'http.url': url,
    'http.method': entry.method,
    'http.protocol': entry.protocol,
    'http.status_code': String(entry.status),
    'guid:x-request-id': entry.requestId,
    user_agent: entry.userAgent,
    downstream_cluster: '-',
    'peer.address': peerAddress,
    request_size: String(entry.receivedBytes),
    response_size: String(entry.sentBytes),
    response_flags: outcome.flags.length === 0 ? '-' : outcome.flags.join(','),
    upstream_cluster: entry.upstreamCluster,
    'upstream_cluster.name': entry.upstreamCluster,
    'grpc.status_code': outcome.grpcStatus === undefined ? undefined : String(outcome.grpcStatus),
    ...(entry.status >= 500 || entry.status === 0 ? { error: true } : {}),
  }
}

function istioTags({ context, peers }: SpanFacts): Record<string, AttributeValue | undefined> {
  const { gateway, clusterId } = context.config
  return {
    'istio.canonical_service': gateway.name,
    'istio.canonical_revision': 'latest',
    'istio.namespace': gateway.namespace,
    'istio.cluster_id': clusterId,
    ...partyTags('source', peers.source),
    ...partyTags('destination', peers.destination),
  }
}

function partyTags(side: 'source' | 'destination', party: Party): Record<string, AttributeValue | undefined> {
  if (!party.known) return {}
  const known = (value: string): string | undefined => (value === '' ? undefined : value)
  return {
    [`istio.${side}_workload`]: known(party.workload),
    [`istio.${side}_namespace`]: known(party.namespace),
    [`istio.${side}_cluster_id`]: known(party.cluster),
    [`istio.${side}_canonical_service`]: known(party.canonicalService),
    [`istio.${side}_canonical_revision`]: known(party.canonicalRevision),
    [`istio.${side}_app`]: known(party.app),
    [`istio.${side}_app_version`]: known(party.version),
    [`istio.${side}_instance_name`]: known(party.logName),
  }
}
