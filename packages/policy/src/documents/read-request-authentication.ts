/** Reads and checks a `RequestAuthentication` document as Istio's admission does, each mistake with its position. */
import type { JwtRule, RequestAuthentication, RequestAuthenticationSpec } from './request-authentication.ts'
import { openObject, readSelector, readTargetRefs } from './read-spec.ts'
import { limits } from '../limits.ts'
import { quote } from '../yaml/problem.ts'
import type { YamlObject, YamlReader } from '../yaml/reader.ts'

const SPEC_FIELDS = ['selector', 'targetRef', 'targetRefs', 'jwtRules'] as const
const RULE_FIELDS = [
  'issuer',
  'audiences',
  'jwksUri',
  'jwks',
  'fromHeaders',
  'fromParams',
  'fromCookies',
  'outputPayloadToHeader',
  'outputClaimToHeaders',
  'forwardOriginalToken',
  'timeout',
  'spaceDelimitedClaims',
] as const

/** Istio's own, narrower than a token of RFC 9110, for headers that we write. */
const OUTPUT_HEADER = /^[-_A-Za-z0-9]+$/
/** A token of RFC 9110: what a header or a cookie can be called at all. */
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
/** Go's notation, of which protobuf's (`1.5s`) is a part. */
const DURATION = /^(\d{1,9}(\.\d{1,9})?(h|ms|m|s))+$/
const DURATION_PARTS = /(\d+(?:\.\d+)?)(h|ms|m|s)/g
const UNIT_MS: ReadonlyMap<string, number> = new Map([
  ['h', 3_600_000],
  ['m', 60_000],
  ['s', 1_000],
  ['ms', 1],
])

/**
 * Reads one document of `security.istio.io/v1` or `v1beta1`.
 * @returns `undefined` when it holds an error; every mistake is recorded, not only the first.
 */
export function readRequestAuthentication(reader: YamlReader): RequestAuthentication | undefined {
  const before = reader.errorCount
  const opened = openObject(reader, 'RequestAuthentication')
  if (opened === undefined) return undefined
  const fields = opened.spec?.object(SPEC_FIELDS)
  const spec = fields === undefined ? {} : readSpec(fields)
  if (reader.errorCount > before) return undefined
  return { kind: 'RequestAuthentication', metadata: opened.metadata, source: opened.source, spec }
}

function readSpec(spec: YamlObject): RequestAuthenticationSpec {
  const selector = readSelector(spec.get('selector'), 'allowed')
  const targetRefs = readTargetRefs(spec)
  if (spec.has('selector') && (spec.has('targetRef') || spec.has('targetRefs')))
    spec.problemAt('selector', 'expected only one of selector and targetRefs')
  const jwtRules = spec.get('jwtRules')?.list(readRule)
  return {
    ...(selector === undefined ? {} : { selector }),
    ...(targetRefs === undefined ? {} : { targetRefs }),
    ...(jwtRules === undefined ? {} : { jwtRules }),
  }
}

