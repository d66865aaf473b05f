/** Why a waypoint said what it said: the text, the data, and what is never shown. */
import { describe, expect, it } from 'vitest'
import { formatWaypointExplanation } from '@ambient/policy'
import { connection, document } from './fixtures.ts'
import { forWeb, request, target, waypoint } from './waypoint-fixtures.ts'

describe('an explanation', () => {
  it('names each policy, each rule, and the first thing in it that failed', () => {
    const policies = waypoint([
      forWeb(
        {
          action: 'DENY',
          rules: [
            { from: [{ source: { notNamespaces: ['client'] } }], to: [{ operation: { ports: ['80'] } }] },
          ],
        },
        { name: 'strangers' },
      ),
      forWeb(
        {
          rules: [
            {
              from: [{ source: { principals: ['*/sa/bob'] } }, { source: { namespaces: ['staff'] } }],
              to: [{ operation: { methods: ['DELETE'] } }],
            },
            { to: [{ operation: { methods: ['GET'], paths: ['/public*'] } }] },
          ],
        },
        { name: 'readers' },
      ),
      document(
        {
          targetRefs: [{ group: 'gateway.networking.k8s.io', kind: 'GatewayClass', name: 'istio-waypoint' }],
        },
        { name: 'nothing', namespace: 'istio-system' },
      ),
      document({}, { name: 'everyone' }),
      document({ targetRefs: [{ group: '', kind: 'Service', name: 'api' }] }, { name: 'for-api' }),
      document({}, { name: 'far', namespace: 'far' }),
    ])
    const explanation = policies.explainRequest(target, request({ method: 'DELETE', path: '/items/1?x=y' }))
    expect(formatWaypointExplanation(explanation)).toBe(
      [
        'DENIED: allow policies exist, but none allowed',
        'DELETE web/items/1 from cluster.local/ns/client/sa/alice (10.0.0.1) to Service shop/web (10.0.0.2:80)',
        'ALLOW istio-system/nothing (GatewayClass istio-waypoint) has no rules, never matches',
        'ALLOW shop/readers (Service shop/web) does not match',
        '  rules[0] fails in from: principals: wanted */sa/bob, found cluster.local/ns/client/sa/alice',
        '  rules[0] fails in from: namespaces: wanted staff, found cluster.local/ns/client/sa/alice',
        '  rules[1] fails in to: methods: wanted GET, found DELETE',
        'DENY shop/strangers (Service shop/web) does not match',
        '  rules[0] fails in from: notNamespaces: found cluster.local/ns/client/sa/alice, must not be client',
        'shop/everyone is not asked: without targetRefs it is enforced by the ztunnels of the workloads, not at a waypoint',
        'shop/for-api is not asked: it is for Service shop/api',
        'istio-system/nothing has no rules and never matches: alone it denies everything',
      ].join('\n'),
    )
    expect(explanation.policies[1]?.rules[1]).toEqual({
      rule: 1,
      id: 'ns[shop]-policy[readers]-rule[1]',
      matched: false,
      dropped: [],
      failed: {
        part: 'to',
        alternatives: [{ field: 'methods', negated: false, wanted: ['GET'], found: 'DELETE' }],
      },
    })
  })

  it('says that no ALLOW policy is attached', () => {
    const { notes, decision } = waypoint([]).explainRequest(target, request())
    expect(decision.allowed).toBe(true)
    expect(notes).toEqual([
      'no policy is attached to Service shop/web',
      'no ALLOW policy is attached to Service shop/web: whatever no other policy denies is allowed',
    ])
    const denying = waypoint([forWeb({ action: 'DENY', rules: [{}] })])
    expect(denying.explainRequest(target, request()).notes).toEqual([
      'no ALLOW policy is attached to Service shop/web: whatever no other policy denies is allowed',
    ])
  })

  it('says what a connection without HTTP cannot be asked', () => {
    const get = { to: [{ operation: { methods: ['GET'] } }] }
    const policies = waypoint([
      forWeb({ rules: [get] }, { name: 'allow' }),
      forWeb(
        { action: 'DENY', rules: [{ ...get, from: [{ source: { namespaces: ['client'] } }] }] },
        { name: 'deny' },
      ),
    ])
    expect(formatWaypointExplanation(policies.explainConnection(target, connection()))).toBe(
      [
        'DENIED: explicitly denied by: shop/deny rules[0]',
        'a connection from cluster.local/ns/client/sa/alice (10.0.0.1) to Service shop/web (10.0.0.2:80)',
        'ALLOW shop/allow (Service shop/web) does not match',
        '  rules[0] is left out: methods needs HTTP, and this connection carries none',
        'DENY shop/deny (Service shop/web) matches',
        '  rules[0] matches, without methods',
      ].join('\n'),
    )
  })

  it('tells of marks and dry runs', () => {
    const policies = waypoint([
      forWeb({ action: 'AUDIT', rules: [{}] }, { name: 'audit' }),
      forWeb({}, { name: 'dry', annotations: { 'istio.io/dry-run': 'true' } }),
      forWeb({ rules: [{ when: [{ key: 'request.headers[x-team]', values: ['a'] }] }] }, { name: 'team' }),
    ])
    const text = formatWaypointExplanation(policies.explainRequest(target, request({ principal: null })))
    expect(text.split('\n').slice(1)).toEqual([
      'GET web/ from no identity (10.0.0.1) to Service shop/web (10.0.0.2:80)',
      'AUDIT shop/audit (Service shop/web) matches',
      '  rules[0] matches',
      'dry-run ALLOW shop/dry (Service shop/web) has no rules, never matches',
      'ALLOW shop/team (Service shop/web) does not match',
      '  rules[0] fails in when[0]: request.headers[x-team]: wanted a, found (absent)',
      'dry-run ALLOW: denied, no rule matches',
      'shop/audit marks this for the audit log',
    ])
  })

  it('shows no credentials', () => {
    const policies = waypoint(
      ['Authorization', 'cookie', 'x-api-key'].map(name =>
        forWeb(
          { rules: [{ when: [{ key: `request.headers[${name}]`, values: ['expected-secret'] }] }] },
          { name: name.toLowerCase() },
        ),
      ),
    )
    const headers = { authorization: 'Bearer sent-secret', cookie: 'sent-secret', 'x-api-key': 'sent-secret' }
    const explanation = policies.explainRequest(
      target,
      request({ headers, path: '/?access_token=sent-secret' }),
    )
    expect(JSON.stringify(explanation)).not.toContain('secret')
    expect(formatWaypointExplanation(explanation)).toContain('wanted (not shown), found (not shown)')
  })
})
