/** Access-log lines against golden texts, in both encodings. */
import { describe, expect, it } from 'vitest'
import {
  type AccessEntry,
  type AccessParties,
  formatAccessJson,
  formatAccessText,
} from '../src/telemetry/access-log.ts'

const request: AccessEntry = {
  startMs: Date.UTC(2026, 0, 2, 3, 4, 5, 678),
  method: 'GET',
  path: '/reviews/7?full=1',
  protocol: 'HTTP/1.1',
  status: 503,
  flags: ['UF', 'URX'],
  detail: 'upstream_reset_before_response_started{connection_failure}',
  transportFailure: 'connecting to 10.0.0.2:15008 failed',
  receivedBytes: 3,
  sentBytes: 91,
  durationMs: 12.4,
  upstreamServiceMs: 11.6,
  forwardedFor: '10.1.1.1',
  userAgent: 'curl/8',
  requestId: 'id',
  authority: 'reviews:9080',
  upstreamHost: '10.0.0.2:9080',
  upstreamCluster: 'inbound-vip|9080|http|reviews.default.svc.cluster.local',
  downstreamLocal: '10.96.0.7:9080',
  downstreamRemote: '10.0.0.1:4711',
  routeName: 'reviews-route',
}

const bare: AccessEntry = {
  startMs: 0,
  status: 0,
  flags: [],
  receivedBytes: 0,
  sentBytes: 0,
  durationMs: 0,
  downstreamLocal: '10.96.0.7:5432',
  downstreamRemote: '[fd00::1]:1',
}

const parties: AccessParties = {
  'src.workload': 'client-1',
  'src.identity': 'spiffe://cluster.local/ns/default/sa/client',
  'dst.service': 'reviews.default.svc.cluster.local',
}

describe('text', () => {
  it('is Envoy’s default format, and who called as a ztunnel names it', () => {
    expect(formatAccessText(request, parties)).toBe(
      '[2026-01-02T03:04:05.678Z] "GET /reviews/7?full=1 HTTP/1.1" 503 UF,URX upstream_reset_before_response_started{connection_failure} - "connecting to 10.0.0.2:15008 failed" 3 91 12 12 "10.1.1.1" "curl/8" "id" "reviews:9080" "10.0.0.2:9080" inbound-vip|9080|http|reviews.default.svc.cluster.local - 10.96.0.7:9080 10.0.0.1:4711 - reviews-route src.workload="client-1" src.identity="spiffe://cluster.local/ns/default/sa/client" dst.service="reviews.default.svc.cluster.local"',
    )
  })

  it('shows what is not known as a dash', () => {
    expect(formatAccessText(bare, {})).toBe(
      '[1970-01-01T00:00:00.000Z] "- - -" 0 - - - "-" 0 0 0 - "-" "-" "-" "-" "-" - - 10.96.0.7:5432 [fd00::1]:1 - -',
    )
  })

  it('cannot be forged by the authority of a refused tunnel', () => {
    const downstreamLocal = 'x:1 10.0.0.9:1 - - src.identity="spiffe://cluster.local/ns/admin/sa/root"'
    const line = formatAccessText({ ...bare, downstreamLocal }, parties)
    expect(line).not.toContain('admin')
    expect(line).toContain(' - [fd00::1]:1 - - src.workload="client-1"')
  })

  it('cannot be forged by a header', () => {
    const line = formatAccessText(
      { ...bare, userAgent: 'a" 200 "b\\', path: '/x\u0085y' },
      // What a ztunnel that knows no workload has of the caller's own baggage.
      { ...parties, 'src.workload': 'w" src.identity="spiffe://x/y' },
    )
    expect(line).toContain('src.workload="w\\" src.identity=\\"spiffe://x/y" src.identity="spiffe://cluster')
    expect(line).toContain('"a\\" 200 \\"b\\\\"')
    expect(line.split('\n')).toHaveLength(1)
  })
})

describe('JSON', () => {
  it('has Istio’s keys in Istio’s order', () => {
    expect(Object.keys(JSON.parse(formatAccessJson(request, {})))).toEqual(
      'start_time method path protocol response_code response_flags response_code_details connection_termination_details upstream_transport_failure_reason bytes_received bytes_sent duration upstream_service_time x_forwarded_for user_agent request_id authority upstream_host upstream_cluster upstream_local_address downstream_local_address downstream_remote_address requested_server_name route_name'.split(
        ' ',
      ),
    )
    expect(JSON.parse(formatAccessJson(request, {}))).toMatchObject({
      start_time: '2026-01-02T03:04:05.678Z',
      response_code: 503,
      response_flags: 'UF,URX',
      duration: 12,
      upstream_service_time: '12',
      connection_termination_details: null,
    })
  })

  it('names who called, and the policy and the rule of a denial', () => {
    const line = JSON.parse(formatAccessJson(bare, parties, { policy: 'default/no', rule: 2 }))
    expect(line).toMatchObject({
      ...parties,
      response_flags: '-',
      method: null,
      policy: 'default/no',
      rule: 2,
    })
  })
})
