/** What a rule can ask about, by `when` key: how its values match, and what the request has. */
import { cidrContains } from '@ambient/core'
import { readCidr } from '../engine/read-cidr.ts'
import { asciiLowerCase, type WaypointFacts } from './facts.ts'
import {
  claimPathOf,
  type ClaimsTest,
  claimTest,
  type JwtClaims,
  requestPrincipalTest,
  shownClaim,
  shownPrincipal,
} from './jwt-claims.ts'
import { isPathTemplate, pathTemplateTest } from './path-template.ts'
import { globTest, type TextForms, type TextTest, textTest } from './text-match.ts'
import { expandPrincipals, expandTrustDomains, type TrustDomains } from './trust-domains.ts'

export type Test = (facts: WaypointFacts) => boolean

export interface AttributeContext {
  /** Of the policy: what a service account without namespace means. */
  readonly namespace: string
  readonly trustDomains: TrustDomains
  /**
   * What an IPv4-mapped block such as `::ffff:10.0.0.0/104` is: the IPv4 block, or, as at Envoy, one of IPv6 in which no
   * caller is.
   */
  readonly mappedBlocks: 'ipv4' | 'nobody'
}

export interface Attribute {
  /** Only a request has it; a connection without HTTP does not. */
  readonly http: boolean
  /** Whether one of the values matches. Without the thing asked for (no identity, no header) none does. */
  matcher(values: readonly string[], context: AttributeContext): Test
  /** For explanations: what was found. */
  actual(facts: WaypointFacts): string
}

const SCHEME = 'spiffe://'
const NOT_SHOWN = '(not shown)'
/** Headers that carry credentials: neither side of a comparison is shown. */
const SECRET_HEADER = /^(proxy-)?authorization$|cookie|token|secret|api-?key|password/

const principal: Attribute = {
  http: false,
  matcher(values, { trustDomains }) {
    const expanded = expandPrincipals(values, trustDomains)
    const [only] = expanded
    if (only !== undefined && expanded.length === 1 && isExact(only)) return isText(SCHEME + only, uriOf)
    return onUri(principalTest(expanded))
  },
  actual: ({ uri }) => uri?.slice(SCHEME.length) ?? '(no identity)',
}

const namespace: Attribute = {
  http: false,
  matcher(values) {
    const tests = values.map(value => globTest(`*/ns/${value}/*`))
    return ({ uri }) => {
      if (uri !== undefined) for (const test of tests) if (test(uri)) return true
      return false
    }
  },
  actual: principal.actual,
}

const serviceAccount: Attribute = {
  http: false,
  matcher(values, context) {
    const accounts = new Set(
      values.map(value => (value.includes('/') ? value : `${context.namespace}/${value}`)),
    )
    return ({ accounts: found }) => {
      for (const account of found) if (accounts.has(account)) return true
      return false
    }
  },
  actual: principal.actual,
}

const trustDomain: Attribute = {
  http: false,
  matcher(values, { trustDomains }) {
    const test = textTest(expandTrustDomains(values, trustDomains), { star: 'not-empty' })
    return ({ identity }) => identity !== undefined && test(identity.trustDomain)
  },
  actual: ({ identity }) => identity?.trustDomain ?? '(no identity)',
}

const sourceIp: Attribute = {
  http: false,
  matcher: (values, { mappedBlocks }) => addressTest(values, mappedBlocks, facts => facts.sourceIp),
  actual: ({ connection }) => connection.source.address,
}

const remoteIp: Attribute = {
  http: false,
  matcher: (values, { mappedBlocks }) => addressTest(values, mappedBlocks, facts => facts.remoteIp),
  actual: ({ remoteAddress }) => remoteAddress,
}

const destinationIp: Attribute = {
  http: false,
  matcher: (values, { mappedBlocks }) => addressTest(values, mappedBlocks, facts => facts.destinationIp),
  actual: ({ connection }) => connection.destination.address,
}

const destinationPort: Attribute = {
  http: false,
  matcher(values) {
    const ports = values.map(Number)
    return ({ port }) => ports.includes(port)
  },
  actual: ({ port }) => String(port),
}

