/** A waypoint's verdict: order of actions, attachment, names, dry run, the TCP dialect. */
import { describe, expect, it } from 'vitest'
import type { AuthorizationPolicySpec, WaypointTarget } from '@ambient/policy'
import { connection, document } from './fixtures.ts'
import { forWeb, overTcp, request, target, toWeb, waypoint } from './waypoint-fixtures.ts'

const get = { to: [{ operation: { methods: ['GET'] } }] }
const fromAlice = { from: [{ source: { principals: ['cluster.local/ns/client/sa/alice'] } }] }
const everything = [{}]

describe('order', () => {
  it('allows when no policy is attached', () => {
    expect(waypoint([]).decideRequest(target, request())).toEqual({
      allowed: true,
      reason: 'no allow policies, allow',
      detail: '',
      considered: [],
    })
  })

  it('names policy and rule of an ALLOW', () => {
    const policies = waypoint([forWeb({ rules: [{ to: [{ operation: { methods: ['PUT'] } }] }, get] })])
    expect(policies.decideRequest(target, request())).toEqual({
      allowed: true,
      reason: 'allowed by: shop/p',
      detail: '',
      by: { policy: 'shop/p', rule: 1 },
      considered: [],
    })
  })

  it('denies what no ALLOW matches, and says which were asked', () => {
    const policies = waypoint([forWeb({ rules: [get] }, { name: 'b' }), forWeb({}, { name: 'a' })])
    expect(policies.decideRequest(target, request({ method: 'DELETE' }))).toEqual({
      allowed: false,
      reason: 'allow policies exist, but none allowed',
      detail: 'rbac_access_denied_matched_policy[none]',
      considered: ['shop/a', 'shop/b'],
    })
  })

  it('lets DENY win over ALLOW', () => {
    const policies = waypoint([
      forWeb({ rules: everything }, { name: 'allow' }),
      forWeb({ action: 'DENY', rules: [fromAlice] }, { name: 'deny' }),
    ])
    expect(policies.decideRequest(target, request())).toEqual({
      allowed: false,
      reason: 'explicitly denied by: shop/deny',
      detail: 'rbac_access_denied_matched_policy[ns[shop]-policy[deny]-rule[0]]',
      by: { policy: 'shop/deny', rule: 0 },
      considered: [],
    })
  })

  it('closes on a CUSTOM rule that matches: nobody is there to ask', () => {
    const custom = forWeb({ action: 'CUSTOM', provider: { name: 'opa' }, rules: [get] })
    const policies = waypoint([
      custom,
      forWeb({ action: 'DENY', rules: everything }, { name: 'd' }),
      forWeb({ action: 'AUDIT', rules: everything }, { name: 'a' }),
    ])
    expect(policies.decideRequest(target, request())).toEqual({
      allowed: false,
      reason: 'CUSTOM policy shop/p asks the provider opa, which this proxy does not have: denied',
      detail:
        'rbac_access_denied_matched_policy[istio-ext-authz-opa-ns[shop]-policy[p]-rule[0]-deny-due-to-bad-CUSTOM-action]',
      by: { policy: 'shop/p', rule: 0 },
      considered: [],
    })
    expect(waypoint([custom]).decideRequest(target, request({ method: 'PUT' })).allowed).toBe(true)
  })

  it('marks what AUDIT policies match, and changes nothing', () => {
    const audit = forWeb({ action: 'AUDIT', rules: [get] }, { name: 'audit' })
    expect(waypoint([audit]).decideRequest(target, request())).toEqual({
      allowed: true,
      reason: 'no allow policies, allow',
      detail: '',
      considered: [],
      audited: ['shop/audit'],
    })
    const denied = waypoint([audit, forWeb({})]).decideRequest(target, request())
    expect(denied).toMatchObject({ allowed: false, audited: ['shop/audit'] })
    expect(waypoint([audit]).decideRequest(target, request({ method: 'PUT' })).audited).toBeUndefined()
  })

  it('asks rules in the order of their names', () => {
    const deny = (name: string, rules = 1) =>
      forWeb({ action: 'DENY', rules: Array.from({ length: rules }, () => ({})) }, { name })
    const first = waypoint([deny('b'), deny('b-x')]).decideRequest(target, request())
    expect(first.by?.policy).toBe('shop/b-x')
    const skipsTwo = forWeb({
      action: 'DENY',
      rules: Array.from({ length: 11 }, (_, index) => (index === 2 || index === 10 ? {} : { ...putOnly })),
    })
    expect(waypoint([skipsTwo]).decideRequest(target, request()).by?.rule).toBe(10)
  })
})

