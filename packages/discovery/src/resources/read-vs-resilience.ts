/** Retries, faults and CORS of a VirtualService. */
import type { YamlObject, YamlReader } from '@ambient/policy'
import { readTexts, readValueMatch } from './read-traffic.ts'
import { readDurationMs, readPercent, shown } from './read-values.ts'
import type { CorsPolicy, ValueMatch } from './traffic-types.ts'
import type { VirtualServiceFault, VirtualServiceRetries } from './virtual-service-types.ts'

const CONDITIONS: ReadonlySet<string> = new Set([
  '5xx',
  'gateway-error',
  'reset',
  'reset-before-request',
  'connect-failure',
  'envoy-ratelimited',
  'retriable-4xx',
  'refused-stream',
  'retriable-status-codes',
  'retriable-headers',
  'http3-post-connect-failure',
  'cancelled',
  'deadline-exceeded',
  'internal',
  'resource-exhausted',
  'unavailable',
])
/** In the order of their numbers. */
const GRPC_STATUS = [
  'OK',
  'CANCELLED',
  'UNKNOWN',
  'INVALID_ARGUMENT',
  'DEADLINE_EXCEEDED',
  'NOT_FOUND',
  'ALREADY_EXISTS',
  'PERMISSION_DENIED',
  'RESOURCE_EXHAUSTED',
  'FAILED_PRECONDITION',
  'ABORTED',
  'OUT_OF_RANGE',
  'UNIMPLEMENTED',
  'INTERNAL',
  'UNAVAILABLE',
  'DATA_LOSS',
  'UNAUTHENTICATED',
]

export function readRetries(reader: YamlReader | undefined): VirtualServiceRetries | undefined {
  const object = reader?.object([
    'attempts',
    'perTryTimeout',
    'retryOn',
    'retryRemoteLocalities',
    'retryIgnorePreviousHosts',
    'backoff',
  ])
  if (object === undefined) return undefined
  const attempts = object.get('attempts')?.integer({ min: 0, max: 1000 }) ?? 0
  const perTryTimeoutMs = readDurationMs(object.get('perTryTimeout'), { minMs: 1 })
  const backoffMs = readDurationMs(object.get('backoff'), { minMs: 1 })
  const retryOn = readRetryOn(object.get('retryOn'))
  const retryRemoteLocalities = object.get('retryRemoteLocalities')?.boolean()
  const retryIgnorePreviousHosts = object.get('retryIgnorePreviousHosts')?.boolean()
  if (attempts === 0 && (perTryTimeoutMs !== undefined || retryOn !== undefined))
    reader?.problem('attempts is 0, so there are no retries', 'warning')
  return {
    attempts,
    ...(perTryTimeoutMs !== undefined && { perTryTimeoutMs }),
    ...(retryOn !== undefined && { retryOn }),
    ...(retryRemoteLocalities !== undefined && { retryRemoteLocalities }),
    ...(retryIgnorePreviousHosts !== undefined && { retryIgnorePreviousHosts }),
    ...(backoffMs !== undefined && { backoffMs }),
  }
}

/** Status codes may stand among the conditions. */
function readRetryOn(reader: YamlReader | undefined): string | undefined {
  const text = reader?.text()
  if (reader === undefined || text === undefined) return undefined
  for (const token of text.split(',').map(part => part.trim()))
    if (!CONDITIONS.has(token) && !/^[1-5]\d\d$/.test(token))
      reader.problem(`expected ${[...CONDITIONS].join(', ')} or a status code, found ${shown(token)}`)
  return text
}

export function readFault(reader: YamlReader | undefined): VirtualServiceFault | undefined {
  const object = reader?.object(['delay', 'abort'])
  if (object === undefined || reader === undefined) return undefined
  if (!object.has('delay') && !object.has('abort')) reader.problem('expected delay, abort or both')
  const delay = readDelay(object.get('delay'))
  const abort = readAbort(object.get('abort'))
  return { ...(delay !== undefined && { delay }), ...(abort !== undefined && { abort }) }
}

function readDelay(reader: YamlReader | undefined): VirtualServiceFault['delay'] {
  const object = reader?.object(['fixedDelay', 'exponentialDelay', 'percentage', 'percent'])
  if (object === undefined || reader === undefined) return undefined
  object.get('exponentialDelay')?.problem('is not supported: write fixedDelay')
  const delayMs = readDurationMs(object.required('fixedDelay'), { minMs: 1 })
  const percent = readShare(object)
  return delayMs === undefined ? undefined : { percent, delayMs }
}

function readAbort(reader: YamlReader | undefined): VirtualServiceFault['abort'] {
  const object = reader?.object(['httpStatus', 'grpcStatus', 'http2Error', 'percentage', 'percent'])
  if (object === undefined || reader === undefined) return undefined
  object.get('http2Error')?.problem('is not supported: write httpStatus or grpcStatus')
  const httpStatus = object.get('httpStatus')?.integer({ min: 200, max: 599 })
  const grpcStatus = readGrpcStatus(object.get('grpcStatus'))
  if (object.has('httpStatus') === object.has('grpcStatus'))
    reader.problem('expected exactly one of httpStatus and grpcStatus')
  return {
    percent: readShare(object),
    ...(httpStatus !== undefined && { httpStatus }),
    ...(grpcStatus !== undefined && { grpcStatus }),
  }
}

function readGrpcStatus(reader: YamlReader | undefined): number | undefined {
  const name = reader?.oneOf(GRPC_STATUS)
  return name === undefined ? undefined : GRPC_STATUS.indexOf(name)
}

/** Without a share nothing ever happens, which is Istio's reading. */
function readShare(object: YamlObject): number {
  const share = object.get('percentage')
  const old = object.get('percent')
  if (share !== undefined) {
    if (share.kind === 'object' && share.object()?.keys.length === 0)
      share.problem('has no value, so it happens to no request', 'warning')
    return readPercent(share) ?? 0
  }
  if (old === undefined) {
    object.reader.problem('has no percentage, so it happens to no request', 'warning')
    return 0
  }
  old.problem('is an older form: write percentage: { value: … }', 'warning')
  return old.integer({ min: 0, max: 100 }) ?? 0
}

export function readCorsPolicy(reader: YamlReader | undefined): CorsPolicy | undefined {
  const object = reader?.object([
    'allowOrigin',
    'allowOrigins',
    'allowMethods',
    'allowHeaders',
    'exposeHeaders',
    'maxAge',
    'allowCredentials',
    'unmatchedPreflights',
  ])
  if (object === undefined) return undefined
  const maxAgeMs = readDurationMs(object.get('maxAge'), { minMs: 0 })
  const allowCredentials = object.get('allowCredentials')?.boolean()
  const preflights = object.get('unmatchedPreflights')?.oneOf(['UNSPECIFIED', 'FORWARD', 'IGNORE'])
  const old = readTexts(object.get('allowOrigin')).map(
    (value): ValueMatch => (value === '*' ? { kind: 'regex', value: '.*' } : { kind: 'exact', value }),
  )
  return {
    allowOrigins: [...(object.get('allowOrigins')?.list(readValueMatch) ?? []), ...old],
    allowMethods: readTexts(object.get('allowMethods')),
    allowHeaders: readTexts(object.get('allowHeaders')),
    exposeHeaders: readTexts(object.get('exposeHeaders')),
    ...(maxAgeMs !== undefined && { maxAgeMs }),
    ...(allowCredentials !== undefined && { allowCredentials }),
    unmatchedPreflights: preflights === 'IGNORE' ? 'IGNORE' : 'FORWARD',
  }
}
