/** Metrics and log lines against golden texts, and the ledger that writes both. */
import { type Connection, type ConnectionRecord, parseSpiffeId, topics } from '@ambient/core'
import {
  createLogSink,
  createMetricsRegistry,
  formatLine,
  partyOf,
  registerProcessMetrics,
} from '@ambient/core/proxy'
import { createManualClock } from '@ambient/core/testing'
import { describe, expect, it } from 'vitest'
import { outcomeOfDenial } from '../src/outcome.ts'
import { type ConnectionFacts, createLedger, type LedgerEntry, succeeded } from '../src/telemetry/ledger.ts'
import { cleanup } from './sockets.ts'
import { service, workload } from './fixtures.ts'

const client = workload('client-1', {
  addresses: ['10.0.0.1'],
  serviceAccount: 'client',
  workloadName: 'client',
  canonicalName: 'client',
  locality: { region: 'r1', zone: 'z1', subzone: '' },
})
const server = workload('server-1', {
  addresses: ['10.0.0.2'],
  serviceAccount: 'server',
  workloadName: 'server',
  canonicalName: 'server-app',
  canonicalRevision: 'v2',
})
const web = service('server', '10.10.0.1')
const clientId = parseSpiffeId('spiffe://cluster.local/ns/default/sa/client')
const serverId = parseSpiffeId('spiffe://cluster.local/ns/default/sa/server')

function facts(direction: 'inbound' | 'outbound'): ConnectionFacts {
  const connection: Connection = {
    id: '0'.repeat(32),
    direction,
    source: { address: '10.0.0.1', port: 43126, identity: clientId, workload: client },
    destination: { address: '10.0.0.2', port: 8080, network: '', workload: server, service: web },
  }
  return {
    connection,
    source: partyOf({ workload: client, principal: clientId }),
    destination: partyOf({ workload: server, principal: serverId }),
    securityPolicy: 'mutual_tls',
    sourceIdentity: clientId,
    destinationIdentity: serverId,
    nextHop: '10.0.0.2:15008',
    tunnelTarget: '10.0.0.2:8080',
  }
}

function setUp(options: { filter?: string; format?: 'plain' | 'json' } = {}) {
  const clock = createManualClock(Date.UTC(2026, 7, 20, 10))
  let text = ''
  const log = createLogSink({
    format: options.format ?? 'plain',
    filter: options.filter ?? 'info',
    write: lines => {
      text += lines
    },
    clock,
  })
  const metrics = createMetricsRegistry()
  const ledger = createLedger({ metrics, log, clock })
  return {
    clock,
    ledger,
    metrics,
    log,
    lines: () => {
      log.flush()
      return text.split('\n').slice(0, -1)
    },
  }
}

function transfer(entry: LedgerEntry, up: number, down: number): void {
  entry.counts.aToB += up
  entry.counts.bToA += down
}

