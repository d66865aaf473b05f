/** How a waypoint's rules are found: by identity, token, host, path, port, address or method. */
import { readCidr } from '../engine/read-cidr.ts'
import type { CompiledClause, CompiledWaypointRule, FieldTest } from './compile-policy.ts'
import { asciiLowerCase, type WaypointFacts } from './facts.ts'
import { isPathTemplate } from './path-template.ts'
import { expandPrincipals } from './trust-domains.ts'
import { type IndexKey, type NarrowedClause, type Narrowing, textKeys } from '../rule-index/index-key.ts'
import { type IndexShape, RuleIndex } from '../rule-index/rule-index.ts'

export type WaypointIndex = RuleIndex<CompiledWaypointRule, WaypointFacts>

export function createWaypointIndex(): WaypointIndex {
  return new RuleIndex(shape)
}

/** Names are compared as text: `rule[10]` comes before `rule[2]`, as in Envoy's sorted map. */
export function byId(a: CompiledWaypointRule, b: CompiledWaypointRule): number {
  return a.id < b.id ? -1 : a.id > b.id ? 1 : 0
}

const shape: IndexShape<CompiledWaypointRule, WaypointFacts> = {
  order: byId,
  attributes: {
    principal: { kind: 'text', of: facts => facts.uri },
    account: { kind: 'texts', of: facts => facts.accounts },
    subject: { kind: 'text', of: ({ request }) => textOf(request?.jwt?.payload['sub']) },
    namespace: { kind: 'texts', of: facts => facts.namespaces },
    path: { kind: 'text', of: facts => facts.path },
    host: { kind: 'text', of: facts => facts.host },
    sni: { kind: 'text', of: facts => facts.sni },
    issuer: { kind: 'text', of: ({ request }) => textOf(request?.jwt?.payload['iss']) },
    remoteIp: { kind: 'address', of: facts => facts.remoteIp },
    sourceIp: { kind: 'address', of: facts => facts.sourceIp },
    destinationIp: { kind: 'address', of: facts => facts.destinationIp },
    port: { kind: 'number', of: facts => facts.port },
    method: { kind: 'text', of: ({ request }) => request?.method ?? '' },
  },
  clauses: rule => rule.clauses.map(clause => narrowed(rule, clause)),
}

function narrowed(rule: CompiledWaypointRule, { alternatives }: CompiledClause): NarrowedClause {
  return alternatives.map(tests => tests.flatMap(test => narrowingOf(rule, test)))
}

function narrowingOf(
  rule: CompiledWaypointRule,
  { field, negated, values }: FieldTest,
): readonly Narrowing[] {
  const keys = negated ? undefined : keysOf(rule, field, values)
  return keys === undefined ? [] : [keys]
}

const SCHEME = 'spiffe://'

/**
 * What a field asks for, never more than its matcher does. `undefined`: it is met by too much, or nothing is looked up
 * by it.
 */
function keysOf(rule: CompiledWaypointRule, field: string, values: readonly string[]): Narrowing | undefined {
  switch (field) {
    case 'principals':
    case 'source.principal':
      return principalKeys(expandPrincipals(values, rule.trustDomains))
    case 'namespaces':
    case 'source.namespace':
      return all(values, namespaceKey)
    case 'serviceAccounts':
    case 'source.serviceAccount': {
      const namespace = rule.policy.slice(0, rule.policy.indexOf('/'))
      return exact(
        'account',
        values.map(value => (value.includes('/') ? value : `${namespace}/${value}`)),
      )
    }
    case 'requestPrincipals':
    case 'request.auth.principal':
      return all(values, requestPrincipalKey)
    case 'hosts':
      return textKeys('host', values.map(asciiLowerCase))
    case 'paths':
      return pathKeys(values)
    case 'methods':
      return textKeys('method', values)
    case 'connection.sni':
      return textKeys('sni', values)
    case 'ports':
    case 'destination.port':
      return exact('port', values.map(Number))
    case 'ipBlocks':
    case 'source.ip':
      return blockKeys('sourceIp', values)
    case 'remoteIpBlocks':
    case 'remote.ip':
      return blockKeys('remoteIp', values)
    case 'destination.ip':
      return blockKeys('destinationIp', values)
    default:
      return undefined
  }
}

function exact(of: string, values: readonly (string | number)[]): Narrowing {
  return values.map(value => ({ of, form: 'exact', value }))
}

/** One key per value, or none at all. */
function all(
  values: readonly string[],
  keyOf: (value: string) => IndexKey | undefined,
): Narrowing | undefined {
  const keys: IndexKey[] = []
  for (const value of values) {
    const key = keyOf(value)
    if (key === undefined) return undefined
    keys.push(key)
  }
  return keys
}

/** Against whole URIs. */
function principalKeys(values: readonly string[]): Narrowing | undefined {
  return textKeys(
    'principal',
    values.map(value => (value.startsWith('*') ? value : SCHEME + value)),
  )
}

/** A star may be anywhere in it; what stands before the first one is the beginning of a segment. */
function namespaceKey(value: string): IndexKey | undefined {
  const star = value.indexOf('*')
  const literal = star < 0 ? value : value.slice(0, star)
  if (literal === '' || literal.includes('/')) return undefined
  return { of: 'namespace', form: star < 0 ? 'exact' : 'prefix', value: literal }
}

/** Issuer and subject, split at the last slash. */
function requestPrincipalKey(value: string): IndexKey | undefined {
  const slash = value.lastIndexOf('/')
  if (slash < 0 || value.startsWith('*')) return undefined
  return value.endsWith('*')
    ? { of: 'issuer', form: 'exact', value: value.slice(0, slash) }
    : { of: 'subject', form: 'exact', value: value.slice(slash + 1) }
}

/** Of a template what stands before its first operator. */
function pathKeys(values: readonly string[]): Narrowing | undefined {
  const plain = textKeys(
    'path',
    values.filter(value => !isPathTemplate(value)),
  )
  const templates = all(values.filter(isPathTemplate), value => {
    const literal = value.slice(0, value.indexOf('{'))
    return literal === '' ? undefined : { of: 'path', form: 'prefix', value: literal }
  })
  return plain && templates && [...plain, ...templates]
}

function blockKeys(of: string, values: readonly string[]): Narrowing {
  // What cannot be read matches nothing.
  return values.flatMap((text): Narrowing => {
    const value = readCidr(text)
    return value === undefined ? [] : [{ of, form: 'block', value }]
  })
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}
