/** The order of a decision, which policies apply, and its words. */
import { describe, expect, it } from 'vitest'
import {
  createPolicySet,
  createPolicyStore,
  decide,
  type DryRunFinding,
  explain,
  formatExplanation,
  type StringMatch,
} from '@ambient/policy'
import { connection, policy, workload } from './fixtures.ts'

const ns = (value: string): { namespaces: readonly StringMatch[] } => ({
  namespaces: [{ kind: 'exact', value }],
})
const clientRule = [[ns('client')]]

describe('order', () => {
  it('no policies: allowed', () => {
    expect(decide([], connection())).toEqual({ allowed: true, reason: 'no allow policies, allow' })
  })
  it('DENY beats ALLOW and names policy and rule', () => {
    const set = [
      policy({ name: 'a' }, clientRule),
      policy({ name: 'd', action: 'Deny' }, [[ns('x')]], clientRule),
    ]
    expect(decide(set, connection())).toEqual({
      allowed: false,
      reason: 'explicitly denied by: shop/d',
      by: { policy: 'shop/d', rule: 1 },
      considered: [],
    })
  })
  it('a DENY that does not match leaves everybody in while there is no ALLOW', () => {
    expect(decide([policy({ action: 'Deny' }, [[ns('x')]])], connection())).toMatchObject({
      allowed: true,
      reason: 'no allow policies, allow',
    })
  })
  it('one matching ALLOW is enough and is named', () => {
    const set = [policy({ name: 'a' }, [[ns('x')]]), policy({ name: 'b' }, [[ns('x')]], clientRule)]
    expect(decide(set, connection())).toEqual({
      allowed: true,
      reason: 'allowed by: shop/b',
      by: { policy: 'shop/b', rule: 1 },
    })
  })
  it('ALLOW policies of which none matches deny and are listed', () => {
    const set = [
      policy({ name: 'a' }),
      policy({ name: 'g', namespace: 'root', scope: 'Global' }, [[ns('x')]]),
    ]
    expect(decide(set, connection())).toEqual({
      allowed: false,
      reason: 'allow policies exist, but none allowed',
      considered: ['shop/a', 'root/g'],
    })
  })
})

describe('which policies apply', () => {
  const denyAll = { action: 'Deny' } as const
  it.each([
    ['a namespace policy, in its namespace', policy({ ...denyAll }, []), [], false],
    ['a namespace policy, elsewhere', policy({ ...denyAll, namespace: 'other' }, []), [], true],
    [
      'a global policy, from any namespace',
      policy({ ...denyAll, namespace: 'other', scope: 'Global' }, []),
      [],
      false,
    ],
    ['a selector policy that nobody names', policy({ ...denyAll, scope: 'WorkloadSelector' }, []), [], true],
    [
      'a selector policy that is named',
      policy({ ...denyAll, scope: 'WorkloadSelector' }, []),
      ['shop/p'],
      false,
    ],
  ])('%s', (_, given, authorizationPolicies, allowed) => {
    const to = workload({ authorizationPolicies })
    expect(decide([given], connection({ workload: to })).allowed).toBe(allowed)
    expect(explain([given], connection({ workload: to })).decision.allowed).toBe(allowed)
  })

  it('a named policy that is not known denies, after any DENY that matches, or is skipped on demand', () => {
    const to = workload({ authorizationPolicies: ['shop/late'] })
    expect(decide([], connection({ workload: to }))).toEqual({
      allowed: false,
      reason: 'policy shop/late is referenced but not known',
      by: { policy: 'shop/late' },
      considered: [],
    })
    expect(decide([policy({ action: 'Deny' }, [])], connection({ workload: to })).reason).toBe(
      'explicitly denied by: shop/p',
    )
    expect(decide([], connection({ workload: to }), { unknownPolicy: 'skip' }).allowed).toBe(true)
    expect(explain([], connection({ workload: to })).unknownPolicies).toEqual(['shop/late'])
  })

  it('without a destination workload only global policies can be chosen: others deny', () => {
    const to = connection({ workload: null })
    expect(decide([policy({ scope: 'Global' }, clientRule)], to).allowed).toBe(true)
    const set = [policy({ scope: 'Global' }, clientRule), policy({ name: 'n' }, clientRule)]
    expect(decide(set, to)).toEqual({ allowed: false, reason: 'workload not found', considered: [] })
  })
})

