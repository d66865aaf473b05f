/** Tokens in rules: principals, audiences, presenter, claims (l7 §2.5), and whose tokens count. */
import { describe, expect, it } from 'vitest'
import { ask, decide, documents, FOR_WEB, policy, sidecar, tokens, waypoint } from './evaluator-fixtures.ts'

const http = { dialect: 'envoy-http' } as const
const BELIEVED = ['https://id.example/a', 'https://id.example', 'id.example', 'iss', 'other', 'x']
const believe = (...rules: readonly string[]): string =>
  tokens('shop/jwt', `${FOR_WEB}\njwtRules:\n${rules.map(rule => `- {${rule}}`).join('\n')}`)
const everyIssuer = believe(...BELIEVED.map(issuer => `issuer: "${issuer}"`))

const source = (text: string): string => `- from: [{source: {${text}}}]`
const when = (key: string, text: string): string => `- when: [{key: "request.auth.${key}", ${text}}]`
const principals = (value: string): string => source(`requestPrincipals: ["${value}"]`)
const subject = (iss: unknown, sub: unknown): Payload => ({ iss, sub })
const claims = (more: Payload): Payload => ({ iss: 'iss', sub: 'sub', ...more })

type Payload = Readonly<Record<string, unknown>>
type Row = readonly [string, Payload | undefined, boolean]

const principalRows: readonly Row[] = [
  [principals('iss/sub'), subject('iss', 'sub'), true],
  [principals('iss/sub'), subject('iss', 'su'), false],
  [principals('https://id.example/sub'), subject('https://id.example', 'sub'), true],
  [principals('https://id.example/a/sub'), subject('https://id.example/a', 'sub'), true],
  [principals('iss/a/b'), subject('iss', 'a/b'), false],
  [principals('*'), subject('iss', 'sub'), true],
  [principals('*'), subject('iss', ''), false],
  [principals('*'), { iss: 'iss' }, false],
  [principals('*'), undefined, false],
  [principals('*example/sub'), subject('id.example', 'sub'), true],
  [principals('*example/sub'), subject('id.example', 'sub2'), false],
  [principals('*/sub'), subject('iss', 'sub'), true],
  [principals('*ub'), subject('iss', 'sub'), true],
  [principals('*ss'), subject('iss', 'sub'), false],
  [principals('iss/*'), subject('iss', 'sub'), true],
  [principals('iss/*'), subject('other', 'sub'), false],
  [principals('iss/su*'), subject('iss', 'sub'), true],
  [principals('is/*'), subject('iss', 'sub'), false],
  [principals('is*'), subject('iss', 'sub'), true],
  [principals('iss'), subject('iss', 'sub'), false],
  [principals('iss'), subject('iss', ''), true],
  [principals('iss/1'), subject('iss', 1), false],
  [source('notRequestPrincipals: ["*"]'), undefined, true],
  [source('notRequestPrincipals: [iss/sub]'), subject('iss', 'sub'), false],
  [when('principal', 'values: [iss/sub]'), subject('iss', 'sub'), true],
  [when('principal', 'notValues: [iss/sub]'), undefined, true],
]

