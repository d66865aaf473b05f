/**
 * AuthorizationPolicy as the RBAC filters that istiod configures at Envoy, written apart from the engine so that the two
 * can be held against each other.
 *
 * Source: istiod's translation for waypoints as observed (the caller's identity is in filter state).
 */
import type { AuthorizationPolicy, PolicyOperation, PolicyRuleSpec, PolicySource } from '@ambient/policy'
import { expandDomain, expandPrincipal } from './trust-domains.ts'

export const PEER_PRINCIPAL = 'io.istio.peer_principal'
export const JWT_FILTER = 'envoy.filters.http.jwt_authn'

export interface RbacOptions {
  readonly tcp: boolean
  readonly trustDomains: readonly string[]
}

/** A node of Envoy's configuration. */
export type Json = Readonly<Record<string, unknown>>

/** Envoy's `config.rbac.v3.RBAC`. */
export interface RbacRules {
  readonly action: 'ALLOW' | 'DENY' | 'LOG'
  readonly policies: Readonly<Record<string, Json>>
}

export interface RbacLane {
  readonly rules?: RbacRules
  readonly shadow?: RbacRules
}

/** One key of a rule: its values or-ed, those that it must not have, and what each is in Envoy's words. */
interface Term {
  readonly permission: boolean
  readonly values: readonly string[]
  readonly notValues: readonly string[]
  /** Throws what cannot be said, `http` says that only a request has it. */
  readonly http: boolean
  readonly matcher: (value: string) => Json
  /** Where all values become one matcher. */
  readonly together?: (values: readonly string[]) => Json
}

class NotHere extends Error {}

const NEVER: Json = {
  permissions: [{ not_rule: { any: true } }],
  principals: [{ not_id: { any: true } }],
}

/** The filter of one action; `undefined` without such policies. */
export function rbacLane(
  policies: readonly AuthorizationPolicy[],
  action: 'ALLOW' | 'DENY' | 'AUDIT' | 'CUSTOM',
  options: RbacOptions,
  suffix = '',
): RbacLane | undefined {
  const own = policies.filter(({ spec }) => (spec.action ?? 'ALLOW') === action)
  if (own.length === 0) return undefined
  const [enforced, dry] = [own.filter(one => !isDryRun(one)), own.filter(isDryRun)]
  const kind = action === 'AUDIT' ? 'LOG' : action === 'ALLOW' ? 'ALLOW' : 'DENY'
  const made = (of: readonly AuthorizationPolicy[]): RbacRules => ({
    action: kind,
    policies: Object.fromEntries(of.flatMap(policy => namedRules(policy, options, suffix))),
  })
  return {
    ...(enforced.length === 0 ? {} : { rules: made(enforced) }),
    ...(dry.length === 0 ? {} : { shadow: made(dry) }),
  }
}

function isDryRun({ metadata }: AuthorizationPolicy): boolean {
  return metadata.annotations['istio.io/dry-run'] === 'true'
}

function namedRules(
  { metadata, spec }: AuthorizationPolicy,
  options: RbacOptions,
  suffix: string,
): readonly (readonly [string, Json])[] {
  const custom = spec.action === 'CUSTOM' ? `istio-ext-authz-${spec.provider?.name ?? ''}-` : ''
  const name = (rule: number): string =>
    `${custom}ns[${metadata.namespace}]-policy[${metadata.name}]-rule[${rule}]${suffix}`
  const { rules = [] } = spec
  if (rules.length === 0) return [[name(0), NEVER]]
  return rules.flatMap((rule, index) => {
    const made = oneRule(rule, metadata.namespace, (spec.action ?? 'ALLOW') === 'ALLOW', options)
    return made === undefined ? [] : [[name(index), made] as const]
  })
}

/** `undefined`: not asked, because a key does not exist or an ALLOW would become wider. */
function oneRule(
  { from = [], to = [], when = [] }: PolicyRuleSpec,
  namespace: string,
  strict: boolean,
  options: RbacOptions,
): Json | undefined {
  const conditions = when.map(({ key, values = [], notValues = [] }) => {
    const term = termOf(key, namespace, options)
    return term && { ...term, values: term.expand(values), notValues: term.expand(notValues) }
  })
  const terms: Term[] = []
  for (const term of conditions) {
    if (term === undefined) return undefined
    terms.push(term)
  }
  const sources = from.length === 0 ? [[]] : from.map(({ source }) => fieldTerms(source, namespace, options))
  const operations =
    to.length === 0 ? [[]] : to.map(({ operation }) => fieldTerms(operation, namespace, options))
  const [asked, held] = [terms.filter(term => term.permission), terms.filter(term => !term.permission)]
  try {
    return {
      permissions: operations.map(own => ({
        and_rules: { rules: orAny([...own, ...asked].flatMap(term => permissions(term, strict, options))) },
      })),
      principals: sources.map(own => ({
        and_ids: { ids: orAny([...own, ...held].flatMap(term => principals(term, strict, options))) },
      })),
    }
  } catch (error) {
    if (error instanceof NotHere) return undefined
    throw error
  }
}

