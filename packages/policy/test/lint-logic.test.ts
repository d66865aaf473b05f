/** Lint never says "never" of a rule that matches something, nor "shadowed" of one that matches more than the others. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type AuthorizationPolicy,
  createEvaluator,
  lintPolicies,
  type PolicyDialect,
  type PolicyRequest,
  type PolicyRuleSpec,
} from '@ambient/policy'
import { document } from './fixtures.ts'

const POOLS: Readonly<Record<string, readonly string[]>> = {
  principals: [
    'cluster.local/ns/a/sa/s',
    'cluster.local/ns/b/*',
    '*/sa/s',
    '*',
    'spiffe://cluster.local/ns/a/sa/s',
  ],
  namespaces: ['a', 'b', 'a*', '*b'],
  ipBlocks: ['10.0.0.1', '10.0.0.0/24', '10.0.0.0/8', '192.0.2.0/24'],
  hosts: ['web', 'WEB:*', 'web*', '*.io'],
  methods: ['GET', 'P*', 'get', 'POST'],
  paths: ['/a', '/a*', '*b', '/a/{*}', '/a/b', 'a', '/a?q'],
  ports: ['80', '81', '0'],
  'source.principal': ['cluster.local/ns/a/sa/s', '*/sa/t'],
  'source.namespace': ['a', 'b'],
  'destination.port': ['80', '81'],
  'request.headers[x]': ['1', '1*', '*'],
  'request.headers[:method]': ['GET', 'POST'],
}
const list = (key: string): fc.Arbitrary<readonly string[]> =>
  fc.uniqueArray(fc.constantFrom(...(POOLS[key] ?? [])), { minLength: 1, maxLength: 2 })
/** Fields of one part, positive and negative, two or three of them. */
const part = (keys: readonly string[]): fc.Arbitrary<Readonly<Record<string, readonly string[]>>> =>
  fc
    .uniqueArray(fc.tuple(fc.constantFrom(...keys), fc.boolean()), {
      minLength: 1,
      maxLength: 3,
      selector: String,
    })
    .chain(chosen => fc.tuple(fc.constant(chosen), fc.tuple(...chosen.map(([key]) => list(key)))))
    .map(([chosen, values]) =>
      Object.fromEntries(
        chosen.map(([key, not], index) => [
          not ? `not${key.slice(0, 1).toUpperCase()}${key.slice(1)}` : key,
          values[index] ?? [],
        ]),
      ),
    )
const maybe = <T>(of: fc.Arbitrary<T>): fc.Arbitrary<readonly T[]> => fc.array(of, { maxLength: 1 })
const ruleOf = (to: readonly string[], keys: readonly string[]): fc.Arbitrary<PolicyRuleSpec> => {
  const condition = fc
    .tuple(fc.constantFrom(...keys), fc.boolean())
    .chain(([key, not]) => list(key).map(values => (not ? { key, notValues: values } : { key, values })))
  return fc
    .tuple(
      maybe(part(['principals', 'namespaces', 'ipBlocks'])),
      maybe(part(to)),
      fc.array(condition, { maxLength: 2 }),
    )
    .map(([from, operations, when]) => ({
      ...(from.length > 0 && { from: from.map(source => ({ source })) }),
      ...(operations.length > 0 && { to: operations.map(operation => ({ operation })) }),
      ...(when.length > 0 && { when }),
    }))
}
const L4_KEYS = ['source.principal', 'source.namespace', 'destination.port']
const rules: Readonly<Record<'ztunnel' | 'envoy-http', fc.Arbitrary<PolicyRuleSpec>>> = {
  ztunnel: ruleOf(['ports'], L4_KEYS),
  'envoy-http': ruleOf(
    ['ports', 'hosts', 'methods', 'paths'],
    [...L4_KEYS, 'request.headers[x]', 'request.headers[:method]'],
  ),
}

