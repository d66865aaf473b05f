/** What an HTTP route of a VirtualService does: forward, redirect or answer; rewrites and mirrors. */
import type { YamlObject, YamlReader } from '@ambient/policy'
import { RE2JS } from 're2js'
import type { ReadScope } from './context.ts'
import { readDestination, readDestinations } from './read-vs-parts.ts'
import { PORT_RANGE, readPercent, readRegex, shown } from './read-values.ts'
import type {
  VirtualServiceAction,
  VirtualServiceHttpRoute,
  VirtualServiceRewrite,
} from './virtual-service-types.ts'

const ACTIONS = ['route', 'redirect', 'directResponse', 'delegate'] as const
const REDIRECT_CODES = [301, 302, 303, 307, 308]
const DEFAULT_REDIRECT = 301
const DERIVED_PORTS = ['FROM_PROTOCOL_DEFAULT', 'FROM_REQUEST_PORT'] as const
/** Envoy's, for a waypoint. */
const MAX_BODY_BYTES = 1024 * 1024

export function readAction(route: YamlObject, scope: ReadScope): VirtualServiceAction | undefined {
  const [action, other] = ACTIONS.filter(field => route.has(field))
  const reader = action && route.get(action)
  if (action === undefined || reader === undefined) {
    route.reader.problem('expected one of route, redirect, directResponse')
    return undefined
  }
  if (other !== undefined) route.get(other)?.problem(`expected only one of ${action} and ${other}`)
  if (action === 'delegate') {
    reader.problem('delegation is not supported: write the routes of the other VirtualService here')
    return undefined
  }
  if (action !== 'route') checkAlone(route, action)
  if (action === 'redirect') return readRedirect(reader)
  if (action === 'directResponse') return readDirectResponse(reader)
  return { kind: 'route', destinations: readDestinations(reader, scope, true) }
}

/** Istio's validation: what is answered here has no upstream to rewrite for, to retry or to mirror. */
function checkAlone(route: YamlObject, action: 'redirect' | 'directResponse'): void {
  for (const field of ['rewrite', 'retries', 'timeout', 'mirror', 'mirrors'] as const)
    route.get(field)?.problem(`has no place beside ${action}`, field === 'rewrite' ? 'error' : 'warning')
}

function readRedirect(reader: YamlReader): VirtualServiceAction | undefined {
  const object = reader.object([
    'uri',
    'authority',
    'port',
    'derivePort',
    'scheme',
    'redirectCode',
    'prefixRewrite',
  ])
  if (object === undefined) return undefined
  if (object.keys.length === 0) reader.problem('expected uri, authority or another field, found none')
  const uri = object.get('uri')?.text()
  const prefixRewrite = object.get('prefixRewrite')?.text()
  const authority = object.get('authority')?.text()
  const scheme = object.get('scheme')?.oneOf(['http', 'https'])
  const port = object.get('port')?.integer(PORT_RANGE) ?? object.get('derivePort')?.oneOf(DERIVED_PORTS)
  if (object.has('port') && object.has('derivePort'))
    object.get('derivePort')?.problem('expected only one of port and derivePort')
  if (object.has('uri') && object.has('prefixRewrite'))
    object.get('prefixRewrite')?.problem('expected only one of uri and prefixRewrite')
  const codeReader = object.get('redirectCode')
  const statusCode = codeReader?.integer() ?? DEFAULT_REDIRECT
  if (!REDIRECT_CODES.includes(statusCode))
    codeReader?.problem(`expected one of ${REDIRECT_CODES.join(', ')}, found ${statusCode}`)
  return {
    kind: 'redirect',
    ...(uri !== undefined && { uri }),
    ...(prefixRewrite !== undefined && { prefixRewrite }),
    ...(authority !== undefined && { authority }),
    ...(scheme !== undefined && { scheme }),
    ...(port !== undefined && { port }),
    statusCode,
  }
}

