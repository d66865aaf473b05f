/** The fields that a test, a row of its table and the defaults of a file have in common. */
import type { PolicyRequest, RequestDestination, RequestSource } from '../evaluator/request.ts'
import type { Enforcer, PolicyDialect } from '../evaluator/verdict.ts'
import type { YamlObject, YamlReader } from '../yaml/reader.ts'
import { checkDecidedBy, type DecidedBy } from './decided-by.ts'
import {
  completeDestination,
  type Fail,
  type KnownWorkload,
  parseDestination,
  parseEnforcer,
  parseSource,
} from './terms.ts'

/** What is asked. */
export const QUESTION_FIELDS = [
  'from',
  'to',
  'method',
  'host',
  'path',
  'headers',
  'jwt',
  'sni',
  'dialect',
  'enforcer',
] as const

/** What each of them may say. */
export const LAYER_FIELDS = ['name', ...QUESTION_FIELDS, 'expect', 'by', 'status'] as const

export const DIALECTS = ['ztunnel', 'envoy-tcp', 'envoy-http'] as const satisfies readonly PolicyDialect[]

/** What was said; a list stands for each of its values. */
export interface CaseLayer {
  readonly name?: string
  readonly from?: readonly RequestSource[]
  readonly to?: readonly RequestDestination[]
  readonly method?: readonly string[]
  readonly host?: readonly string[]
  readonly path?: readonly string[]
  readonly headers?: NonNullable<NonNullable<PolicyRequest['http']>['headers']>
  readonly jwt?: Readonly<Record<string, unknown>>
  readonly sni?: readonly string[]
  readonly dialect?: PolicyDialect
  readonly enforcer?: Enforcer
  readonly expect?: 'allow' | 'deny'
  readonly by?: DecidedBy
  readonly status?: number
}

/** What the file says before its tests. */
export interface LayerContext {
  readonly trustDomain: string
  readonly workloads: ReadonlyMap<string, KnownWorkload>
}

/** Reads what is there; each mistake is recorded where it stands. */
export function readLayer(object: YamlObject, context: LayerContext): CaseLayer {
  const layer = {
    name: object.get('name')?.text(),
    from: oneOrMore(object.get('from'), reader => readSource(reader, context)),
    to: oneOrMore(object.get('to'), reader => readDestination(reader, context)),
    method: oneOrMore(object.get('method'), reader => reader.text()),
    host: oneOrMore(object.get('host'), reader => reader.text()),
    path: oneOrMore(object.get('path'), reader => reader.text()),
    headers: readHeaders(object.get('headers')),
    jwt: readPayload(object.get('jwt')),
    sni: oneOrMore(object.get('sni'), reader => reader.text()),
    dialect: object.get('dialect')?.oneOf(DIALECTS),
    enforcer: readEnforcer(object.get('enforcer')),
    expect: object.get('expect')?.oneOf(['allow', 'deny'] as const),
    by: readDecidedBy(object.get('by')),
    status: object.get('status')?.integer({ min: 100, max: 599 }),
  }
  return withoutAbsent(layer)
}

/** How to tell a reader about a mistake. */
function failAt(reader: YamlReader): Fail {
  return message => {
    reader.problem(message)
    return undefined
  }
}

function oneOrMore<T>(
  reader: YamlReader | undefined,
  read: (reader: YamlReader) => T | undefined,
): readonly T[] | undefined {
  if (reader === undefined) return undefined
  if (reader.kind !== 'list') {
    const one = read(reader)
    return one === undefined ? undefined : [one]
  }
  const values = reader.list(read)
  if (reader.list(() => true).length === 0) reader.problem('expected at least one value, found an empty list')
  return values.length === 0 ? undefined : values
}

function readSource(reader: YamlReader, { trustDomain }: LayerContext): RequestSource | undefined {
  if (reader.kind !== 'object') {
    const text = reader.text()
    return text === undefined ? undefined : parseSource(text, trustDomain, failAt(reader))
  }
  const object = reader.object(['principal', 'ip', 'remoteIp'])
  const principal = object?.get('principal')
  const written = principal?.text()
  const parsed =
    written === undefined || principal === undefined
      ? undefined
      : parseSource(written, trustDomain, failAt(principal))
  return withoutAbsent({
    principal: parsed?.principal,
    ip: object?.get('ip')?.text(),
    remoteIp: object?.get('remoteIp')?.text(),
  })
}

function readDestination(reader: YamlReader, { workloads }: LayerContext): RequestDestination | undefined {
  if (reader.kind !== 'object') {
    const text = reader.text()
    return text === undefined ? undefined : parseDestination(text, workloads, failAt(reader))
  }
  const object = reader.object(['namespace', 'workload', 'labels', 'service', 'ip', 'port'])
  const port = object?.required('port')?.integer({ min: 0, max: 65_535 })
  if (object === undefined || port === undefined) return undefined
  const terms = withoutAbsent({
    namespace: object.get('namespace')?.text(),
    workload: object.get('workload')?.text(),
    labels: object.get('labels')?.strings(),
    service: object.get('service')?.text(),
    ip: object.get('ip')?.text(),
  })
  return completeDestination({ ...terms, port }, failAt(reader))
}

function readHeaders(reader: YamlReader | undefined): CaseLayer['headers'] | undefined {
  if (reader === undefined) return undefined
  return Object.fromEntries(
    reader.map(value => (value.kind === 'list' ? value.list(item => item.string()) : value.string())),
  )
}

function readPayload(reader: YamlReader | undefined): CaseLayer['jwt'] | undefined {
  if (reader?.object() === undefined) return undefined
  const payload = reader.toJson()
  return isRecord(payload) ? payload : undefined
}

function readEnforcer(reader: YamlReader | undefined): Enforcer | undefined {
  if (reader === undefined) return undefined
  if (reader.kind !== 'object') {
    const text = reader.text()
    return text === undefined ? undefined : parseEnforcer(text, failAt(reader))
  }
  const object = reader.object(['kind', 'namespace', 'name', 'labels', 'service'])
  const kind = object?.required('kind')?.oneOf(['workload', 'waypoint', 'gateway'] as const)
  const namespace = object?.required('namespace')?.text()
  if (object === undefined || kind === undefined || namespace === undefined) return undefined
  const rest = withoutAbsent({
    name: object.get('name')?.text(),
    labels: object.get('labels')?.strings(),
    service: object.get('service')?.text(),
  })
  return { kind, namespace, ...rest }
}

function readDecidedBy(reader: YamlReader | undefined): DecidedBy | undefined {
  const text = reader?.text()
  return reader === undefined || text === undefined ? undefined : checkDecidedBy(text, failAt(reader))
}

/** What is absent is left out, so that a layer does not cover the one below it with nothing. */
function withoutAbsent<T extends object>(fields: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const given: { [K in keyof T]?: Exclude<T[K], undefined> } = {}
  for (const [key, value] of Object.entries(fields))
    if (value !== undefined) Object.assign(given, { [key]: value })
  return given
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
