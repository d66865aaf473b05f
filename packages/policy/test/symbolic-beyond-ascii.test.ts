/** Texts that are not printable ASCII exist: in tokens, in headers, in SNI; and blocks that Envoy reads otherwise. */
import { describe, expect, it } from 'vitest'
import {
  type AuthorizationPolicySpec,
  createEvaluator,
  diffPolicies,
  isSatisfiable,
  lintPolicies,
  type PolicyCondition,
  type PolicyRequest,
  type PolicyRuleSpec,
  type RequestAuthentication,
} from '@ambient/policy'
import { document } from './fixtures.ts'

const tokens: RequestAuthentication = {
  kind: 'RequestAuthentication',
  metadata: { name: 'tokens', namespace: 'shop', labels: {}, annotations: {} },
  spec: { jwtRules: [{ issuer: 'iss' }] },
}

const when = (...conditions: readonly PolicyCondition[]): PolicyRuleSpec => ({ when: conditions })
const ofSubject: PolicyRuleSpec = { from: [{ source: { requestPrincipals: ['iss/Jürgen'] } }] }

const rules: readonly (readonly [string, PolicyRuleSpec])[] = [
  ['a header', when({ key: 'request.headers[x-name]', values: ['Jürgen'] })],
  ['a header with a tab', when({ key: 'request.headers[x-name]', values: ['a\tb'] })],
  ['a claim', when({ key: 'request.auth.claims[name]', values: ['Jürgen'] })],
  ['a claim of two lines', when({ key: 'request.auth.claims[name]', values: ['a\nb'] })],
  ['a subject', ofSubject],
  ['an SNI', when({ key: 'connection.sni', values: ['a:b'] })],
  ['a host', { to: [{ operation: { hosts: ['bücher.example'] } }] }],
]

describe('texts beyond printable ASCII', () => {
  it.each(rules)('are matched: %s', (_, rule) => {
    const found = isSatisfiable(rule, { dialect: 'envoy-http', namespace: 'shop' })
    if (found.kind !== 'satisfiable') throw new Error(found.kind)
    const payload = { sub: 'me', ...found.witness.jwt?.payload, iss: 'iss' }
    const request: PolicyRequest = { ...found.witness, jwt: { payload } }
    const policy = document({ rules: [rule] })
    const documents = { authorizationPolicies: [policy], requestAuthentications: [tokens] }
    const enforcer = { kind: 'workload' as const, namespace: 'shop' }
    const verdict = createEvaluator(documents, { dialect: 'envoy-http' }).decide(request, enforcer)
    expect(verdict).toMatchObject({ verdict: 'allow', rule: 0 })
  })

  it.each(rules)('make a difference: %s', (_, rule) => {
    const policy = document({ action: 'DENY', rules: [rule] })
    const sides = [[policy], []].map(authorizationPolicies => ({
      authorizationPolicies,
      requestAuthentications: [tokens],
    }))
    const [before, after] = sides
    if (before === undefined || after === undefined) throw new Error('two sides')
    const options = { dialects: ['envoy-http' as const], enforcers: ['workload' as const] }
    expect(diffPolicies(before, after, options)).toMatchObject({ result: 'changed', undecided: [] })
  })
})

describe('IPv4-mapped blocks', () => {
  const mapped = '::ffff:10.0.0.1'

  it('take nothing at Envoy and leave nothing out', () => {
    const without: PolicyRuleSpec = {
      from: [{ source: { ipBlocks: ['10.0.0.0/8'], notIpBlocks: [mapped] } }],
    }
    const dialect = 'envoy-http'
    expect(isSatisfiable(without, { dialect })).toMatchObject({ kind: 'satisfiable' })
    expect(isSatisfiable({ from: [{ source: { ipBlocks: [mapped] } }] }, { dialect })).toMatchObject({
      kind: 'empty',
    })
  })
})

describe('callers without an address', () => {
  it('are in no block: a waypoint of Istio does not know where they are', () => {
    const rule: PolicyRuleSpec = { from: [{ source: { notIpBlocks: ['0.0.0.0/0', '::/0'] } }] }
    const found = isSatisfiable(rule, { dialect: 'envoy-http' })
    if (found.kind !== 'satisfiable') throw new Error(found.kind)
    expect(found.witness.source.ip).toBeUndefined()
    const of = (blocks: object): PolicyRuleSpec => ({ from: [{ source: blocks }] })
    expect(
      isSatisfiable(of({ ipBlocks: ['10.0.0.0/8'], notIpBlocks: ['10.0.0.0/7'] }), { dialect: 'ztunnel' }),
    ).toEqual({
      kind: 'empty',
      dimensions: ['source.ip'],
    })
  })
})

describe('rules that deny where HTTP is not seen', () => {
  const service = { targetRefs: [{ group: '', kind: 'Service' as const, name: 'web' }] }
  const findingsOf = (...specs: readonly AuthorizationPolicySpec[]): readonly string[] =>
    lintPolicies({
      authorizationPolicies: specs.map((spec, index) =>
        document({ ...service, ...spec }, { name: `p${index}` }),
      ),
    }).map(({ id, message }) => `${id}: ${message}`)

  it('are not said to deny nothing', () => {
    const rule = { to: [{ operation: { paths: ['/a'], notPaths: ['/a*'], ports: ['80'] } }] }
    const closed = findingsOf({ action: 'DENY', rules: [rule] }).find(text =>
      text.startsWith('never-matches'),
    )
    expect(closed).toMatch(/exclude each other; where HTTP is not seen it may match/)
    const open = findingsOf({ rules: [rule] }).find(text => text.startsWith('never-matches'))
    expect(open).toMatch(/exclude each other$/)
  })

  it('are not shadowed by those that deny less there', () => {
    const wide: PolicyRuleSpec = {
      to: [{ operation: { paths: ['/a'], ports: ['1'] } }, { operation: { paths: ['/b'], ports: ['2'] } }],
      when: [{ key: 'request.headers[:path]', values: ['/a'] }],
    }
    const narrow: PolicyRuleSpec = { to: [{ operation: { paths: ['/a'], ports: ['1'] } }] }
    const shadows = (action: 'ALLOW' | 'DENY'): readonly string[] =>
      findingsOf({ action, rules: [wide] }, { action, rules: [narrow] }).filter(text =>
        /^shadowed-policy: rules\[0\] of .*p1 /.test(text),
      )
    expect(shadows('ALLOW')).toHaveLength(1)
    expect(shadows('DENY')).toEqual([])
  })
})