const sni: Attribute = {
  http: false,
  matcher: values => onTexts(values, { star: 'not-empty' }, sniOf),
  actual: facts => facts.sni || '(no SNI)',
}

const hosts: Attribute = {
  http: true,
  matcher: values => onTexts(values.map(asciiLowerCase), { star: 'present' }, hostOf),
  actual: ({ request }) => request?.authority ?? '',
}

const methods: Attribute = {
  http: true,
  matcher: values => onTexts(values, { star: 'present' }, methodOf),
  actual: ({ request }) => request?.method ?? '',
}

const paths: Attribute = {
  http: true,
  matcher(values) {
    const plain = values.filter(value => !isPathTemplate(value))
    const templates = values.filter(isPathTemplate).map(pathTemplateTest)
    if (templates.length === 0) return onTexts(plain, { star: 'not-empty' }, pathOf)
    return onText(eitherTest([textTest(plain, { star: 'not-empty' }), ...templates]), pathOf)
  },
  actual: ({ path }) => path,
}

const requestPrincipal: Attribute = {
  http: true,
  matcher: values => onClaims(requestPrincipalTest(values)),
  actual: facts => ofClaims(facts, shownPrincipal),
}

const audiences = claimAttribute(['aud'])

const presenter = claimAttribute(['azp'])

/** Dynamic metadata of Envoy's filters, which are not here. */
const filterMetadata: Attribute = {
  http: false,
  matcher: () => never,
  actual: () => '(no such metadata)',
}

const never: Test = () => false

const ATTRIBUTES: ReadonlyMap<string, Attribute> = new Map([
  ['source.principal', principal],
  ['source.namespace', namespace],
  ['source.serviceAccount', serviceAccount],
  ['source.trustDomain', trustDomain],
  ['source.ip', sourceIp],
  ['remote.ip', remoteIp],
  ['destination.ip', destinationIp],
  ['destination.port', destinationPort],
  ['connection.sni', sni],
  ['request.auth.principal', requestPrincipal],
  ['request.auth.audiences', audiences],
  ['request.auth.presenter', presenter],
])

/** Fields of a source or an operation, which are attributes too. */
export const fieldAttributes = Object.freeze({
  principals: principal,
  requestPrincipals: requestPrincipal,
  namespaces: namespace,
  ipBlocks: sourceIp,
  remoteIpBlocks: remoteIp,
  serviceAccounts: serviceAccount,
  trustDomains: trustDomain,
  hosts,
  ports: destinationPort,
  methods,
  paths,
})

/** The attribute of a `when` key; `undefined` for a key that does not exist. */
export function attributeOf(key: string): Attribute | undefined {
  const fixed = ATTRIBUTES.get(key)
  if (fixed !== undefined) return fixed
  const header = /^request\.headers\[([^[\]]+)\]$/.exec(key)?.[1]
  if (header !== undefined) return headerAttribute(asciiLowerCase(header))
  const claim = claimPathOf(key)
  if (claim !== undefined) return claimAttribute(claim)
  return /^experimental\.envoy\.filters\.[^[\]]+\[[^[\]]+\]$/.test(key) ? filterMetadata : undefined
}

/** The policy's values as an explanation may show them. */
export function shownValues(field: string, values: readonly string[]): readonly string[] {
  const header = /^request\.headers\[(.+)\]$/.exec(field)?.[1]
  return header !== undefined && isSecretHeader(header) ? [NOT_SHOWN] : values
}

/** Without a verified token nothing matches. */
function claimAttribute(path: readonly string[]): Attribute {
  return {
    http: true,
    matcher: values => onClaims(claimTest(path, values)),
    actual: facts => ofClaims(facts, claims => shownClaim(claims, path)),
  }
}

function onClaims(test: ClaimsTest): Test {
  return ({ request }) => request?.jwt !== undefined && test(request.jwt)
}

function ofClaims({ request }: WaypointFacts, show: (claims: JwtClaims) => string): string {
  return request?.jwt === undefined ? '(no verified JWT)' : show(request.jwt)
}

