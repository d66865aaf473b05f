/** Filters of an HTTPRoute: core and extended ones; whatever is not carried out is refused, never passed over. */
import type { YamlObject, YamlReader } from '@ambient/policy'
import type { ReadScope } from './context.ts'
import type { HttpRouteFilter, PathModifier } from './http-route-types.ts'
import { readHost } from './hostnames.ts'
import { readBackend } from './read-backend.ts'
import { PORT_RANGE, readNumber, shown } from './read-values.ts'
import { readModifierLists, readTexts } from './read-traffic.ts'
import type { ValueMatch } from './traffic-types.ts'

const FILTER_FIELDS = [
  'type',
  'requestHeaderModifier',
  'responseHeaderModifier',
  'requestMirror',
  'requestRedirect',
  'urlRewrite',
  'cors',
  'extensionRef',
  'externalAuth',
] as const
const TYPES = [
  'RequestHeaderModifier',
  'ResponseHeaderModifier',
  'RequestMirror',
  'RequestRedirect',
  'URLRewrite',
  'CORS',
  'ExtensionRef',
  'ExternalAuth',
] as const
type FilterType = (typeof TYPES)[number]
/** Only mirrors may be there several times. */
const REPEATABLE: ReadonlySet<FilterType> = new Set(['RequestMirror'])
const REDIRECT_CODES = [301, 302, 303, 307, 308]
const DEFAULT_REDIRECT = 302
const DEFAULT_MAX_AGE_MS = 5_000

export function readFilters(
  reader: YamlReader | undefined,
  scope: ReadScope,
  where: 'rule' | 'backend',
): readonly HttpRouteFilter[] {
  const seen = new Set<FilterType>()
  const filters = reader?.list(item => {
    const object = item.object(FILTER_FIELDS)
    const typeReader = object?.required('type')
    const type = typeReader?.oneOf(TYPES)
    if (object === undefined || type === undefined || typeReader === undefined) return undefined
    if (seen.has(type) && !REPEATABLE.has(type)) typeReader.problem(`${type} is there twice`)
    seen.add(type)
    if (type === 'ExtensionRef' || type === 'ExternalAuth') {
      typeReader.problem(`${type} is not supported by a waypoint: leave it out`)
      return undefined
    }
    if (where === 'backend' && !type.endsWith('HeaderModifier')) {
      typeReader.problem(`${type} is not supported for a single backend: write it for the rule`)
      return undefined
    }
    checkUnion(object, type)
    return readFilter(object, type, scope)
  })
  if (seen.has('RequestRedirect') && seen.has('URLRewrite'))
    reader?.problem('RequestRedirect and URLRewrite exclude each other')
  return filters ?? []
}

/** What belongs to another type would be passed over. */
function checkUnion(object: YamlObject, type: FilterType): void {
  for (const field of FILTER_FIELDS)
    if (field !== 'type' && field.toLowerCase() !== type.toLowerCase())
      object.get(field)?.problem(`has no place in a filter of type ${type}`)
}

function readFilter(
  object: YamlObject,
  type: Exclude<FilterType, 'ExtensionRef' | 'ExternalAuth'>,
  scope: ReadScope,
): HttpRouteFilter | undefined {
  switch (type) {
    case 'RequestHeaderModifier': {
      const modifier = readModifierLists(object.required('requestHeaderModifier'))
      return modifier && { type, ...modifier }
    }
    case 'ResponseHeaderModifier': {
      const modifier = readModifierLists(object.required('responseHeaderModifier'))
      return modifier && { type, ...modifier }
    }
    case 'RequestMirror':
      return readMirror(object.required('requestMirror'), scope)
    case 'RequestRedirect':
      return readRedirect(object.required('requestRedirect'))
    case 'URLRewrite':
      return readRewrite(object.required('urlRewrite'))
    case 'CORS':
      return readCors(object.required('cors'))
  }
}

function readMirror(reader: YamlReader | undefined, scope: ReadScope): HttpRouteFilter | undefined {
  const object = reader?.object(['backendRef', 'percent', 'fraction'])
  const backendObject = object?.required('backendRef')?.object(['group', 'kind', 'namespace', 'name', 'port'])
  const backendRef = backendObject && readBackend(backendObject, scope)
  const percent = object?.get('percent')?.integer({ min: 0, max: 100 })
  const fraction = object?.get('fraction')?.object(['numerator', 'denominator'])
  const numerator = fraction?.required('numerator')?.integer({ min: 0, max: 2 ** 31 - 1 })
  const denominator = fraction?.get('denominator')?.integer({ min: 1, max: 2 ** 31 - 1 }) ?? 100
  if (fraction !== undefined && percent !== undefined)
    reader?.problem('expected only one of percent and fraction')
  if (numerator !== undefined && numerator > denominator)
    fraction?.reader.problem('the numerator cannot be greater than the denominator')
  if (backendRef === undefined) return undefined
  const share = numerator === undefined ? (percent ?? 100) : (numerator / denominator) * 100
  return { type: 'RequestMirror', backendRef, percent: share }
}