const claimRows: readonly Row[] = [
  [when('audiences', 'values: [a]'), claims({ aud: 'a' }), true],
  [when('audiences', 'values: [a]'), claims({ aud: ['b', 'a'] }), true],
  [when('audiences', 'values: [a]'), claims({ aud: ['b'] }), false],
  [when('audiences', 'notValues: [a]'), claims({ aud: ['b', 'a'] }), false],
  [when('presenter', 'values: [client]'), claims({ azp: 'client' }), true],
  [when('presenter', 'values: [client]'), claims({}), false],
  [when('claims[role]', 'values: [admin]'), claims({ role: 'admin' }), true],
  [when('claims[role]', 'values: ["ad*"]'), claims({ role: 'admin' }), true],
  [when('claims[role]', 'values: ["*min"]'), claims({ role: 'admin' }), true],
  [when('claims[role]', 'values: ["*"]'), claims({ role: '' }), false],
  [when('claims[role]', 'values: [a, admin]'), claims({ role: 'admin' }), true],
  [when('claims[role]', 'values: [admin]'), claims({ role: ['user', 'admin'] }), true],
  [when('claims[role]', 'values: [admin]'), claims({ role: [['admin']] }), false],
  [when('claims[level]', 'values: ["1"]'), claims({ level: 1 }), false],
  [when('claims[level]', 'values: ["true"]'), claims({ level: true }), false],
  [when('claims[level]', 'notValues: ["1"]'), claims({ level: 1 }), true],
  [when('claims[role]', 'notValues: [admin]'), undefined, true],
  [when('claims[role]', 'values: [admin]'), undefined, false],
  [when('claims[a][b]', 'values: [c]'), claims({ a: { b: 'c' } }), true],
  [when('claims[a][b]', 'values: [c]'), claims({ a: { b: ['x', 'c'] } }), true],
  [when('claims[a][b]', 'values: [c]'), claims({ a: 'b' }), false],
  [when('claims[toString]', 'values: ["*"]'), claims({}), false],
  [when('claims[scope]', 'values: [read]'), claims({ scope: 'read write' }), true],
  [when('claims[scope]', 'values: ["read write"]'), claims({ scope: 'read write' }), false],
  [when('claims[permission]', 'values: [write]'), claims({ permission: 'read  write' }), true],
  [when('claims[groups]', 'values: [b]'), claims({ groups: 'a b' }), false],
  [when('claims[groups]', 'values: ["a b"]'), claims({ groups: 'a b' }), true],
  [when('claims[a][scope]', 'values: [read]'), claims({ a: { scope: 'read write' } }), false],
]

describe.each([
  ['principals', principalRows],
  ['claims', claimRows],
] as const)('%s', (_, rows) => {
  it.each(rows)('%s %o: %s', (rule, payload, wanted) => {
    for (const action of ['ALLOW', 'DENY'] as const) {
      const all = documents(everyIssuer, policy('shop/p', `${FOR_WEB}\naction: ${action}\nrules:\n${rule}`))
      const request = ask(payload === undefined ? {} : { jwt: payload })
      const verdict = decide(all, http, request, waypoint)
      expect(verdict.trace[0]?.rules[0]?.matched).toBe(wanted)
      expect(verdict.verdict).toBe((action === 'ALLOW') === wanted ? 'allow' : 'deny')
    }
  })
})