const putOnly = { to: [{ operation: { methods: ['PUT'] } }] }

describe('rules', () => {
  it.each<[string, AuthorizationPolicySpec, boolean]>([
    ['ALLOW without rules denies all', {}, false],
    ['ALLOW with an empty list of rules denies all', { rules: [] }, false],
    ['ALLOW with an empty rule allows all', { rules: everything }, true],
    ['DENY with an empty rule denies all', { action: 'DENY', rules: everything }, false],
    ['DENY without rules never matches', { action: 'DENY' }, true],
    ['CUSTOM without rules never matches', { action: 'CUSTOM', provider: { name: 'x' } }, true],
    ['from, to and when are and-ed', { rules: [{ ...fromAlice, ...putOnly }] }, false],
    [
      'sources are or-ed',
      { rules: [{ from: [{ source: { namespaces: ['x'] } }, ...fromAlice.from] }] },
      true,
    ],
    [
      'fields of one source are and-ed',
      { rules: [{ from: [{ source: { namespaces: ['client'], ipBlocks: ['10.9.0.0/16'] } }] }] },
      false,
    ],
    [
      'an unknown key takes its ALLOW rule away',
      { rules: [{ when: [{ key: 'no.such', values: ['x'] }] }] },
      false,
    ],
    [
      'an unknown key takes its DENY rule away',
      { action: 'DENY', rules: [{ when: [{ key: 'no.such', values: ['x'] }] }] },
      true,
    ],
  ])('%s', (_, spec, allowed) => {
    expect(waypoint([forWeb(spec)]).decideRequest(target, request()).allowed).toBe(allowed)
  })
})

describe('attachment', () => {
  const everywhere: WaypointTarget = { ...target, gateway: { ...target.gateway, namespace: 'infra' } }
  const gatewayRef = { group: 'gateway.networking.k8s.io', kind: 'Gateway', name: 'waypoint' }
  const classRef = { group: 'gateway.networking.k8s.io', kind: 'GatewayClass', name: 'istio-waypoint' }
  const ofEntry = {
    ...target,
    service: { namespace: 'shop', name: 'web', hostname: 'x.io', kind: 'ServiceEntry' },
  } as const
  it.each<[string, AuthorizationPolicySpec, string, WaypointTarget, boolean]>([
    ['Service of its namespace', { targetRefs: toWeb }, 'shop', target, true],
    [
      'Service, group core',
      { targetRefs: [{ ...toWeb[0], group: 'core' }] } as AuthorizationPolicySpec,
      'shop',
      target,
      true,
    ],
    ['Service of another namespace', { targetRefs: toWeb }, 'other', target, false],
    ['another Service', { targetRefs: [{ group: '', kind: 'Service', name: 'api' }] }, 'shop', target, false],
    [
      'one of several',
      { targetRefs: [{ group: '', kind: 'Service', name: 'api' }, ...toWeb] },
      'shop',
      target,
      true,
    ],
    [
      'its own namespace named',
      { targetRefs: [{ group: '', kind: 'Service', name: 'web', namespace: 'shop' }] },
      'shop',
      target,
      true,
    ],
    [
      'another namespace named',
      { targetRefs: [{ group: '', kind: 'Service', name: 'web', namespace: 'shop' }] },
      'other',
      target,
      false,
    ],
    ['a service at a waypoint elsewhere', { targetRefs: toWeb }, 'shop', everywhere, true],
    ['Gateway', { targetRefs: [gatewayRef] }, 'shop', target, true],
    ['Gateway, for a workload', { targetRefs: [gatewayRef] }, 'shop', { gateway: target.gateway }, true],
    ['Gateway of another namespace', { targetRefs: [gatewayRef] }, 'shop', everywhere, false],
    ['Gateway of another group', { targetRefs: [{ ...gatewayRef, group: '' }] }, 'shop', target, false],
    ['GatewayClass in the root namespace', { targetRefs: [classRef] }, 'istio-system', target, true],
    ['GatewayClass elsewhere', { targetRefs: [classRef] }, 'shop', target, false],
    ['another GatewayClass', { targetRefs: [{ ...classRef, name: 'mine' }] }, 'istio-system', target, false],
    [
      'a waypoint of another class',
      { targetRefs: [classRef] },
      'istio-system',
      { gateway: { ...target.gateway, className: 'mine' } },
      false,
    ],
    [
      'ServiceEntry',
      { targetRefs: [{ group: 'networking.istio.io', kind: 'ServiceEntry', name: 'web' }] },
      'shop',
      ofEntry,
      true,
    ],
    ['Service, for a ServiceEntry', { targetRefs: toWeb }, 'shop', ofEntry, false],
    ['selector', { selector: { matchLabels: { app: 'web' } } }, 'shop', target, false],
    ['namespace', {}, 'shop', target, false],
    ['root namespace', {}, 'istio-system', target, false],
  ])('%s', (_, spec, namespace, to, attached) => {
    const policies = waypoint([document(spec, { namespace })])
    expect(policies.decideRequest(to, request()).allowed).toBe(!attached)
    expect(policies.decideConnection(to, connection()).allowed).toBe(!attached)
    // Nothing of an earlier answer leaks into one for an equal target.
    expect(policies.decideRequest({ ...to }, request()).allowed).toBe(!attached)
  })
})

