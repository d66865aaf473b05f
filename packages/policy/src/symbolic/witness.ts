/** One concrete request of a region: what was told apart as it was found, everything else as it usually is. */
import type { DimensionClass } from './dimension-classes.ts'
import type { RegionChoice } from './compare.ts'
import type { PolicyRequest, RequestHttp } from '../evaluator/request.ts'
import type { Enforcer, PolicyDialect } from '../evaluator/verdict.ts'
import type { PathNormalization } from '../waypoint/normalize-path.ts'

export interface Witness {
  readonly request: PolicyRequest
  readonly enforcer: Enforcer
}

export interface WitnessOptions {
  readonly kind: Enforcer['kind']
  readonly dialect: PolicyDialect
  readonly pathNormalization: PathNormalization
}

const SCHEME = 'spiffe://'
const usual = Object.freeze({
  principal: 'spiffe://cluster.local/ns/default/sa/default',
  ip: '192.0.2.1',
  destinationIp: '10.0.0.1',
  port: 8080,
  namespace: 'default',
})

/** @returns `undefined` when no request can have all of it: a claim cannot be a text and hold others. */
export function witnessOf(choices: readonly RegionChoice[], options: WitnessOptions): Witness | undefined {
  const values = new Map<string, DimensionClass['value']>()
  for (const { dimension, classes } of choices) values.set(dimension, classes[0]?.value)
  const jwt = tokenOf(choices)
  if (jwt === 'impossible') return undefined
  const enforcer = enforcerOf(values, options)
  const principal = values.has('principal') ? text(values, 'principal') : usual.principal
  const ip = text(values, 'source.ip')
  const remoteIp = text(values, 'remote.ip')
  const destinationIp = text(values, 'destination.ip')
  const sni = text(values, 'sni')
  const { service, labels } = enforcer
  const request: PolicyRequest = {
    source: {
      ...(principal === undefined ? {} : { principal: principal.slice(SCHEME.length) }),
      ...(ip === undefined && values.has('source.ip') ? {} : { ip: ip ?? usual.ip }),
      ...(remoteIp === undefined ? {} : { remoteIp }),
    },
    destination: {
      namespace: service === undefined ? enforcer.namespace : (service.split('/')[0] ?? ''),
      ...(labels === undefined || options.kind === 'gateway' ? {} : { labels }),
      ...(service === undefined ? {} : { service }),
      ip: destinationIp ?? usual.destinationIp,
      port: Number(text(values, 'port') ?? usual.port),
    },
    ...(options.dialect === 'envoy-http' ? { http: httpOf(values, options.pathNormalization) } : {}),
    ...(jwt === undefined ? {} : { jwt: { payload: jwt } }),
    ...(sni === undefined || sni === '' ? {} : { sni }),
  }
  return { request, enforcer }
}

function text(values: ReadonlyMap<string, DimensionClass['value']>, dimension: string): string | undefined {
  const value = values.get(dimension)
  return typeof value === 'string' ? value : undefined
}

function enforcerOf(
  values: ReadonlyMap<string, DimensionClass['value']>,
  { kind }: WitnessOptions,
): Enforcer {
  const service = text(values, 'place.service')
  const name = text(values, 'place.name')
  const inService = kind === 'waypoint' && service !== undefined ? service.split('/')[0] : undefined
  const namespace = text(values, 'place.namespace') ?? inService ?? usual.namespace
  const labels: Record<string, string> = {}
  for (const [dimension, value] of values)
    if (dimension.startsWith('label:') && typeof value === 'string') labels[dimension.slice(6)] = value
  return {
    kind,
    namespace,
    ...(name === undefined ? (kind === 'waypoint' ? { name: 'waypoint' } : {}) : { name }),
    ...(Object.keys(labels).length === 0 ? {} : { labels }),
    ...(service === undefined ? {} : { service }),
  }
}

function httpOf(
  values: ReadonlyMap<string, DimensionClass['value']>,
  normalization: PathNormalization,
): RequestHttp {
  const headers: Record<string, string | readonly string[]> = {}
  for (const [dimension, value] of values)
    if (dimension.startsWith('header:') && value !== undefined) headers[dimension.slice(7)] = single(value)
  return {
    method: text(values, 'method') ?? 'GET',
    authority: text(values, 'host') ?? 'example.com',
    path: sentPath(text(values, 'path') ?? '/', normalization),
    ...(Object.keys(headers).length === 0 ? {} : { headers }),
  }
}

/** A path that normalization turns into this one: dots before a parameter would be resolved, and escaped ones are not. */
function sentPath(path: string, normalization: PathNormalization): string {
  if (normalization === 'NONE') return path
  const mark = path.indexOf('?')
  const [before, query] = mark < 0 ? [path, ''] : [path.slice(0, mark), path.slice(mark)]
  return before.replace(/\/\.(?=\.?;)/g, '/%2E') + query
}

function single(value: string | readonly string[]): string | readonly string[] {
  const [only] = value
  return typeof value !== 'string' && value.length === 1 && only !== undefined ? only : value
}

type Payload = Record<string, unknown>

/** Claims that were told apart, in one payload. */
function tokenOf(choices: readonly RegionChoice[]): Payload | undefined | 'impossible' {
  const payload: Payload = {}
  let found = false
  for (const { dimension, classes } of choices) {
    // Where no atom holds the claim may as well be absent, so that it is in nobody's way.
    const one = classes.find(({ holds }) => holds.size === 0) ?? classes[0]
    if (!/^(jwt\.|claim:)/.test(dimension)) continue
    const value = dimension.startsWith('claim:') && one?.holds.size === 0 ? undefined : one?.value
    if (value === undefined) continue
    found = true
    const path = dimension.startsWith('jwt.')
      ? [dimension.slice(4)]
      : (JSON.parse(dimension.slice(6)) as string[])
    if (!put(payload, path, claimValue(path, value))) return 'impossible'
  }
  return found ? payload : undefined
}

/** Claims that may be written with spaces between their elements are lists here. */
function claimValue(path: readonly string[], value: string | readonly string[]): string | readonly string[] {
  if (typeof value === 'string') return value
  const [only] = value
  const splits = path.length === 1 && (path[0] === 'scope' || path[0] === 'permission')
  return value.length === 1 && only !== undefined && !splits && !only.includes(' ') ? only : value
}

function put(payload: Payload, path: readonly string[], value: unknown): boolean {
  const [name = '', ...rest] = path
  const known = payload[name]
  if (rest.length === 0) {
    if (known !== undefined) return false
    payload[name] = value
    return true
  }
  if (known !== undefined && (typeof known !== 'object' || Array.isArray(known))) return false
  const inner = (known ?? {}) as Payload
  payload[name] = inner
  return put(inner, rest, value)
}
