/** Requests and enforcers from JSON, and verdicts as text. */
import {
  createEvaluator,
  type Enforcer,
  formatVerdict,
  type PolicyDialect,
  PolicyError,
  type PolicyRequest,
  readEnforcer,
  readPolicyRequest,
} from '@ambient/policy'
import { describe, expect, it } from 'vitest'
import { ask, documents, FOR_WEB, ingress, policy, sidecar, waypoint } from './evaluator-fixtures.ts'

describe('a request from JSON', () => {
  const whole = {
    source: { principal: 'td/ns/n/sa/s', ip: '10.0.0.1', remoteIp: '2001:db8::1' },
    destination: {
      namespace: 'shop',
      workload: 'web-1',
      labels: { app: 'web' },
      service: 'shop/web',
      ip: '10.0.0.2',
      port: 80,
    },
    http: { method: 'GET', authority: 'web', path: '/', headers: { a: '1', b: ['1', '2'] } },
    jwt: { payload: { iss: 'i', groups: [1, null] } },
    sni: 'a.example',
  }

  it('may hold more, but nothing that looks like a field', () => {
    expect(readPolicyRequest({ ...whole, name: 'a test', expect: 'deny' }, 'r')).toEqual(whole)
    const { http, ...rest } = whole
    expect(() => readPolicyRequest({ ...rest, htpp: http }, 'r')).toThrow(
      'r: unknown field "htpp", did you mean http?',
    )
    // Null is an absent field, and the misspelt one is still what is meant.
    expect(() => readPolicyRequest({ ...rest, http: null, htpp: http }, 'r')).toThrow(
      'r: unknown field "htpp", did you mean http?',
    )
  })

  it('is read whole', () => expect(readPolicyRequest(whole, 'r')).toEqual(whole))

  it('needs a destination only', () => {
    const destination = { namespace: 'shop', port: 80 }
    expect(readPolicyRequest({ destination }, 'r')).toEqual({ source: {}, destination })
  })

  it('takes null for absent, and whatever else stands beside', () => {
    const { destination } = whole
    const written = {
      name: 'a case',
      source: { principal: null },
      destination,
      http: null,
      jwt: null,
      sni: null,
    }
    expect(readPolicyRequest(written, 'r')).toEqual({ source: {}, destination })
  })

  it('takes a principal with its scheme', () => {
    const read = readPolicyRequest({ ...whole, source: { principal: 'spiffe://td/ns/n/sa/s' } }, 'r')
    expect(read.source).toEqual({ principal: 'td/ns/n/sa/s' })
  })

  it('keeps names of prototypes as names', () => {
    const headers = JSON.parse('{"__proto__": "x", "constructor": "y"}')
    const read = readPolicyRequest({ ...whole, http: { headers } }, 'r')
    expect(Object.entries(read.http?.headers ?? {})).toEqual([
      ['__proto__', 'x'],
      ['constructor', 'y'],
    ])
  })

  it.each([
    [1, 'r: expected an object, found "1"'],
    [{}, 'r.destination: expected an object, found nothing'],
    [{ destination: [] }, 'r.destination: expected an object, found a list'],
    [{ destination: { port: 80 } }, 'r.destination.namespace: expected a string, found nothing'],
    [
      { destination: { namespace: 'a' } },
      'r.destination.port: expected a port from 0 to 65535, found nothing',
    ],
    [
      { destination: { namespace: 'a', port: '80' } },
      'r.destination.port: expected a port from 0 to 65535, found "80"',
    ],
    [{ destination: { namespace: 'a', port: 65_536 } }, 'r.destination.port: expected a port'],
    [
      { destination: { ...whole.destination, host: 'x' } },
      'r.destination: unknown field "host", expected namespace, workload,',
    ],
    [{ ...whole, source: { ip: '10.0.0' } }, 'r.source.ip: expected an IP address, found "10.0.0"'],
    [
      { ...whole, source: { principal: '' } },
      'r.source.principal: expected TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT',
    ],
    [{ ...whole, http: { headers: { a: 1 } } }, 'r.http.headers["a"]: expected a string, found "1"'],
    [{ ...whole, http: { headers: { a: ['1', 2] } } }, 'r.http.headers["a"][1]: expected a string'],
    [{ ...whole, jwt: {} }, 'r.jwt.payload: expected an object, found nothing'],
    [{ ...whole, sni: 1 }, 'r.sni: expected a string'],
  ])('%j: %s', (value, message) => {
    expect(() => readPolicyRequest(value, 'r')).toThrow(PolicyError)
    expect(() => readPolicyRequest(value, 'r')).toThrow(message)
    expect(() => readPolicyRequest(value, 'r')).toThrow(
      expect.objectContaining({ code: 'AMBIENT_E_POLICY_REQUEST' }),
    )
  })
})

describe('an enforcer from JSON', () => {
  it('is read', () => {
    const whole = {
      kind: 'gateway',
      namespace: 'edge',
      name: 'front',
      labels: { a: 'b' },
      service: 'shop/web',
    }
    expect(readEnforcer(whole, 'e')).toEqual(whole)
  })
  it.each([
    [{ kind: 'pod', namespace: 'a' }, 'e.kind: expected one of workload, waypoint, gateway, found "pod"'],
    [{ kind: 'waypoint' }, 'e.namespace: expected a string, found nothing'],
    [{ kind: 'waypoint', namespace: 'a', nam: 'b' }, 'e: unknown field "nam"'],
  ])('%j: %s', (value, message) => expect(() => readEnforcer(value, 'e')).toThrow(message))
})