describe('the access log', () => {
  it('is one line in ztunnel’s form', () => {
    const { ledger, clock, lines } = setUp()
    const entry = ledger.open(facts('outbound'))
    transfer(entry, 11, 22)
    clock.advance(3)
    entry.close(succeeded)
    entry.close({ flag: 'CONNECT', error: 'again' })
    expect(lines()).toEqual([
      '2026-08-20T10:00:00.003000Z\tinfo\taccess\tconnection complete\tsrc.addr=10.0.0.1:43126 src.workload="client-1" src.namespace="default" src.identity="spiffe://cluster.local/ns/default/sa/client" src.cluster="Kubernetes" dst.addr=10.0.0.2:15008 dst.hbone_addr=10.0.0.2:8080 dst.service="server.default.svc.cluster.local" dst.workload="server-1" dst.namespace="default" dst.identity="spiffe://cluster.local/ns/default/sa/server" dst.cluster="Kubernetes" direction="outbound" bytes_sent=11 bytes_recv=22 duration="3ms"',
    ])
  })

  it('counts bytes from the reporting side’s application, and leaves out what is not known', () => {
    const { ledger, lines } = setUp()
    const entry = ledger.open({
      ...facts('inbound'),
      connection: {
        ...facts('inbound').connection,
        source: { address: 'fd00::1', port: 1 },
        destination: { address: '10.0.0.2', port: 8080, network: '' },
      },
      source: partyOf({}),
      sourceIdentity: undefined,
      destinationIdentity: undefined,
      tunnelTarget: undefined,
      securityPolicy: 'unknown',
      nextHop: '10.0.0.2:8080',
    })
    transfer(entry, 11, 22)
    entry.close({ flag: '-', reset: 'destination' })
    expect(lines()[0]?.split('\t').at(-1)).toBe(
      'src.addr=[fd00::1]:1 dst.addr=10.0.0.2:8080 dst.workload="server-1" dst.namespace="default" dst.cluster="Kubernetes" direction="inbound" bytes_sent=22 bytes_recv=11 duration="0ms" reset="destination"',
    )
  })

  it('names the policy and the rule of a denial, and for a miss the policies that were asked', () => {
    const { ledger, lines } = setUp()
    ledger.open(facts('inbound')).close(
      outcomeOfDenial({
        allowed: false,
        reason: 'explicitly denied by: default/no-strangers',
        by: { policy: 'default/no-strangers', rule: 1 },
        considered: [],
      }),
    )
    ledger.open(facts('inbound')).close(
      outcomeOfDenial({
        allowed: false,
        reason: 'allow policies exist, but none allowed',
        considered: ['default/a', 'default/b'],
      }),
    )
    const [denied, missed] = lines()
    expect(denied).toMatch(/\terror\taccess\tconnection complete\t/)
    expect(denied).toMatch(
      / duration="0ms" policy="default\/no-strangers" rule=1 error="connection closed due to policy rejection: explicitly denied by: default\/no-strangers"$/,
    )
    expect(missed).toMatch(
      / policy="default\/a,default\/b" error="connection closed due to policy rejection: allow policies exist, but none allowed"$/,
    )
  })

  it('of a connection that failed early is one warning', () => {
    const { ledger, lines } = setUp()
    ledger.refused({
      source: { address: '10.0.0.1', port: 1 },
      destination: { address: '10.0.0.2', port: 15008 },
      direction: 'inbound',
      error: 'ip mismatch: 10.0.0.2 != 10.0.0.3',
    })
    expect(lines()).toEqual([
      '2026-08-20T10:00:00.000000Z\twarn\taccess\tconnection failed\tsrc.addr=10.0.0.1:1 dst.addr=10.0.0.2:15008 direction="inbound" error="ip mismatch: 10.0.0.2 != 10.0.0.3"',
    ])
  })

  it('says at debug that a connection was opened', () => {
    const { ledger, lines } = setUp({ filter: 'access=debug' })
    ledger.open(facts('outbound'))
    expect(lines()[0]).toMatch(/\tdebug\taccess\tconnection opened\tsrc\.addr=.* direction="outbound"$/)
  })

  it('as JSON has the same names', () => {
    const { ledger, lines } = setUp({ format: 'json' })
    ledger.open(facts('outbound')).close(succeeded)
    const line: unknown = JSON.parse(lines()[0] ?? '')
    expect(line).toMatchObject({
      level: 'info',
      time: '2026-08-20T10:00:00.000000Z',
      scope: 'access',
      message: 'connection complete',
      'src.addr': '10.0.0.1:43126',
      'dst.hbone_addr': '10.0.0.2:8080',
      bytes_sent: 0,
      duration: '0ms',
    })
  })

  it('comes with exactly one record', () => {
    const { ledger } = setUp()
    const records: ConnectionRecord[] = []
    cleanup(topics.connection.subscribe(record => records.push(record)))
    const entry = ledger.open(facts('inbound'))
    transfer(entry, 1, 2)
    entry.close(succeeded)
    entry.close(succeeded)
    expect(records).toHaveLength(1)
    expect(records[0]).toMatchObject({
      receivedBytes: 1,
      sentBytes: 2,
      flag: '-',
      securityPolicy: 'mutual_tls',
    })
  })

  it('cannot be forged by a value', () => {
    const line = formatLine('plain', 0, 'access', 'info', { error: 'a\nb\tc"d' }, 'one\nline')
    expect(line.split('\n')).toHaveLength(2)
    expect(line).toContain('one\\nline\terror="a\\nb\\tc\\"d"')
  })
})

