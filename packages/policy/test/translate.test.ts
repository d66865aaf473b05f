/** AuthorizationPolicy to the L4 form: what istiod sends, and what we say about it. */
import { describe, expect, it } from 'vitest'
import {
  type AuthorizationPolicy,
  type AuthorizationPolicySpec,
  authorizationProblems,
  emptyMatch,
  type PolicyRuleSpec,
  selectsWorkload,
  toAuthorization,
} from '@ambient/policy'
import { document, policy } from './fixtures.ts'

const options = { rootNamespace: 'istio-system' }

function sent(spec: AuthorizationPolicySpec, of: Partial<AuthorizationPolicy['metadata']> = {}) {
  const translation = toAuthorization(document(spec, of), options)
  if (translation.kind !== 'sent') throw new Error(translation.reason)
  return translation
}

const rulesOf = (rule: PolicyRuleSpec, action: 'ALLOW' | 'DENY' = 'ALLOW') =>
  sent({ action, rules: [rule] }).authorization.rules
const warningsOf = (rule: PolicyRuleSpec, action: 'ALLOW' | 'DENY' = 'ALLOW') =>
  sent({ action, rules: [rule, { from: [{ source: { principals: ['x'] } }] }] }).warnings

describe('scope and action', () => {
  it.each([
    ['Namespace', {}, {}],
    ['Global', {}, { namespace: 'istio-system' }],
    ['WorkloadSelector', { selector: { matchLabels: { app: 'a' } } }, {}],
    ['WorkloadSelector', { selector: { matchLabels: { app: 'a' } } }, { namespace: 'istio-system' }],
    ['WorkloadSelector', { selector: { matchLabels: {} } }, {}],
  ] as const)('%s', (scope, spec, of) => {
    expect(sent(spec, of).authorization.scope).toBe(scope)
  })
  it('an empty spec is an ALLOW that never matches', () => {
    expect(sent({}).authorization).toEqual(policy({}))
    expect(sent({ rules: [] }).warnings).toEqual([])
  })
  it('an empty rule matches everything', () => {
    expect(sent({ action: 'DENY', rules: [{}] }).authorization).toEqual(policy({ action: 'Deny' }, []))
  })
  it.each([
    [{ action: 'AUDIT' }, 'ztunnel does not support the AUDIT action'],
    [{ action: 'CUSTOM' }, 'ztunnel does not support the CUSTOM action'],
    [
      { targetRefs: [{ group: '', kind: 'Service', name: 's' }] },
      'targetRefs name what a waypoint enforces; a ztunnel ignores the policy',
    ],
  ] as const)('%j is not sent', (spec, reason) => {
    expect(toAuthorization(document(spec), options)).toEqual({ kind: 'not-sent', reason })
  })
  it('dry run is sent only where it is enabled, and enforced when it does not parse', () => {
    const annotated = (text: string) => document({}, { annotations: { 'istio.io/dry-run': text } })
    expect(toAuthorization(annotated('true'), options).kind).toBe('not-sent')
    expect(toAuthorization(annotated('T'), { ...options, dryRun: true })).toMatchObject({
      authorization: { dryRun: true },
    })
    for (const text of ['false', '0', 'yes', 'TRue', ''])
      expect(toAuthorization(annotated(text), options)).toMatchObject({ authorization: { dryRun: false } })
  })
  it('an empty selector selects nobody', () => {
    expect(selectsWorkload({ matchLabels: {} }, { app: 'a' })).toBe(false)
    expect(selectsWorkload({ matchLabels: { app: 'a' } }, { app: 'a', x: 'y' })).toBe(true)
    expect(selectsWorkload({ matchLabels: { toString: 'a' } }, {})).toBe(false)
    expect(sent({ selector: { matchLabels: {} } }).warnings).toEqual([
      'an empty selector selects no workload: the policy is enforced nowhere',
    ])
  })
})