const optional = <T>(of: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(of, { nil: undefined })
const request: fc.Arbitrary<PolicyRequest> = fc
  .record({
    principal: optional(
      fc.constantFrom(
        ...['a', 'ab', 'b', 'c'].flatMap(ns => ['s', 't'].map(sa => `cluster.local/ns/${ns}/sa/${sa}`)),
        'other/ns/a/sa/s',
      ),
    ),
    ip: fc.constantFrom('10.0.0.1', '10.0.0.9', '10.7.0.1', '192.0.2.1', '198.51.100.1'),
    port: fc.constantFrom(80, 81, 82, 0),
    method: fc.constantFrom('GET', 'get', 'POST', 'PUT', 'X'),
    authority: fc.constantFrom('web', 'Web:80', 'webx', 'a.io', ''),
    path: fc.constantFrom('/', '/a', '/a/b', '/a/b/c', '/b', '/ab?q=1', '/A', '*'),
    header: optional(fc.constantFrom('1', '12', '')),
  })
  .map(({ principal, ip, port, method, authority, path, header }) => ({
    source: { ip, ...(principal !== undefined && { principal }) },
    destination: {
      namespace: 'shop',
      workload: 'web',
      labels: { app: 'web' },
      service: 'shop/web',
      ip: '10.1.0.1',
      port,
    },
    http: { method, authority, path, ...(header !== undefined && { headers: { x: header } }) },
  }))

function policyOf(dialect: 'ztunnel' | 'envoy-http', list: readonly PolicyRuleSpec[]): AuthorizationPolicy {
  const targets = dialect === 'ztunnel' ? {} : { targetRefs: [{ group: '', kind: 'Service', name: 'web' }] }
  return document({ action: 'ALLOW', rules: list, ...targets }, { name: 'p', namespace: 'shop' })
}

function matchedRules(
  policy: AuthorizationPolicy,
  dialect: PolicyDialect,
  asked: PolicyRequest,
): readonly number[] {
  const { trace } = createEvaluator({ authorizationPolicies: [policy] }, { dialect }).decide(asked)
  return trace.flatMap(each => each.rules.flatMap(({ rule, matched }) => (matched ? [rule] : [])))
}

describe.each(['ztunnel', 'envoy-http'] as const)('%s', dialect => {
  it('a rule that never matches matches no request', () => {
    let found = 0
    fc.assert(
      fc.property(rules[dialect], fc.array(request, { minLength: 30, maxLength: 30 }), (rule, requests) => {
        const policy = policyOf(dialect, [rule])
        const never = lintPolicies({ authorizationPolicies: [policy] }).some(
          ({ id }) => id === 'never-matches',
        )
        if (!never) return
        found++
        for (const asked of requests) expect(matchedRules(policy, dialect, asked)).toEqual([])
      }),
      { numRuns: 200 },
    )
    expect(found).toBeGreaterThan(5)
  })

  it('what a shadowed rule matches, another one matches', () => {
    let found = 0
    fc.assert(
      fc.property(
        fc.array(rules[dialect], { minLength: 2, maxLength: 3 }),
        fc.array(request, { minLength: 20, maxLength: 20 }),
        (list, requests) => {
          const policy = policyOf(dialect, list)
          const shadowed = lintPolicies({ authorizationPolicies: [policy] })
            .filter(({ id }) => id === 'shadowed-rule' || id === 'duplicate-rule')
            .map(({ path }) => Number(/\d+/.exec(path)?.[0]))
          if (shadowed.length === 0) return
          found++
          for (const asked of requests) {
            const matched = matchedRules(policy, dialect, asked)
            if (matched.length > 0) expect(matched.some(rule => !shadowed.includes(rule))).toBe(true)
          }
        },
      ),
      { numRuns: 150 },
    )
    expect(found).toBeGreaterThan(1)
  })

  it('a value that nothing is equal to matches no request', () => {
    fc.assert(
      fc.property(rules[dialect], request, (rule, asked) => {
        const policy = policyOf(dialect, [rule])
        const values = lintPolicies({ authorizationPolicies: [policy] }).filter(({ id }) =>
          ['unmatchable-value', 'principal-with-scheme'].includes(id),
        )
        for (const { path } of values) {
          const [, clause, at, field, index] =
            /rules\[0\]\.(from|to)\[(\d)\]\.\w+\.(\w+)\[(\d)\]/.exec(path) ?? []
          const parts =
            clause === 'from' ? rule.from?.map(each => each.source) : rule.to?.map(each => each.operation)
          const value = Object.entries(parts?.[Number(at)] ?? {}).find(([name]) => name === field)?.[1]?.[
            Number(index)
          ]
          if (value === undefined || field === undefined || field.startsWith('not')) continue
          const alone = { [clause === 'from' ? 'source' : 'operation']: { [field]: [value] } }
          const only = policyOf(dialect, [{ [clause === 'from' ? 'from' : 'to']: [alone] }])
          // Port 0 is no port of a connection, whatever a request says.
          if (asked.destination.port !== 0) expect(matchedRules(only, dialect, asked)).toEqual([])
        }
      }),
      { numRuns: 200 },
    )
  })
})