function orAny(of: readonly Json[]): readonly Json[] {
  return of.length === 0 ? [{ any: true }] : of
}

function permissions(term: Term, strict: boolean, options: RbacOptions): readonly Json[] {
  const made = (values: readonly string[]): Json | undefined => {
    const rules = matchersOf(term, values, strict, options)
    return rules.length === 0 ? undefined : { or_rules: { rules } }
  }
  const [yes, no] = [made(term.values), made(term.notValues)]
  return [...(yes ? [yes] : []), ...(no ? [{ not_rule: no }] : [])]
}

function principals(term: Term, strict: boolean, options: RbacOptions): readonly Json[] {
  const made = (values: readonly string[]): Json | undefined => {
    const ids = matchersOf(term, values, strict, options)
    return ids.length === 0 ? undefined : { or_ids: { ids } }
  }
  const [yes, no] = [made(term.values), made(term.notValues)]
  return [...(yes ? [yes] : []), ...(no ? [{ not_id: no }] : [])]
}

function matchersOf(
  term: Term,
  values: readonly string[],
  strict: boolean,
  { tcp }: RbacOptions,
): readonly Json[] {
  if (values.length === 0) return []
  if (term.http && tcp) {
    if (strict) throw new NotHere()
    return []
  }
  return term.together === undefined ? values.map(term.matcher) : [term.together(values)]
}

/** A term without its values, and what the mesh's trust domains make of them. */
interface Kind extends Omit<Term, 'values' | 'notValues'> {
  readonly expand: (values: readonly string[]) => readonly string[]
}

const FIELD_KEYS: Readonly<Record<string, string>> = {
  principals: 'source.principal',
  requestPrincipals: 'request.auth.principal',
  namespaces: 'source.namespace',
  serviceAccounts: 'source.serviceAccount',
  trustDomains: 'source.trustDomain',
  ipBlocks: 'source.ip',
  remoteIpBlocks: 'remote.ip',
  hosts: 'hosts',
  ports: 'destination.port',
  methods: 'methods',
  paths: 'paths',
}

function fieldTerms(
  fields: PolicySource | PolicyOperation,
  namespace: string,
  options: RbacOptions,
): readonly Term[] {
  const written: readonly (readonly [string, readonly string[]])[] = Object.entries(fields)
  return written.flatMap(([field, list]) => {
    const negated = !(field in FIELD_KEYS)
    const name = negated ? field.charAt(3).toLowerCase() + field.slice(4) : field
    const kind = termOf(FIELD_KEYS[name] ?? '', namespace, options)
    if (kind === undefined) throw new Error(`no field ${field}`)
    const values = kind.expand(list)
    return [{ ...kind, values: negated ? [] : values, notValues: negated ? values : [] }]
  })
}

function termOf(key: string, namespace: string, { trustDomains }: RbacOptions): Kind | undefined {
  const same = (values: readonly string[]): readonly string[] => values
  const caller = (matcher: (value: string) => Json): Kind => ({
    ...{ permission: false, http: false, expand: same },
    matcher: value => ({ filter_state: { key: PEER_PRINCIPAL, string_match: matcher(value) } }),
  })
  const where = (http: boolean, permission: boolean, matcher: (value: string) => Json): Kind => ({
    ...{ http, permission, matcher, expand: same },
  })
  switch (key) {
    case 'source.principal':
      return {
        ...caller(value => text(value, 'spiffe://')),
        expand: values => [...new Set(values.flatMap(value => expandPrincipal(value, trustDomains)))],
      }
    case 'source.trustDomain':
      return {
        ...caller(trustDomain),
        expand: values => [...new Set(values.flatMap(value => expandDomain(value, trustDomains)))],
      }
    case 'source.namespace':
      return caller(value => regex(`.*/ns/${value.split('*').map(literal).join('.*')}/.*`))
    case 'source.serviceAccount':
      return caller(value => regex(serviceAccount(value, namespace)))
    case 'source.ip':
      return where(false, false, value => ({ direct_remote_ip: range(value) }))
    case 'remote.ip':
      return where(false, false, value => ({ remote_ip: range(value) }))
    case 'destination.ip':
      return where(false, true, value => ({ destination_ip: range(value) }))
    case 'destination.port':
      return where(false, true, value => ({ destination_port: Number(value) }))
    case 'connection.sni':
      return where(false, true, value => ({ requested_server_name: text(value) }))
    case 'hosts':
      return where(true, true, value => ({ header: header(':authority', value, true) }))
    case 'methods':
      return where(true, true, value => ({ header: header(':method', value) }))
    case 'paths':
      return where(true, true, path)
    default:
      return tokenTerm(key) ?? headerTerm(key)
  }
}