describe('rules', () => {
  it('one clause for all `to`, one for all `from`, one per `when`, in this order', () => {
    const rules = rulesOf({
      when: [
        { key: 'source.ip', values: ['10.0.0.1'], notValues: ['10.1.0.0/16'] },
        { key: 'destination.port', values: ['80'] },
      ],
      from: [{ source: { namespaces: ['a'] } }, { source: { notIpBlocks: ['10.0.0.7/8'] } }],
      to: [{ operation: { ports: ['80', '81'] } }, { operation: { notPorts: ['82'] } }],
    })
    expect(rules).toEqual(
      policy({}, [
        [{ destinationPorts: [80, 81] }, { notDestinationPorts: [82] }],
        [{ namespaces: [{ kind: 'exact', value: 'a' }] }, { notSourceIps: ['10.0.0.7/8'] }],
        [{ sourceIps: ['10.0.0.1/32'], notSourceIps: ['10.1.0.0/16'] }],
        [{ destinationPorts: [80] }],
      ]).rules,
    )
  })
  it.each([
    ['*', { kind: 'presence' }],
    ['*x', { kind: 'suffix', value: 'x' }],
    ['x*', { kind: 'prefix', value: 'x' }],
    ['x', { kind: 'exact', value: 'x' }],
    ['x*y', { kind: 'exact', value: 'x*y' }],
    ['*/x/*', { kind: 'suffix', value: '/x/*' }],
    ['**', { kind: 'suffix', value: '*' }],
  ])('the value %s', (value, expected) => {
    expect(rulesOf({ from: [{ source: { notPrincipals: [value] } }] })[0]?.clauses[0]?.matches).toEqual([
      { ...emptyMatch, notPrincipals: [expected] },
    ])
  })
  it('service accounts without a namespace take the policy’s', () => {
    expect(
      rulesOf({ from: [{ source: { serviceAccounts: ['a', 'n/b'] } }] })[0]?.clauses[0]?.matches,
    ).toEqual([
      {
        ...emptyMatch,
        serviceAccounts: [
          { namespace: 'shop', serviceAccount: 'a' },
          { namespace: 'n', serviceAccount: 'b' },
        ],
      },
    ])
  })
  it.each([
    ['source.namespace', 'namespaces', [{ kind: 'exact', value: '10' }]],
    ['source.principal', 'principals', [{ kind: 'exact', value: '10' }]],
    ['destination.port', 'destinationPorts', [10]],
  ] as const)('when %s', (key, attribute, values) => {
    const [rule] = rulesOf({ when: [{ key, values: ['10'] }] })
    expect(rule?.clauses).toEqual([{ matches: [{ ...emptyMatch, [attribute]: values }] }])
  })
  it('when destination.ip, IPv6', () => {
    const [rule] = rulesOf({ when: [{ key: 'destination.ip', notValues: ['2001:DB8::/32'] }] })
    expect(rule?.clauses[0]?.matches[0]?.notDestinationIps).toEqual(['2001:db8::/32'])
  })
})