describe('metrics', () => {
  const labels =
    'source_workload="client",source_canonical_service="client",source_canonical_revision="v1",source_workload_namespace="default",source_principal="spiffe://cluster.local/ns/default/sa/client",source_app="client",source_version="v1",source_cluster="Kubernetes",destination_service="server.default.svc.cluster.local",destination_service_namespace="default",destination_service_name="server",destination_workload="server",destination_canonical_service="server-app",destination_canonical_revision="v2",destination_workload_namespace="default",destination_principal="spiffe://cluster.local/ns/default/sa/server",destination_app="server-app",destination_version="v2",destination_cluster="Kubernetes",request_protocol="tcp"'
  const tail =
    'connection_security_policy="mutual_tls",source_region="r1",source_zone="z1",destination_region="unknown",destination_zone="unknown"'

  it('have Istio’s names, labels and order; bytes are live', () => {
    const { ledger, metrics } = setUp()
    const entry = ledger.open(facts('outbound'))
    transfer(entry, 5, 7)
    const series = `{reporter="source",${labels},response_flags="-",${tail}}`
    expect(metrics.render()).toBe(
      [
        '# HELP istio_tcp_connections_opened TCP connections that were opened',
        '# TYPE istio_tcp_connections_opened counter',
        `istio_tcp_connections_opened_total${series} 1`,
        '# HELP istio_tcp_received_bytes Bytes that clients sent to servers',
        '# TYPE istio_tcp_received_bytes counter',
        `istio_tcp_received_bytes_total${series} 5`,
        '# HELP istio_tcp_sent_bytes Bytes that servers sent to clients',
        '# TYPE istio_tcp_sent_bytes counter',
        `istio_tcp_sent_bytes_total${series} 7`,
        '# EOF',
        '',
      ].join('\n'),
    )
    transfer(entry, 1, 1)
    entry.close({ flag: 'CONNECT', error: 'x' })
    const closed = metrics.render()
    const failed = `{reporter="source",${labels},response_flags="CONNECT",${tail}}`
    expect(closed).toContain(`istio_tcp_connections_closed_total${failed} 1\n`)
    expect(closed).toContain(`istio_tcp_connections_failed_total${failed} 1\n`)
    expect(closed).toContain(`istio_tcp_received_bytes_total${series} 6\n`)
    expect(metrics.render()).toBe(closed)
  })

  it('leave localities out when neither end is known, and call the rest unknown', () => {
    const { ledger, metrics } = setUp()
    ledger.open({ ...facts('inbound'), source: partyOf({ principal: clientId }), destination: partyOf({}) })
    const text = metrics.render()
    expect(text).toContain('reporter="destination",source_workload="unknown"')
    expect(text).toContain(`source_principal="${clientId.uri}"`)
    expect(text).not.toContain('source_region')
  })

  it('from baggage take the workload’s name as app, and never a principal', () => {
    const party = partyOf({
      baggage: { workloadName: 'w', canonicalName: 'c', namespace: 'n', clusterId: 'k' },
    })
    expect(party).toMatchObject({ app: 'w', canonicalService: 'c', logName: 'c', principal: '', known: true })
  })

  it('of sockets go up and down, once each', () => {
    const { ledger, metrics } = setUp()
    const closed = ledger.socketOpened('source')
    expect(metrics.render()).toContain('istio_tcp_sockets_open{reporter="source"} 1\n')
    closed()
    closed()
    expect(metrics.render()).toContain('istio_tcp_sockets_open{reporter="source"} 0\n')
  })

  it('that are not stable say so; the build is there', () => {
    const { ledger, metrics } = setUp()
    registerProcessMetrics(metrics, 'ztunnel', '1.2.3')
    ledger.socketOpened('source')
    ledger.open(facts('inbound')).close({ flag: 'DENY', error: 'x' })
    const text = metrics.render()
    expect(text).toContain('istio_build{component="ztunnel",tag="1.2.3"} 1\n')
    const stable =
      /^# HELP (istio_build|istio_tcp_connections_(opened|closed)|istio_tcp_(received|sent)_bytes|process_\w+_fds) /
    for (const line of text.split('\n').filter(line => line.startsWith('# HELP')))
      if (!stable.test(line)) expect(line).toContain('unstable')
  })

  it('escape what labels may hold and stop growing at their bound', () => {
    const metrics = createMetricsRegistry({ maxSeries: 2 })
    const counter = metrics.counter({ name: 'x', help: 'x', labels: ['a', 'b'] })
    counter.add(1, ['q"\\\n', ''])
    counter.add(1, ['two', 'b'])
    for (let i = 0; i < 10; i++) counter.add(1, [`more-${i}`, 'b'])
    expect(metrics.render()).toBe(
      '# HELP x x\n# TYPE x counter\nx_total{a="q\\"\\\\\\n"} 1\nx_total{a="two",b="b"} 1\nx_total{a="overflow",b="overflow"} 10\n# EOF\n',
    )
  })
})

describe('the log filter', () => {
  it('knows levels and scopes, and refuses the rest', () => {
    const { log } = setUp({ filter: 'warn,access=debug' })
    expect([log.enabled('access', 'debug'), log.enabled('xds', 'info'), log.enabled('xds', 'warn')]).toEqual([
      true,
      false,
      true,
    ])
    expect(log.setFilter('access:debug')).toBe(false)
    expect(log.setFilter('loud')).toBe(false)
    expect(log.filter).toBe('warn,access=debug')
    expect(log.setFilter('off')).toBe(true)
    expect(log.enabled('access', 'error')).toBe(false)
  })
})