function headerTerm(key: string): Kind | undefined {
  const name = /^request\.headers\[(.*)\]$/.exec(key)?.[1]
  if (name === undefined) return undefined
  const matcher = (value: string): Json => ({ header: header(name, value) })
  return { permission: false, http: true, matcher, expand: values => values }
}

function tokenTerm(key: string): Kind | undefined {
  const claims = /^request\.auth\.claims\[(.*)\]$/.exec(key)?.[1]?.split('][')
  const path = claims ?? { 'request.auth.audiences': ['aud'], 'request.auth.presenter': ['azp'] }[key]
  const base = { permission: false, http: true, expand: (values: readonly string[]) => values } as const
  if (key === 'request.auth.principal') return { ...base, matcher: requestPrincipal }
  if (path === undefined) return undefined
  const one = (values: readonly string[]): Json => {
    const matchers = values.map(value => ({ string_match: text(value) }))
    const [only] = matchers
    const any =
      matchers.length === 1 && only !== undefined ? only : { or_match: { value_matchers: matchers } }
    return claim(path, { or_match: { value_matchers: [{ list_match: { one_of: any } }, any] } })
  }
  return { ...base, matcher: value => one([value]), together: one }
}

/** Issuer and subject, parted at the last slash; each a pattern of its own. */
function requestPrincipal(value: string): Json {
  const at = value.lastIndexOf('/')
  const [iss, sub] = at < 0 ? [value, ''] : [value.slice(0, at), value.slice(at + 1)]
  const any = regex('.+')
  const pair = (issuer: Json, subject: Json): Json => ({
    and_ids: { ids: [claim(['iss'], { string_match: issuer }), claim(['sub'], { string_match: subject })] },
  })
  if (value === '*') return pair(any, any)
  if (value.startsWith('*')) {
    if (at < 0) return pair(any, { suffix: value.slice(1) })
    return pair(iss === '*' ? any : { suffix: iss.slice(1) }, { exact: sub })
  }
  if (value.endsWith('*')) {
    if (at < 0) return pair({ prefix: value.slice(0, -1) }, any)
    return pair({ exact: iss }, sub === '*' ? any : { prefix: sub.slice(0, -1) })
  }
  return pair({ exact: iss }, { exact: sub })
}

function claim(path: readonly string[], value: Json): Json {
  return { metadata: { filter: JWT_FILTER, path: ['payload', ...path].map(key => ({ key })), value } }
}

function text(value: string, scheme = ''): Json {
  if (value === '*') return regex('.+')
  if (value.startsWith('*'))
    return scheme === '' ? { suffix: value.slice(1) } : regex(`${scheme}.*${literal(value.slice(1))}`)
  return value.endsWith('*') ? { prefix: scheme + value.slice(0, -1) } : { exact: scheme + value }
}

function header(name: string, value: string, ignoreCase = false): Json {
  if (value === '*') return { name, present_match: true }
  const forms: Json = value.startsWith('*')
    ? { suffix: value.slice(1) }
    : value.endsWith('*')
      ? { prefix: value.slice(0, -1) }
      : { exact: value }
  return { name, string_match: { ...forms, ignore_case: ignoreCase } }
}

function path(value: string): Json {
  if (!/\{\*{1,2}\}/.test(value)) return { url_path: { path: text(value) } }
  const template = value.replaceAll('{*}', '*').replaceAll('{**}', '**')
  const type = 'type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig'
  return { uri_template: { name: 'uri-template', typed_config: { '@type': type, path_template: template } } }
}

function trustDomain(value: string): Json {
  if (value === '*') return { prefix: 'spiffe://' }
  const [before = '', after] = value.split('*', 2)
  if (after === undefined) return { prefix: `spiffe://${value}/` }
  return regex(`spiffe://${literal(before)}[^/]*${literal(after)}/.*`)
}

function serviceAccount(value: string, policyNamespace: string): string {
  const [first = '', second] = value.split('/', 2)
  const [namespace, account] = second === undefined ? [policyNamespace, first] : [first, second]
  return `spiffe://.+/ns/${literal(namespace)}/(.+/|)sa/${literal(account)}(/.+)?`
}

function range(value: string): Json {
  const [address = '', length] = value.split('/', 2)
  return { address_prefix: address, prefix_len: Number(length ?? (address.includes(':') ? 128 : 32)) }
}

function regex(pattern: string): Json {
  return { safe_regex: { regex: pattern } }
}

function literal(value: string): string {
  return value.replace(/[\\.+*?()|[\]{}^$]/g, found => `\\${found}`)
}
