// Spans in OTLP's JSON form, sent when OTEL_EXPORTER_OTLP_ENDPOINT says where to. No SDK: two functions are enough here.
import { randomBytes } from 'node:crypto'

const SERVER = 2
const CLIENT = 3
const endpoint = process.env.OTEL_EXPORTER_OTLP_ENDPOINT
const TRACEPARENT = /^00-([0-9a-f]{32})-([0-9a-f]{16})-01$/

/** A span for a request that carries a sampled `traceparent`; `undefined` when nobody collects or nothing is carried. */
export function serverSpan(service, request) {
  const [, traceId, parentSpanId] = TRACEPARENT.exec(request.headers.traceparent ?? '') ?? []
  if (endpoint === undefined || traceId === undefined) return undefined
  return startSpan({ service, name: `${request.method} ${request.url}`, kind: SERVER, traceId, parentSpanId })
}

/** The first span of a new trace; `traceparent` goes into the request's header. */
export function clientSpan(service, name) {
  return startSpan({ service, name, kind: CLIENT, traceId: randomBytes(16).toString('hex') })
}

function startSpan({ service, name, kind, traceId, parentSpanId }) {
  const spanId = randomBytes(8).toString('hex')
  const startedAt = now()
  return {
    traceId,
    spanId,
    traceparent: `00-${traceId}-${spanId}-01`,
    end: () =>
      send(service, {
        traceId,
        spanId,
        ...(parentSpanId === undefined ? {} : { parentSpanId }),
        name,
        kind,
        startTimeUnixNano: startedAt,
        endTimeUnixNano: now(),
      }),
  }
}

const now = () => String(BigInt(Date.now()) * 1_000_000n)

async function send(service, span) {
  if (endpoint === undefined) return
  const attributes = [{ key: 'service.name', value: { stringValue: service } }]
  const body = JSON.stringify({
    resourceSpans: [
      { resource: { attributes }, scopeSpans: [{ scope: { name: 'bookinfo' }, spans: [span] }] },
    ],
  })
  const headers = { 'content-type': 'application/json', connection: 'close' }
  await fetch(`${endpoint}/v1/traces`, { method: 'POST', headers, body }).catch(error =>
    console.error(`span not sent: ${error.cause?.message ?? error.message}`),
  )
}
