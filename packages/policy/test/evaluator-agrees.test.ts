/** Verdict, trace, and what our own engines decide: one thing, over 10 000 random cases. */
import { parseSpiffeId } from '@ambient/core'
import {
  type AuthorizationPolicy,
  createEvaluator,
  createWaypointPolicies,
  type Enforcer,
  formatVerdict,
  type HttpRequestFacts,
  type PolicyRequest,
  type PolicyTrace,
  type PolicyVerdict,
} from '@ambient/policy'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { call, options, place, policies } from './waypoint-arbitraries.ts'

const CASES = 10_000
/** Three dialects share them. */
const PER_DIALECT = Math.ceil(CASES / 3)
const LABELS = { app: 'web' }

/** Some without targetRefs, with a selector or for whole namespaces. */
const anyPolicies = fc
  .tuple(policies, fc.array(fc.constantFrom('keep', 'drop', 'web', 'api'), { minLength: 6, maxLength: 6 }))
  .map(([list, how]) => list.map((policy, index) => detached(policy, how[index] ?? 'keep')))

function detached(policy: AuthorizationPolicy, how: string): AuthorizationPolicy {
  if (how === 'keep') return policy
  const { targetRefs: _, ...spec } = policy.spec
  const selector = how === 'drop' ? {} : { selector: { matchLabels: { app: how } } }
  return { ...policy, spec: { ...spec, ...selector } }
}

const enforcers = fc.constantFrom<Enforcer | undefined>(
  undefined,
  { kind: 'workload', namespace: 'shop', labels: LABELS },
  { kind: 'waypoint', namespace: 'shop', name: 'waypoint', service: 'shop/web' },
  { kind: 'gateway', namespace: 'shop', name: 'waypoint', labels: LABELS },
)
const issuers = (['https://i', 'j'] as const).map(issuer => ({ issuer }))
const tokens = {
  kind: 'RequestAuthentication' as const,
  metadata: { name: 't', namespace: 'shop', labels: {}, annotations: {} },
  spec: {
    targetRefs: [
      { group: '', kind: 'Service', name: 'web' },
      { group: '', kind: 'Service', name: 'api' },
      { group: 'gateway.networking.k8s.io', kind: 'Gateway', name: 'waypoint' },
    ],
    jwtRules: issuers,
  },
}

function questionOf(facts: HttpRequestFacts, http: boolean): PolicyRequest {
  const { source, destination } = facts.connection
  const headers = { 'x-h': facts.header('x-h') }
  const { method, authority, path, jwt, remoteAddress } = facts
  return {
    source: {
      ip: source.address,
      ...(source.identity === undefined ? {} : { principal: source.identity.uri.slice('spiffe://'.length) }),
      ...(remoteAddress === undefined ? {} : { remoteIp: remoteAddress }),
    },
    destination: { namespace: 'shop', labels: LABELS, ip: destination.address, port: destination.port },
    ...(http ? { http: { method, authority, path, headers } } : {}),
    ...(jwt === undefined ? {} : { jwt: { payload: jwt.payload } }),
  }
}

interface Match {
  readonly policy: string
  readonly rule: number
}

/** Matching rules of enforced policies with one action, in the order in which Envoy asks them. */
function matchesOf(trace: readonly PolicyTrace[], action: PolicyTrace['action']): readonly Match[] {
  const id = ({ policy, rule }: Match): string => `ns[${policy.replace('/', ']-policy[')}]-rule[${rule}]`
  return trace
    .filter(policy => policy.applies && !policy.dryRun && policy.action === action)
    .flatMap(({ policy, rules }) =>
      rules.filter(({ matched }) => matched).map(({ rule }) => ({ policy, rule })),
    )
    .sort((a, b) => (id(a) < id(b) ? -1 : 1))
}

/** What the trace says by itself. */
function concluded(
  trace: readonly PolicyTrace[],
): Pick<PolicyVerdict, 'verdict' | 'action'> & { readonly by: readonly Match[] } {
  const custom = matchesOf(trace, 'CUSTOM')
  if (custom.length > 0) return { verdict: 'deny', action: 'CUSTOM', by: custom }
  const deny = matchesOf(trace, 'DENY')
  if (deny.length > 0) return { verdict: 'deny', action: 'DENY', by: deny }
  const allow = matchesOf(trace, 'ALLOW')
  if (allow.length > 0) return { verdict: 'allow', action: 'ALLOW', by: allow }
  const allows = trace.filter(({ applies, dryRun, action }) => applies && !dryRun && action === 'ALLOW')
  return allows.length === 0
    ? { verdict: 'allow', action: 'default', by: [] }
    : { verdict: 'deny', action: 'ALLOW', by: [] }
}

function expectWhole(request: PolicyRequest, verdict: PolicyVerdict): void {
  expect(JSON.parse(JSON.stringify(verdict))).toEqual(verdict)
  expect(formatVerdict(request, verdict)).toMatch(verdict.verdict === 'allow' ? /^ALLOW: / : /^DENY/)
  for (const { applies, matched, rules } of verdict.trace) {
    if (!applies) expect({ matched, rules }).toEqual({ matched: false, rules: [] })
    for (const { matched: holds, skipped, failed } of rules)
      expect(holds).toBe(skipped === undefined && failed === undefined)
    expect(matched).toBe(rules.some(({ matched: holds }) => holds))
  }
}

