/** OpenTelemetry's variables, as far as an exporter of spans over OTLP/HTTP with JSON needs them. */
import { type Environment, integer, invalid, oneOf, text } from '@ambient/core/proxy'
import { tracingDefaults } from '../defaults.ts'
import type { TracingConfig } from './config.ts'

const SAMPLERS = [
  'always_on',
  'always_off',
  'traceidratio',
  'parentbased_always_on',
  'parentbased_always_off',
  'parentbased_traceidratio',
] as const
const TRACES_PATH = 'v1/traces'
const COUNT = { min: 1, max: 1_000_000 }

/** @throws CoreError `AMBIENT_E_CONFIG` */
export function tracingFromEnvironment(env: Environment, defaultName: string): TracingConfig {
  const { maxQueuedSpans, maxBatchSpans, batchDelayMs, exportTimeoutMs } = tracingDefaults
  const queued = integer(env, 'OTEL_BSP_MAX_QUEUE_SIZE', maxQueuedSpans, COUNT)
  const attributes = readPairs(env, 'OTEL_RESOURCE_ATTRIBUTES')
  return Object.freeze({
    endpoint: readEndpoint(env),
    headers: Object.freeze({
      ...readPairs(env, 'OTEL_EXPORTER_OTLP_HEADERS'),
      ...readPairs(env, 'OTEL_EXPORTER_OTLP_TRACES_HEADERS'),
    }),
    timeoutMs: integer(env, 'OTEL_EXPORTER_OTLP_TIMEOUT', exportTimeoutMs, COUNT),
    maxQueuedSpans: queued,
    maxBatchSpans: Math.min(queued, integer(env, 'OTEL_BSP_MAX_EXPORT_BATCH_SIZE', maxBatchSpans, COUNT)),
    batchDelayMs: integer(env, 'OTEL_BSP_SCHEDULE_DELAY', batchDelayMs, COUNT),
    ...readSampler(env),
    serviceName: text(env, 'OTEL_SERVICE_NAME') ?? attributes['service.name'] ?? defaultName,
    resourceAttributes: Object.freeze(attributes),
  })
}

function readEndpoint(env: Environment): string | undefined {
  for (const name of ['OTEL_EXPORTER_OTLP_TRACES_PROTOCOL', 'OTEL_EXPORTER_OTLP_PROTOCOL'])
    oneOf(env, name, 'http/json', ['http/json'] as const)
  if (text(env, 'OTEL_SDK_DISABLED')?.toLowerCase() === 'true') return undefined
  const own = text(env, 'OTEL_EXPORTER_OTLP_TRACES_ENDPOINT')
  if (own !== undefined) return checkUrl('OTEL_EXPORTER_OTLP_TRACES_ENDPOINT', own).href
  const base = text(env, 'OTEL_EXPORTER_OTLP_ENDPOINT')
  if (base === undefined) return undefined
  const url = checkUrl('OTEL_EXPORTER_OTLP_ENDPOINT', base)
  url.pathname = `${url.pathname.replace(/\/$/, '')}/${TRACES_PATH}`
  return url.href
}

function checkUrl(name: string, value: string): URL {
  if (!URL.canParse(value) || !/^https?:$/.test(new URL(value).protocol))
    return invalid(name, value, 'expected http://host:port or https://host:port')
  return new URL(value)
}

function readSampler(env: Environment): Pick<TracingConfig, 'parentBased' | 'ratio'> {
  const sampler = oneOf(env, 'OTEL_TRACES_SAMPLER', 'parentbased_traceidratio', SAMPLERS)
  const parentBased = sampler.startsWith('parentbased_')
  if (sampler.endsWith('always_on')) return { parentBased, ratio: 1 }
  if (sampler.endsWith('always_off')) return { parentBased, ratio: 0 }
  const value = text(env, 'OTEL_TRACES_SAMPLER_ARG')
  const ratio = value === undefined ? tracingDefaults.samplingRatio : Number(value)
  if (!(ratio >= 0 && ratio <= 1))
    return invalid('OTEL_TRACES_SAMPLER_ARG', value ?? '', 'expected a number from 0 to 1')
  return { parentBased, ratio }
}

/** `key=value,key=value`, values percent-encoded, as W3C baggage. */
function readPairs(env: Environment, name: string): Record<string, string> {
  const pairs: Record<string, string> = {}
  for (const part of (text(env, name) ?? '').split(',').map(pair => pair.trim())) {
    if (part === '') continue
    const split = part.indexOf('=')
    if (split <= 0) return invalid(name, part, 'expected key=value,key=value')
    pairs[part.slice(0, split).trim()] = decode(part.slice(split + 1).trim())
  }
  return pairs
}

function decode(value: string): string {
  try {
    return decodeURIComponent(value)
  } catch {
    return value
  }
}
