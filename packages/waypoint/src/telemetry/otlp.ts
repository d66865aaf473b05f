/** Spans as OTLP/HTTP with JSON: batched, bounded, given up in time. Traffic never waits for a collector. */
import { request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { type Clock, type Counter, type Logger, messageOf, type Meter, type Timer } from '@ambient/core'
import type { TracingConfig } from '../config/config.ts'

export type AttributeValue = string | number | boolean

/** A finished span of kind server. Times are milliseconds since the epoch. */
export interface Span {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId: string | undefined
  readonly traceState: string | undefined
  readonly name: string
  readonly startMs: number
  readonly endMs: number
  readonly attributes: Readonly<Record<string, AttributeValue | undefined>>
  readonly isError: boolean
}

export interface SpanExporter {
  /** Takes the span, or drops it when too many wait. Never throws, never blocks. */
  export(span: Span): void
  /** Sends what waits, then takes no more. Idempotent. */
  close(): Promise<void>
}

const KIND_SERVER = 2
const STATUS_ERROR = 2

export function createSpanExporter(options: {
  readonly endpoint: string
  readonly config: TracingConfig
  readonly version: string
  readonly clock: Clock
  readonly logger: Logger
  readonly meter: Meter
}): SpanExporter {
  return new OtlpExporter(options)
}

class OtlpExporter implements SpanExporter {
  readonly #options: Parameters<typeof createSpanExporter>[0]
  readonly #dropped: Counter
  readonly #sent: Counter
  #queue: Span[] = []
  #timer: Timer | undefined
  #sending: Promise<void> | undefined
  #closed = false
  #isFailing = false

  constructor(options: Parameters<typeof createSpanExporter>[0]) {
    this.#options = options
    this.#sent = options.meter.counter({
      name: 'ambient_otlp_spans_sent',
      help: 'Spans that a collector took (unstable)',
      labels: [],
    })
    this.#dropped = options.meter.counter({
      name: 'ambient_otlp_spans_dropped',
      help: 'Spans that were given up (unstable)',
      labels: ['reason'],
    })
  }

  export(span: Span): void {
    const { config, clock } = this.#options
    if (this.#closed || this.#queue.length >= config.maxQueuedSpans) {
      this.#dropped.add(1, [this.#closed ? 'closed' : 'queue_full'])
      return
    }
    this.#queue.push(span)
    if (this.#queue.length >= config.maxBatchSpans) void this.#flush()
    else this.#timer ??= clock.after(config.batchDelayMs, () => void this.#flush())
  }

  async close(): Promise<void> {
    this.#closed = true
    await this.#flush()
  }

  /** One batch after the other. */
  #flush(): Promise<void> {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#sending ??= this.#sendAll().finally(() => {
      this.#sending = undefined
    })
    return this.#sending
  }

  async #sendAll(): Promise<void> {
    const { config, logger, endpoint } = this.#options
    while (this.#queue.length > 0) {
      const batch = this.#queue.splice(0, config.maxBatchSpans)
      try {
        await this.#post(JSON.stringify(this.#document(batch)))
        this.#sent.add(batch.length, [])
        this.#isFailing = false
      } catch (error) {
        this.#dropped.add(batch.length, ['export_failed'])
        // Once per outage; the counter has the rest.
        if (!this.#isFailing)
          logger.warn({ endpoint: new URL(endpoint).host, error: messageOf(error) }, 'spans were not taken')
        this.#isFailing = true
      }
    }
  }

  #post(body: string): Promise<void> {
    const { endpoint, config, clock } = this.#options
    const post = endpoint.startsWith('https:') ? httpsRequest : httpRequest
    return new Promise((resolve, reject) => {
      const request = post(endpoint, {
        method: 'POST',
        // A connection per batch: nothing stays open between two that are seconds apart.
        agent: false,
        headers: {
          ...config.headers,
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(body),
        },
      })
      const timer = clock.after(config.timeoutMs, () =>
        request.destroy(new Error(`no answer within ${config.timeoutMs} ms`)),
      )
      const settle = (error?: Error): void => {
        timer.cancel()
        if (error === undefined) resolve()
        else reject(error)
      }
      request.on('error', settle)
      request.on('response', response => {
        response.resume()
        response.on('error', settle)
        response.on('end', () => {
          const status = response.statusCode ?? 0
          settle(status >= 200 && status < 300 ? undefined : new Error(`the collector answered ${status}`))
        })
      })
      request.end(body)
    })
  }

  #document(batch: readonly Span[]): unknown {
    const { config, version } = this.#options
    const resource = { ...config.resourceAttributes, 'service.name': config.serviceName }
    return {
      resourceSpans: [
        {
          resource: { attributes: attributesOf(resource) },
          scopeSpans: [{ scope: { name: '@ambient/waypoint', version }, spans: batch.map(spanDocument) }],
        },
      ],
    }
  }
}

function spanDocument(span: Span): unknown {
  return {
    traceId: span.traceId,
    spanId: span.spanId,
    ...(span.parentSpanId === undefined ? {} : { parentSpanId: span.parentSpanId }),
    ...(span.traceState === undefined ? {} : { traceState: span.traceState }),
    name: span.name,
    kind: KIND_SERVER,
    startTimeUnixNano: nanos(span.startMs),
    endTimeUnixNano: nanos(span.endMs),
    attributes: attributesOf(span.attributes),
    status: span.isError ? { code: STATUS_ERROR } : {},
  }
}

function attributesOf(values: Readonly<Record<string, AttributeValue | undefined>>): unknown[] {
  return Object.entries(values)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ({ key, value: attributeValue(value) }))
}

function attributeValue(value: AttributeValue | undefined): unknown {
  if (typeof value === 'boolean') return { boolValue: value }
  if (typeof value !== 'number') return { stringValue: value }
  return Number.isInteger(value) ? { intValue: String(value) } : { doubleValue: value }
}

/** Nanoseconds as text, since a double does not hold them. */
function nanos(ms: number): string {
  return `${BigInt(Math.round(ms * 1_000)) * 1_000n}`
}
