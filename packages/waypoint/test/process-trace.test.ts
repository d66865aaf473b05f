/** Traces: the context goes on with our span as parent, and the span reaches a collector. */
import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { systemClock } from '@ambient/core'
import { createManualClock } from '@ambient/core/testing'
import { createLogSink, createMetricsRegistry } from '@ambient/core/proxy'
import { describe, expect, it } from 'vitest'
import { tracingFromEnvironment } from '../src/config/tracing.ts'
import { createSpanExporter, type Span } from '../src/telemetry/otlp.ts'
import { continueTrace, readTraceparent } from '../src/telemetry/trace-context.ts'
import { cleanup, createWorld } from './world.ts'

const TRACE = '0af7651916cd43dd8448eb211c80319c'
const PARENT = 'b7ad6b7169203331'

interface Collected {
  readonly path: string
  readonly headers: IncomingMessage['headers']
  readonly document: {
    resourceSpans: {
      resource: { attributes: { key: string; value: { stringValue?: string } }[] }
      scopeSpans: { spans: (Record<string, unknown> & { attributes: Attribute[] })[] }[]
    }[]
  }
}

interface Attribute {
  readonly key: string
  readonly value: { readonly stringValue?: string; readonly boolValue?: boolean }
}

/** Answers with `statuses` in turn, then 200. */
async function startCollector(statuses: number[] = []) {
  const received: Collected[] = []
  const waiting = new Set<() => void>()
  const server = createServer((request, response) => {
    void text(request).then(body => {
      received.push({ path: request.url ?? '', headers: request.headers, document: JSON.parse(body) })
      response.writeHead(statuses.shift() ?? 200).end('{}')
      for (const check of [...waiting]) check()
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  cleanup(async () => {
    server.closeAllConnections()
    server.close()
    await once(server, 'close')
  })
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    received,
    batch: (count: number): Promise<Collected[]> =>
      new Promise(resolve => {
        const check = (): void => {
          if (received.length >= count) resolve(received)
        }
        waiting.add(check)
        check()
      }),
  }
}

const traced = (url: string, more: Record<string, string> = {}): Record<string, string> => ({
  OTEL_EXPORTER_OTLP_ENDPOINT: url,
  OTEL_BSP_SCHEDULE_DELAY: '1',
  ...more,
})

describe('a sampled request', () => {
  it('is a server span named as Envoy’s, and the upstream hears of it', async () => {
    const collector = await startCollector()
    const world = await createWorld({
      env: traced(collector.url, { OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment=test%20run' }),
      app: (request, response) => void response.end(String(request.headers['traceparent'])),
    })
    const answer = await world.fetch('/hello', {
      fields: { traceparent: `00-${TRACE}-${PARENT}-01`, tracestate: 'vendor=1', 'x-request-id': 'r1' },
    })
    const [batch] = await collector.batch(1)
    const [resourceSpans] = batch?.document.resourceSpans ?? []
    const [span] = resourceSpans?.scopeSpans[0]?.spans ?? []
    expect(batch?.path).toBe('/v1/traces')
    expect(span).toMatchObject({
      traceId: TRACE,
      parentSpanId: PARENT,
      traceState: 'vendor=1',
      kind: 2,
      name: 'web.default.svc.cluster.local:80/*',
      status: {},
    })
    expect(answer.body).toBe(`00-${TRACE}-${span?.['spanId']}-01`)
    const attributes = Object.fromEntries(
      (span?.attributes ?? []).map(({ key, value }) => [key, value.stringValue ?? value.boolValue]),
    )
    expect(attributes).toMatchObject({
      component: 'proxy',
      'http.method': 'GET',
      'http.url': 'http://web/hello',
      'http.status_code': '200',
      response_flags: '-',
      upstream_cluster: 'inbound-vip|80|http|web.default.svc.cluster.local',
      'guid:x-request-id': 'r1',
      'istio.source_workload': 'client',
      'istio.destination_workload': 'server',
      'istio.canonical_service': 'waypoint',
    })
    expect(BigInt(String(span?.['endTimeUnixNano'])) >= BigInt(String(span?.['startTimeUnixNano']))).toBe(
      true,
    )
    const resource = (resourceSpans?.resource.attributes ?? []).map(({ key, value }) => [
      key,
      value.stringValue,
    ])
    expect(Object.fromEntries(resource)).toEqual({
      'service.name': 'waypoint.default',
      'deployment.environment': 'test run',
    })
  })

  it('the caller’s decision counts: an unsampled trace stays unsampled', async () => {
    const collector = await startCollector()
    const world = await createWorld({
      env: traced(collector.url, { OTEL_TRACES_SAMPLER: 'parentbased_always_on' }),
      app: (request, response) => void response.end(String(request.headers['traceparent'])),
    })
    const unsampled = await world.fetch('/', { fields: { traceparent: `00-${TRACE}-${PARENT}-00` } })
    expect(unsampled.body).toMatch(new RegExp(`^00-${TRACE}-[0-9a-f]{16}-00$`))
    const own = await world.fetch('/')
    expect(own.body).toMatch(/-01$/)
    await collector.batch(1)
    await world.waypoint.close()
    const spans = collector.received.flatMap(({ document }) => document.resourceSpans)
    expect(spans).toHaveLength(1)
  })

  it('without a collector the headers pass as they came', async () => {
    const world = await createWorld({
      app: (request, response) => void response.end(String(request.headers['traceparent'])),
    })
    const traceparent = `00-${TRACE}-${PARENT}-01`
    expect((await world.fetch('/', { fields: { traceparent } })).body).toBe(traceparent)
    expect((await world.fetch('/')).body).toBe('undefined')
  })

  it('is answered although the collector is away, and what is lost is counted', async () => {
    const world = await createWorld({
      env: traced('http://127.0.0.1:9', { OTEL_TRACES_SAMPLER: 'always_on' }),
    })
    expect((await world.fetch('/')).status).toBe(200)
    expect(await world.line(/spans were not taken/)).toContain('endpoint="127.0.0.1:9"')
    expect(await world.metrics()).toContain('ambient_otlp_spans_dropped_total{reason="export_failed"} 1\n')
  })
})

describe('trace context', () => {
  it.each([
    ['00-00000000000000000000000000000000-b7ad6b7169203331-01'],
    [`00-${TRACE}-0000000000000000-01`],
    [`ff-${TRACE}-${PARENT}-01`],
    [`00-${TRACE}-${PARENT}-01-more`],
    [`00-${TRACE.toUpperCase()}-${PARENT}-01`],
    ['garbage'],
  ])('malformed: %s begins a trace of its own', value => {
    expect(readTraceparent(value)).toBeUndefined()
  })

  it('of a later version is read as far as it is known', () => {
    expect(readTraceparent(`01-${TRACE}-${PARENT}-03-more`)).toEqual({
      traceId: TRACE,
      spanId: PARENT,
      isSampled: true,
    })
  })

  it('takes about the ratio of new traces, the same ones everywhere', () => {
    const sampling = { parentBased: true, ratio: 0.25 }
    const none = { traceparent: undefined, tracestate: undefined }
    const sampled = Array.from({ length: 4_000 }, () => continueTrace(none, sampling)).filter(
      ({ isSampled }) => isSampled,
    )
    // Within five standard deviations.
    expect(Math.abs(sampled.length - 1_000)).toBeLessThan(140)
    for (const { traceId } of sampled) {
      const again = { traceparent: `00-${traceId}-${PARENT}-00`, tracestate: undefined }
      expect(continueTrace(again, { parentBased: false, ratio: 0.25 }).isSampled).toBe(true)
    }
  })
})

describe('the exporter', () => {
  const span = (n: number): Span => ({
    traceId: TRACE,
    spanId: n.toString(16).padStart(16, '0'),
    parentSpanId: undefined,
    traceState: undefined,
    name: 'x',
    startMs: 1_700_000_000_000.25,
    endMs: 1_700_000_000_001,
    attributes: { whole: 1, part: 1.5, yes: true, text: 'a', none: undefined },
    isError: true,
  })

  function exporter(env: Record<string, string>, clock = systemClock) {
    const metrics = createMetricsRegistry()
    const config = tracingFromEnvironment(env, 'own')
    const log = createLogSink({ format: 'plain', filter: 'info', write: () => {} })
    const one = createSpanExporter({
      endpoint: config.endpoint ?? '',
      config,
      version: '1',
      clock,
      logger: log.scope('tracing'),
      meter: metrics,
    })
    cleanup(() => one.close())
    return { one, metrics }
  }

  it('writes OTLP’s types and sends its headers', async () => {
    const collector = await startCollector()
    const { one } = exporter({
      OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${collector.url}/custom`,
      OTEL_EXPORTER_OTLP_HEADERS: 'x-team=a%20b',
      OTEL_SERVICE_NAME: 'named',
    })
    one.export(span(1))
    await one.close()
    const [batch] = collector.received
    expect(batch?.path).toBe('/custom')
    expect(batch?.headers).toMatchObject({ 'x-team': 'a b', 'content-type': 'application/json' })
    expect(batch?.document.resourceSpans[0]?.scopeSpans[0]?.spans[0]).toEqual({
      traceId: TRACE,
      spanId: '0000000000000001',
      name: 'x',
      kind: 2,
      startTimeUnixNano: '1700000000000250000',
      endTimeUnixNano: '1700000000001000000',
      attributes: [
        { key: 'whole', value: { intValue: '1' } },
        { key: 'part', value: { doubleValue: 1.5 } },
        { key: 'yes', value: { boolValue: true } },
        { key: 'text', value: { stringValue: 'a' } },
      ],
      status: { code: 2 },
    })
  })

  it('batches, keeps to its bound and counts what does not fit', async () => {
    const collector = await startCollector()
    const clock = createManualClock(0)
    const { one, metrics } = exporter(
      {
        OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
        OTEL_BSP_MAX_QUEUE_SIZE: '3',
        OTEL_BSP_MAX_EXPORT_BATCH_SIZE: '2',
      },
      clock,
    )
    for (let n = 0; n < 6; n++) one.export(span(n))
    await one.close()
    const sizes = collector.received.map(
      ({ document }) => document.resourceSpans[0]?.scopeSpans[0]?.spans.length,
    )
    expect(sizes).toEqual([2, 2, 1])
    expect(metrics.render()).toContain('ambient_otlp_spans_dropped_total{reason="queue_full"} 1\n')
  })

  it('gives up in time on a collector that says nothing', async () => {
    const silent = createServer(() => {})
    silent.listen(0, '127.0.0.1')
    await once(silent, 'listening')
    cleanup(() => {
      silent.closeAllConnections()
      silent.close()
    })
    const { one, metrics } = exporter({
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${(silent.address() as AddressInfo).port}`,
      OTEL_EXPORTER_OTLP_TIMEOUT: '20',
    })
    one.export(span(1))
    await one.close()
    expect(metrics.render()).toContain('ambient_otlp_spans_dropped_total{reason="export_failed"} 1\n')
  })
})
