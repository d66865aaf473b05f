/** Paths (l7 §2.6), trust domains (§2.8), dry run (§2.9), the answer on the wire (§2.10), the order of rules (§2.1). */
import type { PathNormalization } from '@ambient/policy'
import { describe, expect, it } from 'vitest'
import { ask, decide, documents, policy, short, sidecar } from './evaluator-fixtures.ts'

const http = { dialect: 'envoy-http' } as const
const DRY_RUN = 'istio.io/dry-run: "true"'

describe('paths are normalized before anything looks at them', () => {
  const denyAdmin = documents(
    policy('shop/p', 'action: DENY\nrules:\n- to: [{operation: {paths: ["/admin*"]}}]'),
  )
  const verdictOf = (path: string, pathNormalization?: PathNormalization) =>
    decide(
      denyAdmin,
      { ...http, ...(pathNormalization && { pathNormalization }) },
      ask({ http: { path } }),
      sidecar,
    )

  it.each([
    ['/admin?x', undefined, 'deny'],
    ['/%61dmin', undefined, 'deny'],
    ['/x/../admin', undefined, 'deny'],
    ['/x/%2e%2e/admin', undefined, 'deny'],
    ['/x\\..\\admin', undefined, 'deny'],
    ['//admin', undefined, 'allow'],
    ['//admin', 'MERGE_SLASHES', 'deny'],
    ['/x%2f..%2fadmin', 'MERGE_SLASHES', 'allow'],
    ['/x%2f..%2fadmin', 'DECODE_AND_MERGE_SLASHES', 'deny'],
    ['/%61dmin', 'NONE', 'allow'],
    ['/ADMIN', undefined, 'allow'],
  ] as const)('%s with %s: %s', (path, mode, wanted) => expect(verdictOf(path, mode).verdict).toBe(wanted))

  it.each(['/admin#x', '/a%00', '/a\u0001', '/é', 'admin', ''])('%j is refused with 400', path => {
    const verdict = verdictOf(path)
    expect(verdict).toMatchObject({
      verdict: 'deny',
      action: 'default',
      policy: null,
      rule: null,
      status: 400,
      trace: [],
    })
    expect(verdict.reason).toContain('path_normalization_failed')
  })
})

describe('trust domains', () => {
  const bundle = { ...http, trustDomain: 'td1', trustDomainAliases: ['old'] }
  const of = (principal: string): string =>
    policy('shop/p', `rules:\n- from: [{source: {principals: ["${principal}"]}}]`)

  it.each([
    ['an alias means the own one', of('old/ns/client/sa/alice'), 'td1/ns/client/sa/alice', 'allow'],
    ['the own one means an alias', of('td1/ns/client/sa/alice'), 'old/ns/client/sa/alice', 'allow'],
    [
      'cluster.local means the own one',
      of('cluster.local/ns/client/sa/alice'),
      'td1/ns/client/sa/alice',
      'allow',
    ],
    ['another means itself', of('else/ns/client/sa/alice'), 'td1/ns/client/sa/alice', 'deny'],
    ['a star is not expanded', of('*/ns/client/sa/alice'), 'else/ns/client/sa/alice', 'allow'],
    ['fewer segments are not expanded', of('old/ns/client/*'), 'td1/ns/client/sa/alice', 'deny'],
  ] as const)('%s', (_, text, principal, wanted) => {
    expect(decide(documents(text), bundle, ask({ principal }), sidecar).verdict).toBe(wanted)
  })
})

describe('dry run', () => {
  const denyAll = policy('shop/deny', 'action: DENY\nrules: [{}]', DRY_RUN)
  const allowOther = policy('shop/other', 'rules:\n- from: [{source: {namespaces: [other]}}]', DRY_RUN)
  const allowClient = policy('shop/client', 'rules:\n- from: [{source: {namespaces: [client]}}]')

  it('reports and does not decide', () => {
    const verdict = decide(documents(denyAll, allowOther), http, ask(), sidecar)
    expect(short(verdict)).toBe('allow default - -')
    expect(verdict.dryRun).toEqual([
      { action: 'DENY', verdict: 'deny', policy: 'shop/deny', rule: 0 },
      { action: 'ALLOW', verdict: 'deny', policy: null, rule: null },
    ])
    expect(verdict.trace).toMatchObject([
      { policy: 'shop/deny', dryRun: true, applies: true, matched: true },
      { policy: 'shop/other', dryRun: true, applies: true, matched: false },
    ])
  })

  it('beside enforced policies', () => {
    expect(short(decide(documents(denyAll, allowClient), http, ask(), sidecar))).toBe(
      'allow ALLOW shop/client 0',
    )
  })

  it('of CUSTOM neither calls out nor denies', () => {
    const custom = policy('shop/custom', 'action: CUSTOM\nprovider: {name: opa}\nrules: [{}]', DRY_RUN)
    const verdict = decide(documents(custom), http, ask(), sidecar)
    expect(short(verdict)).toBe('allow default - -')
    expect(verdict.reason).toContain('the dry-run CUSTOM policy shop/custom matches and is only reported')
    expect(verdict.dryRun).toEqual([{ action: 'CUSTOM', verdict: 'deny', policy: 'shop/custom', rule: 0 }])
  })

  it.each(['1', 't', 'T', 'TRUE', 'True'])('%s is true', text => {
    const all = documents(policy('shop/p', '', `istio.io/dry-run: "${text}"`))
    expect(short(decide(all, http, ask(), sidecar))).toBe('allow default - -')
  })

  it('set to false is enforced', () => {
    const all = documents(policy('shop/p', '', 'istio.io/dry-run: "false"'))
    expect(short(decide(all, http, ask(), sidecar))).toBe('deny ALLOW - -')
  })
})

describe('the answer on the wire', () => {
  const none = documents(policy('shop/p', ''))
  const status = (headers: Readonly<Record<string, string>>): number | undefined =>
    decide(none, http, ask({ http: { headers } }), sidecar).status

  it('is 403', () => expect(status({})).toBe(403))
  it('is 200 with grpc-status 7 to gRPC', () => {
    expect(status({ 'Content-Type': 'application/grpc' })).toBe(200)
    expect(status({ 'content-type': 'application/grpc+proto' })).toBe(200)
    expect(status({ 'content-type': 'application/grpc-web' })).toBe(403)
  })
  it('is none when allowed', () => expect(decide(documents(), http, ask(), sidecar).status).toBeUndefined())
})

describe('rules are asked in the order of their names as text', () => {
  it('rule 10 before rule 2', () => {
    const port = (number: number): string => `- to: [{operation: {ports: ["${number}"]}}]`
    const rules = Array.from({ length: 11 }, (_, index) => port(index === 2 || index === 10 ? 80 : 81))
    expect(
      short(decide(documents(policy('shop/p', `rules:\n${rules.join('\n')}`)), http, ask(), sidecar)),
    ).toBe('allow ALLOW shop/p 10')
  })

  it('b-x before b', () => {
    const all = documents(policy('shop/b', 'rules: [{}]'), policy('shop/b-x', 'rules: [{}]'))
    expect(short(decide(all, http, ask(), sidecar))).toBe('allow ALLOW shop/b-x 0')
  })
})