function readRedirect(reader: YamlReader | undefined): HttpRouteFilter | undefined {
  const object = reader?.object(['scheme', 'hostname', 'path', 'port', 'statusCode'])
  if (object === undefined) return undefined
  const scheme = object.get('scheme')?.oneOf(['http', 'https'])
  const hostname = readHost(object.get('hostname'), false)
  const path = readPathModifier(object.get('path'))
  const port = object.get('port')?.integer(PORT_RANGE)
  const codeReader = object.get('statusCode')
  const statusCode = codeReader?.integer() ?? DEFAULT_REDIRECT
  if (!REDIRECT_CODES.includes(statusCode))
    codeReader?.problem(`expected one of ${REDIRECT_CODES.join(', ')}, found ${statusCode}`)
  return {
    type: 'RequestRedirect',
    ...(scheme !== undefined && { scheme }),
    ...(hostname !== undefined && { hostname }),
    ...(path !== undefined && { path }),
    ...(port !== undefined && { port }),
    statusCode,
  }
}

function readRewrite(reader: YamlReader | undefined): HttpRouteFilter | undefined {
  const object = reader?.object(['hostname', 'path'])
  if (object === undefined) return undefined
  const hostname = readHost(object.get('hostname'), false)
  const path = readPathModifier(object.get('path'))
  return {
    type: 'URLRewrite',
    ...(hostname !== undefined && { hostname }),
    ...(path !== undefined && { path }),
  }
}

function readPathModifier(reader: YamlReader | undefined): PathModifier | undefined {
  const object = reader?.object(['type', 'replaceFullPath', 'replacePrefixMatch'])
  const type = object?.required('type')?.oneOf(['ReplaceFullPath', 'ReplacePrefixMatch'])
  if (object === undefined || type === undefined) return undefined
  const field = type === 'ReplaceFullPath' ? 'replaceFullPath' : 'replacePrefixMatch'
  const other = type === 'ReplaceFullPath' ? 'replacePrefixMatch' : 'replaceFullPath'
  object.get(other)?.problem(`expected with type ${type} only ${field}`)
  const value = object.required(field)?.string()
  return value === undefined ? undefined : { type, value }
}

function readCors(reader: YamlReader | undefined): HttpRouteFilter | undefined {
  const object = reader?.object([
    'allowOrigins',
    'allowCredentials',
    'allowMethods',
    'allowHeaders',
    'exposeHeaders',
    'maxAge',
  ])
  if (object === undefined) return undefined
  const allowCredentials = object.get('allowCredentials')?.boolean()
  const maxAge = object.get('maxAge')
  const seconds = maxAge === undefined ? undefined : readNumber(maxAge, { min: 1, max: 2 ** 31 - 1 })
  return {
    type: 'CORS',
    cors: {
      allowOrigins: object.get('allowOrigins')?.list(readOrigin) ?? [],
      allowMethods: readTexts(object.get('allowMethods')),
      allowHeaders: readTexts(object.get('allowHeaders')),
      exposeHeaders: readTexts(object.get('exposeHeaders')),
      maxAgeMs: seconds === undefined ? DEFAULT_MAX_AGE_MS : seconds * 1000,
      ...(allowCredentials !== undefined && { allowCredentials }),
      unmatchedPreflights: 'IGNORE',
    },
  }
}

/** `*`, an origin, or one with a star for any number of labels. */
function readOrigin(reader: YamlReader): ValueMatch | undefined {
  const text = reader.text()
  if (text === undefined) return undefined
  if (text === '*') return { kind: 'regex', value: '.*' }
  if (
    !/^[a-z][a-z0-9+.-]*:\/\/(\*\.)?[A-Za-z0-9.\-[\]:]+(:(\d{1,5}|\*))?$/.test(text) &&
    !/^[a-z]+:\/\/\*(:\d+)?$/.test(text)
  ) {
    reader.problem(
      `expected *, an origin such as https://example.com, or one with a star, found ${shown(text)}`,
    )
    return undefined
  }
  if (!text.includes('*')) return { kind: 'exact', value: text }
  return { kind: 'regex', value: text.replace(/[.+?^${}()|[\]\\]/g, '\\$&').replaceAll('*', '.+') }
}
