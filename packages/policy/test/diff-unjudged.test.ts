/** A diff says `same` only of what it compared: tokens and providers that differ are undecided. */
import { expect, it } from 'vitest'
import { createEvaluator, diffPolicies, parsePolicies, type PolicyDocuments } from '@ambient/policy'

const asks = (extra = ''): string => `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: users, namespace: shop }
spec:
  targetRefs: [{ kind: Service, group: "", name: web }]
  rules: [{ when: [{ key: "request.auth.claims[groups]", values: [staff] }] }]
${extra}`
const tokens = (rule: string): PolicyDocuments =>
  parsePolicies(
    asks(`---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: { name: tokens, namespace: shop }
spec:
  targetRefs: [{ kind: Service, group: "", name: web }]
  jwtRules: [{ issuer: a, ${rule} }]
`),
    'p.yaml',
  )
const custom = (provider: string): PolicyDocuments =>
  parsePolicies(
    `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: asked, namespace: shop }
spec: { action: CUSTOM, provider: { name: ${provider} }, rules: [{}] }
`,
    'p.yaml',
  )
const plain = 'jwksUri: "https://a/keys"'

it.each([
  ['the audiences', `${plain}, audiences: [web]`],
  ['the keys', 'jwksUri: "https://b/keys"'],
  ['where the token is', `${plain}, fromHeaders: [{ name: x-token }]`],
  ['claims that are split', `${plain}, spaceDelimitedClaims: [groups]`],
  ['what a policy sees of it', `${plain}, outputClaimToHeaders: [{ header: x-user, claim: sub }]`],
])('%s of a token rule', (_, rule) => {
  for (const [before, after] of [
    [plain, rule],
    [rule, plain],
  ] as const) {
    const diff = diffPolicies(tokens(before), tokens(after))
    expect(diff.result).toBe('undecided')
    expect(diff.undecided).toEqual([
      {
        dialect: 'envoy-http',
        enforcer: 'waypoint',
        reason: expect.stringMatching(/^RequestAuthentication shop\/tokens differs: /),
      },
    ])
  }
})

it('a rule about a header that tokens set is not searched for', () => {
  const users = (name: string): PolicyDocuments =>
    parsePolicies(
      `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: users, namespace: shop }
spec:
  targetRefs: [{ kind: Service, group: "", name: web }]
  rules: [{ when: [{ key: "request.headers[X-User]", values: [${name}] }] }]
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: { name: tokens, namespace: shop }
spec:
  targetRefs: [{ kind: Service, group: "", name: web }]
  jwtRules: [{ issuer: a, ${plain}, outputClaimToHeaders: [{ header: X-User, claim: sub }] }]
`,
      'p.yaml',
    )
  const diff = diffPolicies(users('alice'), users('bob'))
  expect([diff.result, diff.changes]).toEqual(['undecided', []])
  for (const { reason } of diff.undecided)
    expect(reason).toMatch(/^rules ask for x-user, which a RequestAuthentication takes out or sets: /)
  expect(diffPolicies(users('alice'), users('alice')).result).toBe('same')
})

it('a change of claims that are split changes verdicts', () => {
  const request = {
    source: {},
    destination: { namespace: 'shop', service: 'shop/web', port: 80 },
    http: { method: 'GET', authority: 'web', path: '/' },
    jwt: { payload: { iss: 'a', sub: 's', groups: 'users staff' } },
  }
  const verdictOf = (rule: string): string =>
    createEvaluator(tokens(rule), { dialect: 'envoy-http' }).decide(request).verdict
  expect([verdictOf(plain), verdictOf(`${plain}, spaceDelimitedClaims: [groups]`)]).toEqual(['deny', 'allow'])
})

it('a RequestAuthentication that no policy asks about comes or goes', () => {
  const without = { ...tokens(plain), authorizationPolicies: [] }
  const none = { authorizationPolicies: [] }
  expect(diffPolicies(without, none).undecided.map(({ reason }) => reason)).toEqual([
    expect.stringContaining('shop/tokens is gone'),
  ])
  expect(diffPolicies(none, without).undecided.map(({ reason }) => reason)).toEqual([
    expect.stringContaining('shop/tokens is new'),
  ])
  // Where its issuer tells requests apart, the comparison says so itself.
  expect(diffPolicies(tokens(plain), { ...tokens(plain), requestAuthentications: [] }).result).toBe('changed')
  expect(diffPolicies(without, none, { dialects: ['ztunnel', 'envoy-tcp'] }).result).toBe('same')
  expect(diffPolicies(tokens(plain), tokens(`${plain}, timeout: 1s`)).result).toBe('same')
})

it('another provider', () => {
  expect(diffPolicies(custom('a'), custom('a')).result).toBe('same')
  const diff = diffPolicies(custom('a'), custom('b'), { custom: 'allow' })
  expect(diff.result).toBe('undecided')
  expect(diff.undecided[0]?.reason).toContain('asks the provider b, no longer a')
})

it('a Service in place of a ServiceEntry of the same name', () => {
  const closed = (target: string): PolicyDocuments =>
    parsePolicies(
      `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: closed, namespace: shop }
spec: { targetRefs: [${target}] }
`,
      'p.yaml',
    )
  const service = closed('{ kind: Service, group: "", name: web }')
  const entry = closed('{ kind: ServiceEntry, group: networking.istio.io, name: web }')
  expect(diffPolicies(service, service).result).toBe('same')
  expect(diffPolicies(service, entry)).toMatchObject({
    result: 'undecided',
    undecided: [{ enforcer: 'waypoint', reason: expect.stringContaining('shop/web') }],
  })
})
