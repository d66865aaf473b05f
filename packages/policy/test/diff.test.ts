/** The diff of two sets of policies against brute force over everything that could tell them apart. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createEvaluator, diffPolicies, type PolicyDialect, type PolicyVerdict } from '@ambient/policy'
import { document } from './fixtures.ts'
import { documents, enforcers, universe } from './diff-arbitraries.ts'

const none = { authorizationPolicies: [] }
const shop = { name: 'p', namespace: 'shop' }
const decider = ({ verdict, policy, rule }: Pick<PolicyVerdict, 'verdict' | 'policy' | 'rule'>): string =>
  `${verdict} ${policy} ${rule}`

describe('diffPolicies', () => {
  it.each<PolicyDialect>(['ztunnel', 'envoy-tcp', 'envoy-http'])(
    '%s: finds who decides otherwise wherever brute force does, and proves sameness only where there is',
    dialect => {
      let [same, changed] = [0, 0]
      const requests = universe(dialect === 'envoy-http')
      fc.assert(
        fc.property(documents, documents, fc.boolean(), fc.nat(), (left, other, some, offset) => {
          // Half of the time one document differs, as in life.
          const right = some
            ? {
                ...left,
                authorizationPolicies: [
                  ...left.authorizationPolicies.slice(1),
                  ...other.authorizationPolicies.slice(0, 1),
                ],
              }
            : other
          const diff = diffPolicies(left, right, { dialects: [dialect] })
          // Which tokens are accepted is not in question here: a token of the universe counts or not by its issuer.
          const open = diff.undecided.filter(({ reason }) => !reason.startsWith('RequestAuthentication '))
          expect(open).toEqual([])
          const found = new Set(
            diff.changes.map(
              ({ enforcer, before, after }) => `${enforcer.kind}: ${decider(before)} → ${decider(after)}`,
            ),
          )
          const [before, after] = [createEvaluator(left, { dialect }), createEvaluator(right, { dialect })]
          const step = dialect === 'envoy-http' ? 7 : 1
          let flips = 0
          for (const enforcer of enforcers) {
            if (dialect === 'ztunnel' && enforcer.kind !== 'workload') continue
            for (let index = offset % step; index < requests.length; index += step) {
              const request = requests[index]
              if (request === undefined) continue
              const [one, two] = [before.decide(request, enforcer), after.decide(request, enforcer)]
              if (one.verdict === two.verdict) continue
              flips++
              const flip = `${enforcer.kind}: ${decider(one)} → ${decider(two)}`
              if (!found.has(flip)) expect([flip, enforcer, request, left, right]).toBe(found)
            }
          }
          if (flips === 0) same++
          else changed++
          for (const { enforcer, witness, before: one, after: two } of diff.changes) {
            expect(before.decide(witness, enforcer).verdict).toBe(one.verdict)
            expect(after.decide(witness, enforcer).verdict).toBe(two.verdict)
            expect(one.verdict).not.toBe(two.verdict)
          }
        }),
        { numRuns: dialect === 'envoy-http' ? 40 : 150 },
      )
      expect(same).toBeGreaterThan(0)
      expect(changed).toBeGreaterThan(10)
    },
    60_000,
  )

  it('names place, caller and constraint, and shows one request', () => {
    const before = document(
      {
        rules: [{ to: [{ operation: { paths: ['/items/*'], methods: ['GET'] } }] }],
        targetRefs: [{ group: '', kind: 'Service', name: 'web' }],
      },
      shop,
    )
    const after = document(
      {
        rules: [{ to: [{ operation: { paths: ['/items/*'] } }] }],
        targetRefs: [{ group: '', kind: 'Service', name: 'web' }],
      },
      shop,
    )
    const diff = diffPolicies(
      { authorizationPolicies: [before] },
      { authorizationPolicies: [after] },
      { dialects: ['envoy-http'] },
    )
    expect(diff.result).toBe('changed')
    expect(diff.changes).toHaveLength(1)
    expect(diff.changes[0]).toMatchObject({
      dialect: 'envoy-http',
      before: { verdict: 'deny', action: 'ALLOW', policy: null, rule: null },
      after: { verdict: 'allow', action: 'ALLOW', policy: 'shop/p', rule: 0 },
      constraint: ['for service shop/web', 'not method GET', 'path /items/*'],
      enforcer: { kind: 'waypoint', namespace: 'shop', service: 'shop/web' },
      witness: {
        destination: { namespace: 'shop', service: 'shop/web' },
        http: { method: 'POST', path: '/items/' },
      },
    })
  })

  it('sees that another text says the same', () => {
    const one = document(
      { rules: [{ to: [{ operation: { paths: ['/a/*'], notPaths: ['/a/b', '/a/b/*'] } }] }] },
      shop,
    )
    const two = document(
      {
        rules: [
          { to: [{ operation: { paths: ['/a/*'], notPaths: ['/a/b*'] } }] },
          { to: [{ operation: { paths: ['/a/b*'], notPaths: ['/a/b/*', '/a/b'] } }] },
        ],
      },
      { ...shop, name: 'another' },
    )
    expect(diffPolicies({ authorizationPolicies: [one] }, { authorizationPolicies: [two] })).toEqual({
      result: 'same',
      changes: [],
      undecided: [],
    })
  })

  it('the first ALLOW denies everybody else', () => {
    const allow = document({ rules: [{ from: [{ source: { namespaces: ['a'] } }] }] }, shop)
    const diff = diffPolicies(none, { authorizationPolicies: [allow] }, { dialects: ['ztunnel'] })
    expect(
      diff.changes.map(({ constraint, before, after }) => [constraint, before.verdict, after.verdict]),
    ).toEqual([[['enforced in namespace shop', 'not caller in namespace a'], 'allow', 'deny']])
  })

  it('a namespace that lost its only policy, in every dialect', () => {
    const allow = document({ rules: [{ from: [{ source: { namespaces: ['a'] } }] }] }, shop)
    const diff = diffPolicies({ authorizationPolicies: [allow] }, none)
    expect(diff.result).toBe('changed')
    expect(diff.changes.map(({ dialect, enforcer }) => `${dialect} ${enforcer.kind}`)).toEqual([
      'ztunnel workload',
      'envoy-tcp workload',
      'envoy-tcp gateway',
      'envoy-http workload',
      'envoy-http gateway',
    ])
  })

  it('past its budget it is undecided, and says which', () => {
    const paths = Array.from({ length: 12 }, (_, index) => `*${'ab'[index % 2]}${'x'.repeat(index)}`)
    const allow = document({ rules: [{ to: [{ operation: { paths, notPaths: paths.slice(3) } }] }] }, shop)
    const diff = diffPolicies(
      none,
      { authorizationPolicies: [allow] },
      { dialects: ['envoy-http'], enforcers: ['workload'], maxSteps: 20 },
    )
    expect(diff).toMatchObject({
      result: 'undecided',
      undecided: [{ dialect: 'envoy-http', enforcer: 'workload', reason: 'more than 20 steps' }],
    })
    const many = document({ rules: [{ to: [{ operation: { ports: ['80'] } }] }] }, shop)
    const full = diffPolicies(
      { authorizationPolicies: [allow] },
      { authorizationPolicies: [many] },
      { dialects: ['envoy-http'], maxChanges: 1 },
    )
    expect(full).toMatchObject({ result: 'undecided' })
    expect(full.changes.length).toBeGreaterThan(0)
  })

  it('enumerates only what differs among thousands of policies', () => {
    const policies = Array.from({ length: 2000 }, (_, index) =>
      document(
        {
          action: index % 4 === 0 ? 'DENY' : 'ALLOW',
          rules: Array.from({ length: 5 }, (_, rule) => ({
            from: [{ source: { principals: [`cluster.local/ns/n${index}/sa/a${rule}`] } }],
            to: [{ operation: { paths: [`/p${index}/*`], methods: ['GET'] } }],
          })),
          targetRefs: [{ group: '', kind: 'Service', name: 'web' }],
        },
        { name: `p${index}`, namespace: 'shop' },
      ),
    )
    const changed = document(
      {
        rules: [
          {
            from: [{ source: { principals: ['cluster.local/ns/n1/sa/a1'] } }],
            to: [{ operation: { paths: ['/p1/*'], methods: ['GET', 'PUT'] } }],
          },
        ],
        targetRefs: [{ group: '', kind: 'Service', name: 'web' }],
      },
      { name: 'p1', namespace: 'shop' },
    )
    const after = policies.map(policy => (policy.metadata.name === 'p1' ? changed : policy))
    const diff = diffPolicies(
      { authorizationPolicies: policies },
      { authorizationPolicies: after },
      { dialects: ['envoy-http'], enforcers: ['waypoint'] },
    )
    expect(diff.undecided).toEqual([])
    expect(
      diff.changes.map(({ before, after: now }) => `${decider(before)} → ${decider(now)}`).sort(),
    ).toEqual([
      'allow shop/p1 0 → deny null null',
      'allow shop/p1 2 → deny null null',
      'allow shop/p1 3 → deny null null',
      'allow shop/p1 4 → deny null null',
      'deny null null → allow shop/p1 0',
    ])
  }, 30_000)
})
