/** The `istio_tcp_*` families with Istio's labels, in Istio's order. */
import type { Meter, ResponseFlag, Service } from '@ambient/core'
import { type Party, sourceLabelNames, sourceLabels } from '@ambient/core/proxy'

export const trafficLabelNames: readonly string[] = Object.freeze([
  'reporter',
  ...sourceLabelNames,
  'destination_service',
  'destination_service_namespace',
  'destination_service_name',
  'destination_workload',
  'destination_canonical_service',
  'destination_canonical_revision',
  'destination_workload_namespace',
  'destination_principal',
  'destination_app',
  'destination_version',
  'destination_cluster',
  'request_protocol',
  'response_flags',
  'connection_security_policy',
  'source_region',
  'source_zone',
  'destination_region',
  'destination_zone',
])

export interface TrafficFacts {
  readonly reporter: 'source' | 'destination'
  readonly source: Party
  readonly destination: Party
  readonly service: Service | undefined
  readonly securityPolicy: 'mutual_tls' | 'unknown'
}

export interface TrafficMetrics {
  opened(labels: readonly string[]): void
  closed(labels: readonly string[], failed: boolean): void
  received(bytes: number, labels: readonly string[]): void
  sent(bytes: number, labels: readonly string[]): void
  sockets(reporter: 'source' | 'destination', change: 1 | -1): void
}

export function createTrafficMetrics(meter: Meter): TrafficMetrics {
  const counter = (name: string, help: string) => meter.counter({ name, help, labels: trafficLabelNames })
  const opened = counter('istio_tcp_connections_opened', 'TCP connections that were opened')
  const closed = counter('istio_tcp_connections_closed', 'TCP connections that have ended')
  const failed = counter(
    'istio_tcp_connections_failed',
    'TCP connections that ended with an error (unstable)',
  )
  const received = counter('istio_tcp_received_bytes', 'Bytes that clients sent to servers')
  const sent = counter('istio_tcp_sent_bytes', 'Bytes that servers sent to clients')
  const sockets = meter.gauge({
    name: 'istio_tcp_sockets_open',
    help: 'Accepted TCP sockets that are open now (unstable)',
    labels: ['reporter'],
  })
  return {
    opened: labels => opened.add(1, labels),
    closed(labels, hasFailed) {
      closed.add(1, labels)
      if (hasFailed) failed.add(1, labels)
    },
    received: (bytes, labels) => received.add(bytes, labels),
    sent: (bytes, labels) => sent.add(bytes, labels),
    sockets: (reporter, change) => sockets.add(change, [reporter]),
  }
}

/** The label values of one connection; made once, `opened` and `closed` must agree on all but the flag. */
export function trafficLabels(facts: TrafficFacts, flag: ResponseFlag): readonly string[] {
  const { source, destination, service } = facts
  const located = source.known || destination.known
  const values = [
    facts.reporter,
    ...sourceLabels(source),
    service?.hostname ?? '',
    service?.namespace ?? '',
    service?.name ?? '',
    destination.workload,
    destination.canonicalService,
    destination.canonicalRevision,
    destination.namespace,
    destination.principal,
    destination.app,
    destination.version,
    destination.cluster,
    'tcp',
    flag,
    facts.securityPolicy,
  ].map(value => (value === '' ? 'unknown' : value))
  if (!located) return values
  for (const value of [source.region, source.zone, destination.region, destination.zone])
    values.push(value === '' ? 'unknown' : value)
  return values
}