/** Value by value: a repeated header matches when one of its values does. */
function headerAttribute(name: string): Attribute {
  return {
    http: true,
    matcher(values) {
      const test = textTest(values, { star: 'present' })
      return facts => {
        for (const value of facts.header(name)) if (test(value) || isTextThat(test, value)) return true
        return false
      }
    },
    actual(facts) {
      const values = facts.header(name)
      if (values.length === 0) return '(absent)'
      return isSecretHeader(name) ? NOT_SHOWN : values.join(', ')
    },
  }
}

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const BYTES = /^(?=.*[\x80-\xff])[\x00-\xff]*$/s

/** A header comes as one character per byte; policies are text, which on the wire is UTF-8. Other bytes are none. */
function isTextThat(test: TextTest, value: string): boolean {
  if (!BYTES.test(value)) return false
  try {
    return test(strictUtf8.decode(Uint8Array.from(value, character => character.charCodeAt(0))))
  } catch {
    return false
  }
}

function isSecretHeader(name: string): boolean {
  return SECRET_HEADER.test(asciiLowerCase(name))
}

/** On whole URIs, so that nothing is cut from them per decision. */
function principalTest(values: readonly string[]): TextTest {
  const suffixes = values.filter(value => value !== '*' && value.startsWith('*')).map(value => value.slice(1))
  const others = values.filter(value => value === '*' || !value.startsWith('*')).map(withScheme)
  const test = textTest(others, { star: 'not-empty' })
  return suffixes.length === 0 ? test : endingPrincipal(suffixes, test)
}

function endingPrincipal(suffixes: readonly string[], test: TextTest): TextTest {
  return uri => {
    if (test(uri)) return true
    for (const suffix of suffixes)
      if (uri.length - suffix.length >= SCHEME.length && uri.endsWith(suffix)) return true
    return false
  }
}

function eitherTest(tests: readonly TextTest[]): TextTest {
  return text => {
    for (const test of tests) if (test(text)) return true
    return false
  }
}

function withScheme(value: string): string {
  return value === '*' ? value : SCHEME + value
}

function onUri(test: TextTest): Test {
  return ({ uri }) => uri !== undefined && test(uri)
}

/** Most fields ask for one whole value: one function each, not two. */
function onTexts(values: readonly string[], forms: TextForms, textOf: TextOf): Test {
  const [only] = values
  if (only !== undefined && values.length === 1 && isExact(only)) return isText(only, textOf)
  return onText(textTest(values, forms), textOf)
}

function isExact(value: string): boolean {
  return !value.startsWith('*') && !value.endsWith('*')
}

function isText(wanted: string, textOf: (facts: WaypointFacts) => string | undefined): Test {
  return facts => textOf(facts) === wanted
}

type TextOf = (facts: WaypointFacts) => string

// Constants: a function in a matcher would be one for each rule.
const uriOf = ({ uri }: WaypointFacts): string | undefined => uri
const sniOf: TextOf = facts => facts.sni
const hostOf: TextOf = facts => facts.host
const pathOf: TextOf = facts => facts.path
const methodOf: TextOf = ({ request }) => request?.method ?? ''

function onText(test: TextTest, textOf: TextOf): Test {
  return facts => test(textOf(facts))
}

function addressTest(
  blocks: readonly string[],
  mappedBlocks: AttributeContext['mappedBlocks'],
  addressOf: (facts: WaypointFacts) => Uint8Array,
): Test {
  // What cannot be read was refused with its rule: see `compile-policy.ts`.
  const cidrs = blocks
    .filter(text => mappedBlocks === 'ipv4' || !isMappedBlock(text))
    .flatMap(text => readCidr(text) ?? [])
  return facts => {
    const address = addressOf(facts)
    for (const cidr of cidrs) if (cidrContains(cidr, address)) return true
    return false
  }
}

/** Written as IPv6, and an IPv4 address. */
export function isMappedBlock(text: string): boolean {
  return text.includes(':') && readCidr(text)?.bytes.length === 4
}