describe('a verdict as text', () => {
  it('has what was asked, each policy, and the first thing that failed in each rule', () => {
    const all = documents(
      policy(
        'shop/readers',
        `${FOR_WEB}\nrules:\n- to: [{operation: {methods: [GET]}}, {operation: {notPaths: [/items]}}]\n- when: [{key: "request.headers[x-a]", notValues: [b]}]\n  from: [{source: {namespaces: [ui]}}]`,
      ),
      policy('shop/pods', ''),
      policy('shop/soon', `${FOR_WEB}\naction: DENY\nrules: [{}]`, 'istio.io/dry-run: "true"'),
    )
    const request = ask({
      principal: 'cluster.local/ns/ui/sa/app',
      to: { service: 'shop/web' },
      http: { method: 'DELETE', path: '/items', headers: { 'x-a': 'b' } },
    })
    const verdict = createEvaluator(all, { dialect: 'envoy-http' }).decide(request, waypoint)
    expect(formatVerdict(request, verdict)).toBe(
      `DENY 403: allow policies exist, but none allowed: shop/readers; shop/pods is not asked: without targetRefs it is enforced by the ztunnels of the workloads, not at a waypoint
DELETE web/items from cluster.local/ns/ui/sa/app (10.0.0.1) to shop/web-1:80, at waypoint shop/waypoint (envoy-http)
ALLOW shop/readers (Service shop/web) does not match
  rules[0] fails in to: methods: wanted GET, found DELETE
  rules[0] fails in to: notPaths: found /items, must not be /items
  rules[1] fails in when[0]: request.headers[x-a] notValues: found b, must not be b
dry-run DENY shop/soon (Service shop/web) matches
  rules[0] matches
ALLOW shop/pods does not apply: without targetRefs it is enforced by the ztunnels of the workloads, not at a waypoint
dry-run DENY: would deny, shop/soon rules[0] matches`,
    )
  })

  it('says what ztunnel never got', () => {
    const all = documents(
      policy(
        'shop/p',
        'action: DENY\nrules:\n- to: [{operation: {hosts: [a]}}]\n- to: [{operation: {ports: ["80"], paths: [/x]}}]',
      ),
    )
    const request = ask({ principal: null, http: null })
    const verdict = createEvaluator(all, { dialect: 'ztunnel' }).decide(request, sidecar)
    expect(formatVerdict(request, verdict)).toBe(
      `DENY: explicitly denied by: shop/p rules[1]; shop/p rules[1]: paths cannot be judged at L4: the DENY rule denies more there than it says
a connection from no identity (10.0.0.1) to shop/web-1:80, at the ztunnel of shop/web-1
DENY shop/p (namespace shop) matches
  rules[0] fails in to: (nothing left): ztunnel is sent nothing of it that it could compare, so it never matches
  rules[1] matches, without paths`,
    )
  })
})

describe('which proxy answers', () => {
  const toService = ask({ to: { service: 'web' } })
  const nameless: PolicyRequest = {
    source: {},
    destination: { namespace: 'shop', labels: { app: 'web' }, port: 80 },
  }
  const cases: readonly (readonly [PolicyDialect, PolicyRequest, Enforcer | undefined, string])[] = [
    ['ztunnel', ask(), undefined, 'at the ztunnel of shop/web-1'],
    ['ztunnel', nameless, undefined, 'at the ztunnel of a workload in shop with app=web'],
    ['ztunnel', ask(), waypoint, 'at the ztunnel of waypoint shop/waypoint'],
    ['envoy-tcp', ask(), undefined, 'at the sidecar of shop/web-1 (envoy-tcp)'],
    ['envoy-http', nameless, sidecar, 'at the sidecar of a workload in shop with app=web (envoy-tcp)'],
    ['envoy-http', toService, undefined, 'at waypoint shop/waypoint (envoy-http)'],
    ['envoy-http', ask({ http: { path: '/%00' } }), waypoint, 'at waypoint shop/waypoint (envoy-http)'],
    ['envoy-http', ask(), ingress, 'at gateway edge/front (envoy-http)'],
    ['envoy-http', ask(), { kind: 'gateway', namespace: 'edge' }, 'at a gateway in edge (envoy-http)'],
    ['envoy-http', ask(), { ...sidecar, labels: {} }, 'at the sidecar of shop/web-1 (envoy-http)'],
  ]
  it.each(cases)('%s %j %j: %s', (dialect, request, given, text) => {
    const evaluator = createEvaluator(
      documents(policy('shop/p', 'selector: {matchLabels: {app: web}}\nrules: [{}]')),
      { dialect },
    )
    const verdict = evaluator.decide(request, given)
    expect(formatVerdict(request, verdict).split('\n')[1]).toContain(`, ${text}`)
    const again = readEnforcer(JSON.parse(JSON.stringify(verdict.enforcer)), 'enforcer')
    expect(evaluator.decide(request, again)).toEqual(verdict)
  })
})