function readRule(reader: YamlReader): JwtRule | undefined {
  const rule = reader.object(RULE_FIELDS)
  if (rule === undefined) return undefined
  const issuer = rule.get('issuer')?.string() ?? ''
  if (issuer === '' && !isWritten(rule.get('jwksUri')))
    rule.problemAt('issuer', 'expected an issuer or a jwksUri, so that there is a key to verify with')
  const audiences = readTexts(rule.get('audiences'))
  const jwksUri = readJwksUri(rule.get('jwksUri'))
  const jwks = readJwks(rule.get('jwks'))
  const payloadHeader = readOutputHeader(rule.get('outputPayloadToHeader'))
  const outputClaims = rule.get('outputClaimToHeaders')?.list(readOutputClaim)
  const forward = rule.get('forwardOriginalToken')?.boolean()
  const timeoutMs = readTimeout(rule.get('timeout'))
  const spaceDelimitedClaims = readTexts(rule.get('spaceDelimitedClaims'))
  return {
    issuer,
    ...(audiences === undefined ? {} : { audiences }),
    ...(jwksUri === undefined ? {} : { jwksUri }),
    ...(jwks === undefined ? {} : { jwks }),
    ...readLocations(rule),
    ...(payloadHeader === undefined ? {} : { outputPayloadToHeader: payloadHeader }),
    ...(outputClaims === undefined ? {} : { outputClaimToHeaders: outputClaims }),
    ...(forward === undefined ? {} : { forwardOriginalToken: forward }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    ...(spaceDelimitedClaims === undefined ? {} : { spaceDelimitedClaims }),
  }
}

function isWritten(reader: YamlReader | undefined): boolean {
  return reader !== undefined && !(reader.kind === 'string' && reader.string() === '')
}

function readTexts(reader: YamlReader | undefined): readonly string[] | undefined {
  return reader?.list(item => item.text())
}

type Locations = Pick<JwtRule, 'fromHeaders' | 'fromParams' | 'fromCookies'>

function readLocations(rule: YamlObject): Locations {
  const fromHeaders = rule.get('fromHeaders')?.list(readHeader)
  const fromParams = readTexts(rule.get('fromParams'))
  const cookies = rule.get('fromCookies')?.list(item => {
    const name = item.text()
    warnUnlessToken(item, name, 'cookie')
    return name
  })
  return {
    ...(fromHeaders === undefined ? {} : { fromHeaders }),
    ...(fromParams === undefined ? {} : { fromParams }),
    ...(cookies === undefined ? {} : { fromCookies: cookies }),
  }
}

function readHeader(reader: YamlReader): { readonly name: string; readonly prefix?: string } | undefined {
  const object = reader.object(['name', 'prefix'])
  const written = object?.required('name')
  const name = written?.text()
  const prefix = object?.get('prefix')?.string()
  if (name === undefined) return undefined
  warnUnlessToken(written, name, 'header')
  return { name, ...(prefix === undefined ? {} : { prefix }) }
}

/** Istio takes any name here; one that cannot be sent finds no token, which lets requests through as if without. */
function warnUnlessToken(reader: YamlReader | undefined, name: string | undefined, what: string): void {
  if (name === undefined || name === '' || TOKEN.test(name)) return
  reader?.problem(`no request can have a ${what} of this name, so no token is ever found here`, 'warning')
}

/** An address that a key set can be fetched from: `https`, and `http` too, which istiod fetches as well. */
function readJwksUri(reader: YamlReader | undefined): string | undefined {
  const text = reader?.string()
  if (reader === undefined || text === undefined || text === '') return undefined
  const url = URL.canParse(text) ? new URL(text) : undefined
  const isHttp = url?.protocol === 'https:' || url?.protocol === 'http:'
  if (!isHttp || !/^https?:\/\/[^/]/i.test(text) || url.hostname === '') {
    reader.problem(`expected a URL such as https://issuer.example/jwks.json, found ${quote(text)}`)
    return undefined
  }
  if (url.username !== '' || url.password !== '')
    reader.problem('expected a URL without user name and password')
  return text
}

/** Inline keys as JSON text. What its keys are worth shows when a token asks for one: a bad key verifies nothing. */
function readJwks(reader: YamlReader | undefined): string | undefined {
  const text = reader?.string()
  if (reader === undefined || text === undefined || text === '') return undefined
  const value = parseJson(text)
  if (value === undefined || !isRecord(value)) {
    reader.problem('expected a JSON object such as {"keys":[{"kty":"RSA",…}]}')
    return undefined
  }
  if (Array.isArray(value['keys'])) {
    if (value['keys'].length === 0)
      reader.problem('the key set has no key: every token is refused', 'warning')
    else if (value['keys'].length > limits.maxJwksKeys)
      reader.problem(`expected at most ${limits.maxJwksKeys} keys, found ${value['keys'].length}`)
    else if (!value['keys'].every(key => isRecord(key) && typeof key['kty'] === 'string'))
      reader.problem('expected each of the keys to be an object with "kty"')
  } else if (typeof value['kty'] === 'string')
    reader.problem('a single key is no key set: write {"keys":[…]}, every token is refused else', 'warning')
  else reader.problem('expected "keys" to be a list')
  return text
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function readOutputHeader(reader: YamlReader | undefined): string | undefined {
  const name = reader?.string()
  if (name === undefined || name === '') return undefined
  if (!OUTPUT_HEADER.test(name))
    reader?.problem(`expected a header name of letters, digits, "-" and "_", found ${quote(name)}`)
  return name
}

function readOutputClaim(
  reader: YamlReader,
): { readonly header: string; readonly claim: string } | undefined {
  const object = reader.object(['header', 'claim'])
  const written = object?.required('header')
  const header = written?.text() === undefined ? undefined : readOutputHeader(written)
  const claim = object?.required('claim')?.text()
  return header === undefined || claim === undefined ? undefined : { header, claim }
}

function readTimeout(reader: YamlReader | undefined): number | undefined {
  const text = reader?.string()
  if (reader === undefined || text === undefined) return undefined
  if (!DURATION.test(text)) {
    reader.problem(`expected a duration such as 5s, 500ms or 1m30s, found ${quote(text)}`)
    return undefined
  }
  let ms = 0
  for (const [, amount, unit] of text.matchAll(DURATION_PARTS))
    ms += Number(amount) * (UNIT_MS.get(unit ?? '') ?? 0)
  const whole = Math.round(ms)
  if (Math.abs(ms - whole) > 1e-6) reader.problem(`expected whole milliseconds, found ${quote(text)}`)
  else if (whole < 1) reader.problem(`expected at least 1ms, found ${quote(text)}`)
  else return whole
  return undefined
}