describe('the trace and the verdict agree', () => {
  it.each(['envoy-http', 'envoy-tcp', 'ztunnel'] as const)(
    'in the dialect %s',
    dialect => {
      fc.assert(
        fc.property(anyPolicies, call, enforcers, fc.boolean(), (list, facts, enforcer, http) => {
          const documents = { authorizationPolicies: list, requestAuthentications: [tokens] }
          const request = questionOf(facts, http)
          const verdict = createEvaluator(documents, { ...options, dialect }).decide(request, enforcer)
          if (verdict.status === 400) return
          expectWhole(request, verdict)
          const { by, ...wanted } = concluded(verdict.trace)
          expect(verdict).toMatchObject(wanted)
          const found = verdict.policy === null ? [] : [{ policy: verdict.policy, rule: verdict.rule }]
          // ztunnel asks policies in another order, and the first one that it finds decides.
          if (dialect === 'ztunnel') expect(by).toEqual(expect.arrayContaining(found))
          else expect(found).toEqual(by.slice(0, 1))
        }),
        { numRuns: PER_DIALECT },
      )
    },
    60_000,
  )
})

it('a waypoint of ours decides what the evaluator says', () => {
  fc.assert(
    fc.property(policies, call, place, fc.boolean(), (list, facts, target, http) => {
      if (target.gateway.className !== 'istio-waypoint' || facts.header('x-h').length > 1) return
      const documents = { authorizationPolicies: list, requestAuthentications: [tokens] }
      const evaluator = createEvaluator(documents, {
        ...options,
        dialect: http ? 'envoy-http' : 'envoy-tcp',
        pathNormalization: 'NONE',
      })
      const { namespace, name } = target.gateway
      const service = target.service && `${target.service.namespace}/${target.service.name}`
      const enforcer = { kind: 'waypoint', namespace, name, ...(service && { service }) } as const
      const verdict = evaluator.decide(questionOf(facts, http), enforcer)
      const own = createWaypointPolicies(list, options)
      const connection = facts.remoteAddress === undefined ? facts.connection : undefined
      if (!http && connection === undefined) return
      const decision = http
        ? own.decideRequest(target, facts)
        : own.decideConnection(target, facts.connection)
      expect(verdict.verdict).toBe(decision.allowed ? 'allow' : 'deny')
      expect(verdict.policy).toBe(decision.by?.policy ?? null)
      expect(verdict.rule).toBe(decision.by?.rule ?? null)
    }),
    { numRuns: CASES },
  )
}, 60_000)

describe('no question makes it throw', () => {
  const odd = fc.oneof(fc.string(), fc.constantFrom('', '/', '*', '::1', 'spiffe://', '\u0000', '%'))
  const anything = fc.record({
    source: fc.record({ principal: odd, ip: odd, remoteIp: odd }, { requiredKeys: [] }),
    destination: fc.record(
      {
        namespace: odd,
        workload: odd,
        labels: fc.dictionary(odd, odd),
        service: odd,
        ip: odd,
        port: fc.integer(),
      },
      { requiredKeys: ['namespace', 'port'] },
    ),
    http: fc.record(
      { method: odd, authority: odd, path: odd, headers: fc.dictionary(odd, fc.oneof(odd, fc.array(odd))) },
      { requiredKeys: ['method', 'authority', 'path'] },
    ),
    jwt: fc.record({ payload: fc.dictionary(odd, fc.jsonValue()) }),
    sni: odd,
  })

  it.each(['envoy-http', 'envoy-tcp', 'ztunnel'] as const)('in the dialect %s', dialect => {
    fc.assert(
      fc.property(anyPolicies, anything, enforcers, (list, request, enforcer) => {
        const documents = { authorizationPolicies: list, requestAuthentications: [tokens] }
        const verdict = createEvaluator(documents, { ...options, dialect }).decide(request, enforcer)
        expect(['allow', 'deny']).toContain(verdict.verdict)
      }),
      { numRuns: 500 },
    )
  })

  it('identities that nobody could prove are compared as text', () => {
    expect(() => parseSpiffeId('spiffe://TD/ns/a/sa/b')).toThrow()
    const rules = [{ from: [{ source: { principals: ['TD/ns/a/sa/b'] } }] }]
    const policy: AuthorizationPolicy = {
      kind: 'AuthorizationPolicy',
      metadata: { name: 'p', namespace: 'shop', labels: {}, annotations: {} },
      spec: { rules },
    }
    for (const dialect of ['envoy-tcp', 'ztunnel'] as const) {
      const request = { source: { principal: 'TD/ns/a/sa/b' }, destination: { namespace: 'shop', port: 1 } }
      const verdict = createEvaluator({ authorizationPolicies: [policy] }, { dialect }).decide(request)
      expect(verdict.verdict).toBe('allow')
    }
  })
})