describe('fields of HTTP', () => {
  const http: readonly PolicyRuleSpec[] = [
    { to: [{ operation: { methods: ['GET'], ports: ['80'] } }] },
    { to: [{ operation: { ports: ['80'] } }, { operation: { notPaths: ['/x'] } }] },
    { to: [{ operation: { hosts: ['h'] } }] },
    { from: [{ source: { requestPrincipals: ['*'], principals: ['a'] } }] },
    { from: [{ source: { notRemoteIpBlocks: ['10.0.0.0/8'] } }] },
    { from: [{ source: { principals: ['a'] } }], when: [{ key: 'connection.sni', values: ['a'] }] },
    { when: [{ key: 'request.headers[x]', values: ['a'] }] },
    { when: [{ key: 'source.serviceAccount', values: ['a'] }] },
    { when: [{ key: 'source.trustDomain', values: ['a'] }] },
    { when: [{ key: 'remote.ip', values: ['10.0.0.1'] }] },
  ]
  it.each(http.map(rule => [JSON.stringify(rule), rule] as const))(
    'drop the whole ALLOW rule: %s',
    (_, rule) => {
      const { authorization, warnings } = sent({ rules: [rule] })
      expect(authorization.rules).toEqual([])
      expect(warnings[0]).toMatch(
        /^rules\[0\]: .* cannot be judged at L4: the whole ALLOW rule is dropped there/,
      )
      expect(warnings[1]).toBe(
        'no rule is left at L4: every connection is denied that no other policy allows',
      )
    },
  )
  it.each([
    [
      { to: [{ operation: { methods: ['GET'], ports: ['80'] } }] },
      'methods',
      'denies more there than it says',
    ],
    [{ to: [{ operation: { methods: ['GET'] } }] }, 'methods', 'denies nothing there'],
    [
      { from: [{ source: { principals: ['a'] } }], to: [{ operation: { paths: ['/a'] } }] },
      'paths',
      'denies nothing there',
    ],
    [
      { from: [{ source: { principals: ['a'] } }], when: [{ key: 'connection.sni', values: ['a'] }] },
      'connection.sni',
      'denies nothing there',
    ],
    [
      { to: [{ operation: { paths: ['/a'] } }, { operation: { ports: ['1'] } }] },
      'paths',
      'denies less there than it says',
    ],
  ] as const)('stay out of a DENY rule, with a warning: %j', (rule, names, effect) => {
    const [warning] = warningsOf(rule, 'DENY')
    expect(warning).toContain(`rules[0]: ${names} cannot be judged at L4`)
    expect(warning).toContain(effect)
  })
  it('leave the L4 part of a DENY rule', () => {
    expect(rulesOf({ to: [{ operation: { methods: ['GET'], ports: ['80'] } }] }, 'DENY')).toEqual(
      policy({}, [[{ destinationPorts: [80] }]]).rules,
    )
    expect(
      rulesOf(
        { to: [{ operation: { methods: ['GET'] } }], from: [{ source: { namespaces: ['a'] } }] },
        'DENY',
      ),
    ).toEqual(policy({}, [[{}], [{ namespaces: [{ kind: 'exact', value: 'a' }] }]]).rules)
  })
})

describe('warnings', () => {
  it.each([
    [
      { from: [{ source: { trustDomains: ['td'] } }] },
      'ALLOW',
      'trustDomains are ignored at L4: the source never matches',
    ],
    [
      { from: [{ source: { trustDomains: ['td'], namespaces: ['a'] } }] },
      'ALLOW',
      'the rule allows more than it says',
    ],
    [
      { from: [{ source: { trustDomains: ['td'], namespaces: ['a'] } }] },
      'DENY',
      'the rule denies more than it says',
    ],
    [
      { from: [{ source: { principals: ['spiffe://td/x'] } }] },
      'ALLOW',
      'never matches: write it without "spiffe://"',
    ],
    [
      { from: [{ source: { notNamespaces: ['a'] } }] },
      'ALLOW',
      'callers in plaintext, without identity, are allowed',
    ],
  ] as const)('%j %s', (rule, action, text) => {
    expect(warningsOf(rule, action)).toEqual([expect.stringContaining(text)])
  })
  it('a DENY without rules', () => {
    expect(sent({ action: 'DENY' }).warnings).toEqual([
      'a DENY policy without rules never matches: it denies nothing',
    ])
  })
  it('none for what L4 can do', () => {
    expect(
      warningsOf({
        from: [{ source: { principals: ['a'], notNamespaces: ['b'] } }],
        to: [{ operation: { ports: ['1'] } }],
      }),
    ).toEqual([])
  })
  it('names what an L4 policy can never do', () => {
    const bad = policy({}, [
      [{}, { sourceIps: ['x'], principals: [{ kind: 'prefix', value: 'spiffe://a' }] }],
    ])
    expect(authorizationProblems(bad)).toEqual([
      'rules[0].clauses[0].matches[1]: the address block "x" cannot be read',
      'rules[0].clauses[0].matches[1]: the principal "spiffe://a" never matches: write it without "spiffe://"',
    ])
  })
})