function readDirectResponse(reader: YamlReader): VirtualServiceAction | undefined {
  const object = reader.object(['status', 'body'])
  const status = object?.required('status')?.integer({ min: 200, max: 599 })
  const bodyReader = object?.get('body')
  const body = bodyReader?.object(['string', 'bytes'])
  if (body?.has('string') && body.has('bytes')) bodyReader?.problem('expected only one of string and bytes')
  const text = body?.get('string')?.string() ?? readBytes(body?.get('bytes')) ?? ''
  if (new TextEncoder().encode(text).length > MAX_BODY_BYTES)
    bodyReader?.problem(`expected at most ${MAX_BODY_BYTES} bytes`)
  return status === undefined ? undefined : { kind: 'respond', status, body: text }
}

/** Base64 of text: other bytes are refused rather than changed. */
function readBytes(reader: YamlReader | undefined): string | undefined {
  const text = reader?.string()
  if (reader === undefined || text === undefined) return undefined
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.from(text, 'base64'))
  } catch {
    reader.problem(`expected text of UTF-8 in base64, found ${shown(text)}`)
    return undefined
  }
}

export function readRewrite(reader: YamlReader | undefined): VirtualServiceRewrite | undefined {
  const object = reader?.object(['uri', 'authority', 'uriRegexRewrite'])
  if (object === undefined || reader === undefined) return undefined
  if (object.keys.length === 0) reader.problem('expected uri, uriRegexRewrite, authority or several')
  if (object.has('uri') && object.has('uriRegexRewrite'))
    reader.problem('expected only one of uri and uriRegexRewrite')
  const uri = object.get('uri')?.text()
  const authority = object.get('authority')?.text()
  const regex = object.get('uriRegexRewrite')?.object(['match', 'rewrite'])
  const match = readRegex(regex?.required('match'))
  const rewriteReader = regex?.required('rewrite')
  const rewrite = rewriteReader?.string()
  if (match !== undefined) checkGroups(rewriteReader, rewrite ?? '', match)
  return {
    ...(uri !== undefined && { uri }),
    ...(match !== undefined && rewrite !== undefined && { uriRegex: { match, rewrite } }),
    ...(authority !== undefined && { authority }),
  }
}

/** `\\0` is the whole match, `\\1` its first group. */
function checkGroups(reader: YamlReader | undefined, rewrite: string, match: string): void {
  const groups = RE2JS.compile(match).groupCount()
  for (const [, digit] of rewrite.matchAll(/\\(\d)/g))
    if (Number(digit) > groups)
      reader?.problem(`refers to the group ${digit}, and the expression has ${groups}`)
}

/** `mirrors`, or the older `mirror` with one of two ways to say how much. */
export function readMirrors(route: YamlObject, scope: ReadScope): VirtualServiceHttpRoute['mirrors'] {
  const single = route.get('mirror')
  const many = route.get('mirrors')
  if (single !== undefined && many !== undefined) many.problem('expected only one of mirror and mirrors')
  const percent = readMirrorPercent(route, single !== undefined)
  const destination = single && readDestination(single, scope)
  if (destination !== undefined) return [{ destination, percent }]
  return (
    many?.list(item => {
      const object = item.object(['destination', 'percentage'])
      const target = object?.required('destination')
      const read = target && readDestination(target, scope)
      const share = object?.get('percentage')
      return read && { destination: read, percent: share === undefined ? 100 : (readPercent(share) ?? 0) }
    }) ?? []
  )
}

function readMirrorPercent(route: YamlObject, mirrored: boolean): number {
  const share = route.get('mirrorPercentage')
  const old = route.get('mirrorPercent')
  if (!mirrored) (share ?? old)?.problem('has no effect without mirror', 'warning')
  if (share !== undefined) return readPercent(share) ?? 0
  if (old === undefined) return 100
  old.problem('is an older form: write mirrorPercentage: { value: … }', 'warning')
  return old.integer({ min: 0, max: 100 }) ?? 0
}
