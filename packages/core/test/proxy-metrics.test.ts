/** Histograms as OpenMetrics text, and lines of another format among those of the log. */
import {
  createLogSink,
  createMetricsRegistry,
  type HeldCertificate,
  registerCertificateExpiry,
} from '@ambient/core/proxy'
import { createManualClock } from '@ambient/core/testing'
import { describe, expect, it } from 'vitest'

describe('a histogram', () => {
  it('cumulates its buckets, a bound included, and sums up', () => {
    const metrics = createMetricsRegistry()
    const sizes = metrics.histogram({ name: 'size', help: 'sizes', labels: ['who'], buckets: [1, 10] })
    for (const value of [0, 1, 2, 10, 11]) sizes.record(value, ['a'])
    expect(metrics.render()).toBe(
      [
        '# HELP size sizes',
        '# TYPE size histogram',
        'size_bucket{who="a",le="1"} 2',
        'size_bucket{who="a",le="10"} 4',
        'size_bucket{who="a",le="+Inf"} 5',
        'size_sum{who="a"} 24',
        'size_count{who="a"} 5',
        '# EOF',
        '',
      ].join('\n'),
    )
  })

  it('has Envoy’s buckets unless told otherwise, and is one by name', () => {
    const metrics = createMetricsRegistry()
    metrics.histogram({ name: 'ms', help: 'ms', labels: [] }).record(3, [])
    metrics.histogram({ name: 'ms', help: 'ms', labels: [] }).record(7_200_000, [])
    const bounds = [...metrics.render().matchAll(/le="([^"]+)"/g)].map(([, bound]) => bound)
    expect(bounds.slice(0, 3)).toEqual(['0.5', '1', '5'])
    expect(bounds.slice(-2)).toEqual(['3600000', '+Inf'])
    expect(metrics.render()).toContain('ms_count 2\n')
  })

  it('stops growing at the bound of its series', () => {
    const metrics = createMetricsRegistry({ maxSeries: 1 })
    const sizes = metrics.histogram({ name: 'size', help: 'sizes', labels: ['who'], buckets: [] })
    for (const who of ['a', 'b', 'c']) sizes.record(1, [who])
    expect(metrics.render()).toContain('size_count{who="overflow"} 2\n')
  })
})

describe('istio_cert_expiry_seconds', () => {
  it('is the end of each certificate that is held, and forgets with them', () => {
    const metrics = createMetricsRegistry({ maxSeries: 2 })
    let held: HeldCertificate[] = [
      { identity: 'spiffe://td/a', notAfter: 5_999 },
      { identity: 'spiffe://td/none' },
    ]
    registerCertificateExpiry(metrics, () => held)
    expect(metrics.render()).toMatch(
      /^# HELP istio_cert_expiry_seconds .*\n# TYPE istio_cert_expiry_seconds gauge\nistio_cert_expiry_seconds\{identity="spiffe:\/\/td\/a"\} 5\n# EOF\n$/,
    )
    for (const identity of ['spiffe://td/b', 'spiffe://td/c', 'spiffe://td/a']) {
      held = [{ identity, notAfter: 7_000 }]
      expect(metrics.render().match(/^istio_cert.*$/gm)).toEqual([
        `istio_cert_expiry_seconds{identity="${identity}"} 7`,
      ])
    }
  })
})

describe('a line of another format', () => {
  it('keeps its place among the others, whatever the filter', () => {
    let written = ''
    const log = createLogSink({
      format: 'plain',
      filter: 'info',
      write: text => {
        written += text
      },
      clock: createManualClock(0),
    })
    log.scope('a').info({}, 'first')
    log.line('[second]')
    log.scope('a').info({}, 'third')
    log.flush()
    expect(written.split('\n').map(line => line.split('\t').at(-1))).toEqual([
      'first',
      '[second]',
      'third',
      '',
    ])
  })
})