describe('dry run', () => {
  const findings = (set: Parameters<typeof decide>[0]): [boolean, DryRunFinding[]] => {
    const found: DryRunFinding[] = []
    const { allowed } = decide(set, connection(), { onDryRun: finding => found.push(finding) })
    return [allowed, found]
  }
  it('is told and never obeyed', () => {
    const set = [
      policy({ name: 'd', action: 'Deny', dryRun: true }, clientRule),
      policy({ name: 'a', dryRun: true }, [[ns('x')]]),
    ]
    expect(findings(set)).toEqual([
      true,
      [
        { action: 'Deny', matched: true, policy: 'shop/d', rule: 0 },
        { action: 'Allow', matched: false },
      ],
    ])
  })
  it('a dry-run ALLOW that misses is silent beside an enforced one', () => {
    const set = [policy({ name: 'a', dryRun: true }, [[ns('x')]]), policy({ name: 'e' }, clientRule)]
    expect(findings(set)).toEqual([true, []])
  })
  it('a dry-run ALLOW that matches saves nobody', () => {
    const set = [policy({ name: 'a', dryRun: true }, clientRule), policy({ name: 'e' }, [[ns('x')]])]
    expect(findings(set)).toEqual([false, [{ action: 'Allow', matched: true, policy: 'shop/a', rule: 0 }]])
  })
  it('says nothing of ALLOW after an enforced DENY', () => {
    const set = [policy({ name: 'a', dryRun: true }, clientRule), policy({ name: 'e', action: 'Deny' }, [])]
    expect(findings(set)).toEqual([false, []])
  })
})

describe('explain', () => {
  it('shows each rule, its first failing clause and both values', () => {
    const set = [
      policy({ name: 'a' }, [[ns('x')], [{ destinationPorts: [80] }]], [[{ destinationPorts: [80] }], [{}]]),
      policy({ name: 'd', action: 'Deny', namespace: 'root', scope: 'Global' }, [
        [{ principals: [{ kind: 'prefix', value: 'td/' }] }, { sourceIps: ['11.0.0.0/8'] }],
      ]),
      policy({ name: 'empty' }),
    ]
    expect(formatExplanation(explain(set, connection()))).toBe(
      [
        'DENIED: allow policies exist, but none allowed',
        'from cluster.local/ns/client/sa/alice (10.0.0.1) to shop/web-1 (10.0.0.2:80)',
        'ALLOW shop/a (Namespace) does not match',
        '  rules[0] fails in clause 0: namespaces: client against x',
        '  rules[1] fails in clause 1: sets nothing, never matches',
        'ALLOW shop/empty (Namespace) has no rules, never matches',
        'DENY root/d (Global) does not match',
        '  rules[0] fails in clause 0: principals: cluster.local/ns/client/sa/alice against td/*',
        '  rules[0] fails in clause 0: sourceIps: 10.0.0.1 against 11.0.0.0/8',
      ].join('\n'),
    )
  })
  it('speaks of plaintext and of nothing at all', () => {
    const set = [policy({ action: 'Deny' }, [[{ notPrincipals: [{ kind: 'presence' }] }]])]
    expect(formatExplanation(explain(set, connection({ principal: null })))).toContain(
      'DENIED: explicitly denied by: shop/p rules[0]\nfrom no identity (10.0.0.1)',
    )
    expect(formatExplanation(explain([], connection({ workload: null })))).toContain('no policy applies')
  })
})

describe('store', () => {
  it('replaces, changes and removes at once and tells once', () => {
    const store = createPolicyStore([policy({ name: 'old', action: 'Deny' }, [])])
    let told = 0
    const unwatch = store.watch(() => told++)
    expect(decide(store.policies, connection()).allowed).toBe(false)
    store.apply({
      upsert: [policy({ name: 'a' }, clientRule), policy({ name: 'b' }, [])],
      remove: ['shop/old'],
    })
    expect(store.list().map(({ name }) => name)).toEqual(['a', 'b'])
    expect(decide(store.policies, connection()).by).toEqual({ policy: 'shop/a', rule: 0 })
    store.apply({
      upsert: [policy({ name: 'a', scope: 'Global', action: 'Deny' }, clientRule)],
      remove: ['x/y'],
    })
    expect(decide(store.policies, connection()).reason).toBe('explicitly denied by: shop/a')
    store.apply({ upsert: [], remove: [] })
    expect(told).toBe(2)
    store.replace([])
    expect([store.policies.size, told, store.get('shop/a')]).toEqual([0, 3, undefined])
    expect(decide(store.policies, connection({ workload: null })).allowed).toBe(true)
    unwatch()
    store.replace([])
    expect(told).toBe(3)
  })
  it('tells every listener, also after one that throws', () => {
    const store = createPolicyStore()
    let told = false
    store.watch(() => {
      throw new Error('broken')
    })
    store.watch(() => {
      told = true
    })
    expect(() => store.replace([])).toThrow('broken')
    expect(told).toBe(true)
  })
})

describe('many policies', () => {
  it('are found by what they ask for, not by a scan', () => {
    const many = Array.from({ length: 5000 }, (_, i) =>
      policy({ name: `p${i}`, scope: 'Global' }, [
        [{ principals: [{ kind: 'exact', value: `cluster.local/ns/n${i}/sa/s` }] }],
        [{ destinationPorts: [80] }],
      ]),
    )
    const set = createPolicySet(many)
    const from = (i: number) => decide(set, connection({ principal: `cluster.local/ns/n${i}/sa/s` }))
    expect(from(4321)).toMatchObject({ allowed: true, by: { policy: 'shop/p4321', rule: 0 } })
    expect(from(5001).allowed).toBe(false)
  })
})