describe('dry run', () => {
  const dry = { annotations: { 'istio.io/dry-run': 'true' } }
  it('reports and does not obey', () => {
    const policies = waypoint([
      forWeb({ action: 'DENY', rules: [get] }, { ...dry, name: 'd' }),
      forWeb({ rules: [putOnly] }, { ...dry, name: 'a' }),
      forWeb({ action: 'CUSTOM', provider: { name: 'x' }, rules: [get] }, { ...dry, name: 'c' }),
    ])
    expect(policies.decideRequest(target, request())).toEqual({
      allowed: true,
      reason: 'no allow policies, allow',
      detail: '',
      considered: [],
      dryRun: [
        { action: 'CUSTOM', result: 'denied', by: { policy: 'shop/c', rule: 0 } },
        { action: 'DENY', result: 'denied', by: { policy: 'shop/d', rule: 0 } },
        { action: 'ALLOW', result: 'denied' },
      ],
    })
    expect(policies.decideRequest(target, request({ method: 'PUT' })).dryRun).toEqual([
      { action: 'DENY', result: 'allowed' },
      { action: 'ALLOW', result: 'allowed', by: { policy: 'shop/a', rule: 0 } },
    ])
  })
  it('leaves enforced policies as they are', () => {
    const policies = waypoint([
      forWeb({}, { name: 'a' }),
      forWeb({ rules: everything }, { ...dry, name: 'b' }),
    ])
    expect(policies.decideRequest(target, request())).toMatchObject({
      allowed: false,
      considered: ['shop/a'],
      dryRun: [{ action: 'ALLOW', result: 'allowed', by: { policy: 'shop/b', rule: 0 } }],
    })
  })
  it('is not what an annotation that does not parse asks for', () => {
    const odd = forWeb({}, { annotations: { 'istio.io/dry-run': 'yes' } })
    expect(waypoint([odd]).decideRequest(target, request()).allowed).toBe(false)
  })
})

describe('the TCP dialect', () => {
  const http = { to: [{ operation: { methods: ['GET'], ports: ['80'] } }] }
  it('drops an ALLOW rule that asks for HTTP; the policy remains', () => {
    expect(overTcp(http, 'ALLOW')).toMatchObject({ allowed: false, considered: ['shop/p'] })
    expect(overTcp({ to: [{ operation: { ports: ['80'] } }] }, 'ALLOW').allowed).toBe(true)
  })
  it('drops the HTTP fields of a DENY rule: it becomes wider', () => {
    expect(overTcp(http, 'DENY').allowed).toBe(false)
    expect(overTcp(http, 'DENY', connection({ port: 81 })).allowed).toBe(true)
    expect(overTcp(putOnly, 'DENY').allowed).toBe(false)
    expect(overTcp({ when: [{ key: 'request.headers[x]', values: ['y'] }] }, 'DENY').allowed).toBe(false)
    expect(overTcp({ ...putOnly, from: [{ source: { namespaces: ['x'] } }] }, 'DENY').allowed).toBe(true)
    expect(overTcp({ from: [{ source: { requestPrincipals: ['*'] } }] }, 'DENY').allowed).toBe(false)
  })
  it('keeps trust domains, remote addresses and SNI', () => {
    expect(overTcp({ from: [{ source: { trustDomains: ['cluster.local'] } }] }, 'ALLOW').allowed).toBe(true)
    expect(overTcp({ from: [{ source: { trustDomains: ['td2'] } }] }, 'ALLOW').allowed).toBe(false)
    expect(overTcp({ from: [{ source: { remoteIpBlocks: ['10.0.0.0/24'] } }] }, 'ALLOW').allowed).toBe(true)
    const sni = waypoint([forWeb({ rules: [{ when: [{ key: 'connection.sni', values: ['*.a.io'] }] }] })])
    expect(sni.decideConnection(target, connection(), { sni: 'x.a.io' }).allowed).toBe(true)
    expect(sni.decideConnection(target, connection()).allowed).toBe(false)
  })
})
