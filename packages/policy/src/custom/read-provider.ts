/**
 * One of a mesh's `extensionProviders`, checked as istiod checks it; each mistake with its position.
 *
 * Source: `istio/api mesh/v1alpha1/config.proto`; istiod's validation of extension providers.
 */
import type {
  AuthorizationProvider,
  CheckedBody,
  GrpcAuthorizationProvider,
  HttpAuthorizationProvider,
} from './provider.ts'
import { defaults } from '../defaults.ts'
import { limits } from '../limits.ts'
import { quote } from '../yaml/problem.ts'
import type { YamlObject, YamlReader } from '../yaml/reader.ts'

const LABEL = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/
const HOST_LABEL = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/i
const HEADER_NAME = /^[!#$%&'+.^_`|~0-9A-Za-z-]+$/
/** What a header's value may hold: no control characters, so that nothing can be put behind it. */
const HEADER_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/
const DURATION = /^(\d{1,12})(?:\.(\d{1,9}))?s$/

const GRPC_FIELDS: readonly string[] = [
  'service',
  'port',
  'timeout',
  'failOpen',
  'statusOnError',
  'clearRouteCache',
  'includeRequestBodyInCheck',
]
const HTTP_FIELDS: readonly string[] = [
  ...GRPC_FIELDS,
  'pathPrefix',
  'includeHeadersInCheck',
  'includeRequestHeadersInCheck',
  'includeAdditionalHeadersInCheck',
  'headersToUpstreamOnAllow',
  'headersToDownstreamOnDeny',
  'headersToDownstreamOnAllow',
]

/** `undefined` for providers of another kind (tracing, logging, …), and for one with mistakes. */
export function readProvider(reader: YamlReader, names: Set<string>): AuthorizationProvider | undefined {
  const object = reader.object()
  const name = object?.required('name')
  const text = name?.text()
  if (object === undefined || name === undefined || text === undefined) return undefined
  if (text.length > limits.maxProviderName || !LABEL.test(text))
    name.problem(
      `expected at most ${limits.maxProviderName} lower case letters, digits and dashes, found ${quote(text)}`,
    )
  if (names.has(text)) name.problem(`the name ${quote(text)} is used twice`)
  names.add(text)
  const [grpc, http] = [object.get('envoyExtAuthzGrpc'), object.get('envoyExtAuthzHttp')]
  if (grpc !== undefined && http !== undefined)
    reader.problem('expected only one of envoyExtAuthzGrpc and envoyExtAuthzHttp')
  if (grpc !== undefined) return readGrpc(grpc, text)
  return http === undefined ? undefined : readHttp(http, text)
}

function readGrpc(reader: YamlReader, name: string): GrpcAuthorizationProvider | undefined {
  const object = openProvider(reader, GRPC_FIELDS)
  const common = object && readCommon(object)
  return common && Object.freeze({ kind: 'grpc', name, ...common })
}

function readHttp(reader: YamlReader, name: string): HttpAuthorizationProvider | undefined {
  const object = openProvider(reader, HTTP_FIELDS)
  const common = object && readCommon(object)
  if (object === undefined || common === undefined) return undefined
  const prefix = object.get('pathPrefix')
  const pathPrefix = prefix?.string() ?? ''
  if (pathPrefix !== '' && !/^\/[\x21-\x7e]*$/.test(pathPrefix))
    prefix?.problem(`expected a path that begins with /, found ${quote(pathPrefix)}`)
  const names = (field: string): readonly string[] => object.get(field)?.list(readPattern) ?? []
  return Object.freeze({
    kind: 'http',
    name,
    ...common,
    pathPrefix,
    includeRequestHeaders: [...names('includeRequestHeadersInCheck'), ...names('includeHeadersInCheck')],
    additionalHeaders: readAdditional(object.get('includeAdditionalHeadersInCheck')),
    headersToUpstreamOnAllow: names('headersToUpstreamOnAllow'),
    headersToDownstreamOnDeny: names('headersToDownstreamOnDeny'),
    headersToDownstreamOnAllow: names('headersToDownstreamOnAllow'),
  })
}

/** A field that istiod does not know either is one that does nothing: said, but no error. */
function openProvider(reader: YamlReader, fields: readonly string[]): YamlObject | undefined {
  const object = reader.object()
  for (const key of object?.keys ?? [])
    if (!fields.includes(key)) object?.problemAt(key, 'unknown field, passed over', 'warning')
  return object
}

type Common = Omit<GrpcAuthorizationProvider, 'kind' | 'name'>

function readCommon(object: YamlObject): Common | undefined {
  const service = readService(object.required('service'))
  const port = object.required('port')?.integer({ min: 1, max: 65_535 })
  const timeoutMs = readTimeout(object.get('timeout'))
  const statusOnError = readStatus(object.get('statusOnError'))
  const failOpen = object.get('failOpen')?.boolean() ?? defaults.providerFailOpen
  const clearRouteCache = object.get('clearRouteCache')?.boolean() ?? false
  const body = readBody(object.get('includeRequestBodyInCheck'))
  if (service === undefined || port === undefined) return undefined
  return {
    service,
    port,
    timeoutMs,
    failOpen,
    statusOnError,
    clearRouteCache,
    ...(body === undefined ? {} : { body }),
  }
}

function readService(reader: YamlReader | undefined): Common['service'] | undefined {
  const text = reader?.text()
  if (text === undefined) return undefined
  const [first = '', second, more] = text.split('/')
  const host = second ?? first
  const namespace = second === undefined ? undefined : first
  const isGood =
    more === undefined &&
    host.length <= limits.maxHostLength &&
    host.split('.').every(label => HOST_LABEL.test(label)) &&
    (namespace === undefined || LABEL.test(namespace))
  if (!isGood) reader?.problem(`expected HOST or NAMESPACE/HOST, found ${quote(text)}`)
  return { host: host.toLowerCase(), ...(namespace === undefined ? {} : { namespace }) }
}

/** As protobuf's JSON has it: seconds, with a fraction if need be. */
function readTimeout(reader: YamlReader | undefined): number {
  const text = reader?.text()
  if (text === undefined) return defaults.providerTimeoutMs
  const [, whole, fraction = ''] = DURATION.exec(text) ?? []
  const ms = whole === undefined ? Number.NaN : Number(`${whole}.${fraction}`) * 1_000
  if (ms >= 1 && ms <= limits.maxProviderTimeoutMs) return Math.round(ms)
  reader?.problem(
    `expected seconds such as 0.5s, from 0.001s to ${limits.maxProviderTimeoutMs / 1_000}s, found ${quote(text)}`,
  )
  return defaults.providerTimeoutMs
}

function readStatus(reader: YamlReader | undefined): number {
  const text = reader?.string()
  if (text === undefined || text === '') return defaults.providerStatusOnError
  if (/^[2-5]\d\d$/.test(text)) return Number(text)
  reader?.problem(`expected an HTTP status such as "503", found ${quote(text)}`)
  return defaults.providerStatusOnError
}

function readBody(reader: YamlReader | undefined): CheckedBody | undefined {
  const object = reader?.object()
  const maxBytes = object?.required('maxRequestBytes')?.integer({ min: 1, max: limits.maxCheckedBodyBytes })
  if (object === undefined || maxBytes === undefined) return undefined
  return {
    maxBytes,
    allowPartial: object.get('allowPartialMessage')?.boolean() ?? false,
    asBytes: object.get('packAsBytes')?.boolean() ?? false,
  }
}

function readPattern(reader: YamlReader): string | undefined {
  const text = reader.text()
  if (text === undefined) return undefined
  const bare = text.endsWith('*') ? text.slice(0, -1) : text.startsWith('*') ? text.slice(1) : text
  if (!HEADER_NAME.test(bare))
    reader.problem(`expected a header name, PREFIX* or *SUFFIX, found ${quote(text)}`)
  return text
}

function readAdditional(reader: YamlReader | undefined): HttpAuthorizationProvider['additionalHeaders'] {
  const headers: (readonly [string, string])[] = []
  for (const [name, value] of reader?.map(item => item) ?? []) {
    const text = value.string()
    if (!HEADER_NAME.test(name)) value.problem(`${quote(name)} is no header name`)
    if (text !== undefined && !HEADER_VALUE.test(text)) value.problem('control characters are not allowed')
    if (text !== undefined) headers.push([name.toLowerCase(), text])
  }
  return headers
}