describe('a token counts only if an attached RequestAuthentication has its issuer', () => {
  const needsToken = policy('shop/p', `${FOR_WEB}\nrules:\n${principals('*')}`)
  const request = ask({ jwt: { iss: 'iss', sub: 'sub' } })
  const IGNORED = 'the JWT does not count: no attached RequestAuthentication has its issuer "iss"'

  it.each([
    ['attached to the service', tokens('shop/j', `${FOR_WEB}\njwtRules: [{issuer: iss}]`), true],
    [
      'attached to the class',
      tokens(
        'istio-system/j',
        'targetRefs: [{kind: GatewayClass, name: istio-waypoint, group: gateway.networking.k8s.io}]\njwtRules: [{issuer: iss}]',
      ),
      true,
    ],
    ['of another issuer', tokens('shop/j', `${FOR_WEB}\njwtRules: [{issuer: other}]`), false],
    [
      'of another service',
      tokens('shop/j', 'targetRefs: [{kind: Service, name: api}]\njwtRules: [{issuer: iss}]'),
      false,
    ],
    ['without targetRefs', tokens('shop/j', 'jwtRules: [{issuer: iss}]'), false],
    [
      'with a selector',
      tokens('shop/j', 'selector: {matchLabels: {app: web}}\njwtRules: [{issuer: iss}]'),
      false,
    ],
    ['without rules', tokens('shop/j', FOR_WEB), false],
  ] as const)('%s: %#', (_, text, counts) => {
    const verdict = decide(documents(needsToken, text), http, request, waypoint)
    expect(verdict.verdict).toBe(counts ? 'allow' : 'deny')
    if (counts) expect(verdict.reason).not.toContain('JWT')
    else expect(verdict.reason).toContain(IGNORED)
  })

  it('is not looked at in a CORS preflight', () => {
    const all = documents(needsToken, tokens('shop/j', `${FOR_WEB}\njwtRules: [{issuer: iss}]`))
    const asked = (method: string, headers: Readonly<Record<string, string>>) =>
      decide(all, http, { ...request, http: { method, authority: 'web', path: '/', headers } }, waypoint)
    const preflight = { Origin: 'https://a', 'Access-Control-Request-Method': 'PUT' }
    expect(asked('OPTIONS', preflight).verdict).toBe('deny')
    expect(asked('OPTIONS', preflight).reason).toContain('no token of a CORS preflight')
    expect(asked('OPTIONS', { ...preflight, Origin: '' }).verdict).toBe('allow')
    expect(asked('GET', preflight).verdict).toBe('allow')
  })

  it('with claims that nobody could have sent throws nothing', () => {
    let deep: unknown = 'x'
    for (let depth = 0; depth < 100_000; depth++) deep = [deep]
    const all = documents(
      tokens('shop/j', `${FOR_WEB}\njwtRules: [{issuer: iss}]`),
      policy('shop/p', `${FOR_WEB}\nrules:\n${when('claims[a]', 'values: [x]')}`),
    )
    const verdict = decide(all, http, ask({ jwt: { iss: 'iss', a: deep } }), waypoint)
    // Whether JSON.stringify can is the platform's affair.
    const shown = /\(too deep to show\)$|\[{50,}…$/
    expect(verdict.trace[0]?.rules[0]?.failed?.alternatives[0]?.found).toMatch(shown)
    expect(decide(all, http, ask({ jwt: { iss: deep } }), waypoint).reason).toMatch(
      /issuer (\(too deep to show\)|\[{50,}…)/,
    )
    expect(decide(all, http, ask({ jwt: { iss: 1n, a: () => {} } }), waypoint).verdict).toBe('deny')
  })

  it('a sidecar looks at namespaces and selectors', () => {
    const open = policy('shop/p', `rules:\n${principals('*')}`)
    for (const [spec, counts] of [
      ['jwtRules: [{issuer: iss}]', true],
      ['selector: {matchLabels: {app: web}}\njwtRules: [{issuer: iss}]', true],
      ['selector: {matchLabels: {app: api}}\njwtRules: [{issuer: iss}]', false],
      [`${FOR_WEB}\njwtRules: [{issuer: iss}]`, false],
    ] as const) {
      const verdict = decide(documents(open, tokens('shop/j', spec)), http, request, sidecar)
      expect(verdict.verdict).toBe(counts ? 'allow' : 'deny')
    }
  })
})

describe('claims that the rule says are lists', () => {
  const groups = policy('shop/p', `${FOR_WEB}\nrules:\n${when('claims[groups]', 'values: [b]')}`)
  const request = ask({ jwt: { iss: 'iss', sub: 'sub', aud: 'web', groups: 'a b' } })

  it('are split', () => {
    const all = documents(groups, believe('issuer: iss, spaceDelimitedClaims: [groups]'))
    expect(decide(all, http, request, waypoint).verdict).toBe('allow')
  })

  it('are those of the rule whose audiences take the token', () => {
    const all = documents(
      groups,
      believe(
        'issuer: iss, audiences: [api]',
        'issuer: iss, audiences: [web], spaceDelimitedClaims: [groups]',
      ),
    )
    expect(decide(all, http, request, waypoint).verdict).toBe('allow')
  })
})

it('a trace shows what was compared', () => {
  const all = documents(
    everyIssuer,
    policy('shop/p', `${FOR_WEB}\nrules:\n${principals('a/b')}\n${when('claims[x]', 'values: [y]')}`),
  )
  const failed = (jwt?: Payload): unknown =>
    decide(all, http, ask(jwt === undefined ? {} : { jwt }), waypoint).trace[0]?.rules.map(
      rule => rule.failed?.alternatives[0]?.found,
    )
  expect(failed({ iss: 'iss', sub: 'sub', x: [1] })).toEqual(['iss/sub', '[1]'])
  expect(failed({ iss: 'iss' })).toEqual(['(no issuer and subject)', '(no such claim)'])
  expect(failed()).toEqual(['(no verified JWT)', '(no verified JWT)'])
})
