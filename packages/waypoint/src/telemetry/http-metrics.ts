/** The families of Istio's standard metrics that a waypoint counts. */
import type { Meter } from '@ambient/core'
import { requestLabelNames, tcpLabelNames } from './labels.ts'

export interface RequestFigures {
  readonly durationMs: number
  /** Heads and bodies. */
  readonly requestBytes: number
  readonly responseBytes: number
}

export interface TrafficMetrics {
  request(figures: RequestFigures, labels: readonly string[]): void
  opened(labels: readonly string[]): void
  closed(labels: readonly string[]): void
  /** From the client. */
  received(bytes: number, labels: readonly string[]): void
  /** To the client. */
  sent(bytes: number, labels: readonly string[]): void
}

export function createTrafficMetrics(meter: Meter): TrafficMetrics {
  const labels = requestLabelNames
  const requests = meter.counter({ name: 'istio_requests', help: 'Requests that were answered', labels })
  const duration = meter.histogram({
    name: 'istio_request_duration_milliseconds',
    help: 'Time from the request’s head to the end of the response',
    labels,
  })
  const requestBytes = meter.histogram({
    name: 'istio_request_bytes',
    help: 'Bytes of requests, heads and bodies',
    labels,
  })
  const responseBytes = meter.histogram({
    name: 'istio_response_bytes',
    help: 'Bytes of responses, heads and bodies',
    labels,
  })
  const counter = (name: string, help: string) => meter.counter({ name, help, labels: tcpLabelNames })
  const opened = counter('istio_tcp_connections_opened', 'TCP connections that were opened')
  const closed = counter('istio_tcp_connections_closed', 'TCP connections that have ended')
  const received = counter('istio_tcp_received_bytes', 'Bytes that clients sent to servers')
  const sent = counter('istio_tcp_sent_bytes', 'Bytes that servers sent to clients')
  return {
    request(figures, values) {
      requests.add(1, values)
      duration.record(figures.durationMs, values)
      requestBytes.record(figures.requestBytes, values)
      responseBytes.record(figures.responseBytes, values)
    },
    opened: values => opened.add(1, values),
    closed: values => closed.add(1, values),
    received: (bytes, values) => received.add(bytes, values),
    sent: (bytes, values) => sent.add(bytes, values),
  }
}
