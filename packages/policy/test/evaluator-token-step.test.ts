/** Policies see a request as the JWT step leaves it: without the token, with its outputs, without forged ones. */
import {
  createEvaluator,
  createJwtAuthenticator,
  createWaypointPolicies,
  type EvaluatorDocuments,
  jwtRulesOf,
  parsePolicies,
  type PolicyVerdict,
} from '@ambient/policy'
import { describe, expect, it } from 'vitest'
import { ask, documents, FOR_WEB, policy, tokens, waypoint } from './evaluator-fixtures.ts'
import { allKeys, claims, encode, issuer, now, token } from './jwt-tokens.ts'

type Headers = Readonly<Record<string, string | readonly string[]>>

const jwt = { iss: 'iss', sub: 'alice', level: 7, groups: ['a', 'b'] }
const bearer = { Authorization: 'Bearer a.b.c' }
const believe = (more = '', name = 'shop/jwt'): string =>
  tokens(name, `${FOR_WEB}\njwtRules: [{issuer: iss${more}}]`)
const asks = (header: string, value = '*', action = 'DENY'): string => {
  const provider = action === 'CUSTOM' ? '\nprovider: {name: opa}' : ''
  return policy(
    'shop/p',
    `${FOR_WEB}\naction: ${action}${provider}\nrules: [{when: [{key: "request.headers[${header}]", values: ["${value}"]}]}]`,
  )
}

function verdictOf(
  all: EvaluatorDocuments,
  { headers = {}, path = '/', token = jwt, method = 'GET' }: Question = {},
): PolicyVerdict {
  const http = { method, path, headers }
  const request = ask(token === null ? { http } : { http, jwt: token })
  return createEvaluator(all, { dialect: 'envoy-http' }).decide(request, waypoint)
}

interface Question {
  readonly headers?: Headers
  readonly path?: string
  readonly token?: Readonly<Record<string, unknown>> | null
  readonly method?: string
}

/** Whether a rule about the header matches. */
function sees(header: string, rule: string, question: Question = {}, value = '*'): boolean | undefined {
  return verdictOf(documents(believe(rule), asks(header, value)), question).trace[0]?.rules[0]?.matched
}

describe('a token that counts', () => {
  it.each<readonly [string, string, string, Question, boolean]>([
    ['is taken out of its header', '', 'authorization', { headers: bearer }, false],
    [
      'stays where the rule forwards it',
      ', forwardOriginalToken: true',
      'Authorization',
      { headers: bearer },
      true,
    ],
    [
      'stays where the rule does not look',
      ', fromHeaders: [{name: X-T}]',
      'authorization',
      { headers: bearer },
      true,
    ],
    [
      'is taken out of the rule’s header',
      ', fromHeaders: [{name: X-T}]',
      'x-t',
      { headers: { 'x-t': 'a.b.c' } },
      false,
    ],
    ['leaves what is no token', '', 'authorization', { headers: { authorization: 'Basic x' } }, true],
    [
      'stays in a cookie, as Envoy has it',
      ', fromCookies: [t]',
      'cookie',
      { headers: { cookie: 't=a.b.c; u=1' } },
      true,
    ],
    ['of nobody is nothing', '', 'authorization', { headers: bearer, token: null }, true],
    ['of a stranger too', '', 'authorization', { headers: bearer, token: { iss: 'x' } }, true],
  ])('%s', (_, rule, header, question, seen) => {
    expect(sees(header, rule, question)).toBe(seen)
  })

  it('is taken out of the query', () => {
    const path = '/a?access_token=a.b.c&x=1'
    expect(sees(':path', '', { path }, '/a?x=1')).toBe(true)
    expect(sees(':path', '', { path, token: null }, path)).toBe(true)
  })
})

describe('outputs', () => {
  const OUT =
    ', outputPayloadToHeader: X-Payload, outputClaimToHeaders: [{header: X-User, claim: sub}, {header: x-level, claim: level}, {header: x-groups, claim: groups}, {header: x-none, claim: none}]'

  it.each([
    ['x-user', 'alice', true],
    ['X-User', 'mallory', false],
    ['x-level', '7', true],
    ['x-groups', btoa('["a","b"]'), true],
    ['x-none', '*', false],
    ['x-payload', encode(jwt), true],
  ])('%s is %s: %s', (header, value, seen) => {
    const headers = { ...bearer, 'X-USER': 'mallory', 'x-none': 'mallory' }
    expect(sees(header, OUT, { headers }, value)).toBe(seen)
  })

  it('that a client sends are removed without a token too', () => {
    const headers = { 'X-User': 'alice', 'x-payload': 'x' }
    for (const header of ['x-user', 'x-payload'])
      expect(sees(header, OUT, { headers, token: null })).toBe(false)
    expect(sees('x-user', '', { headers, token: null })).toBe(true)
  })

  it('are left out for claims that no token holds', () => {
    let deep: unknown = 'x'
    for (let depth = 0; depth < 100_000; depth++) deep = [deep]
    for (const odd of [1n, deep])
      expect(sees('x-user', OUT, { token: { ...jwt, odd } }, 'mallory')).toBe(false)
  })

  it('are removed for every rule, whichever took the token', () => {
    const out = (issuer: string): string =>
      tokens(
        `shop/${issuer}`,
        `${FOR_WEB}\njwtRules: [{issuer: ${issuer}, outputClaimToHeaders: [{header: x-${issuer}, claim: sub}]}]`,
      )
    const all = documents(out('a'), out('z'), asks('x-z', 'forged'))
    for (const iss of ['a', 'z'])
      expect(verdictOf(all, { headers: { 'x-z': 'forged' }, token: { iss } }).verdict).toBe('allow')
  })

  it('are removed in a CORS preflight, which keeps its token', () => {
    const headers = { ...bearer, Origin: 'https://a', 'Access-Control-Request-Method': 'PUT', 'x-user': 'x' }
    const question = { method: 'OPTIONS', headers }
    expect([sees('x-user', OUT, question), sees('authorization', OUT, question)]).toEqual([false, true])
  })
})

it('CUSTOM policies are asked before', () => {
  const verdict = verdictOf(documents(believe(), asks('authorization', '*', 'CUSTOM')), { headers: bearer })
  expect([verdict.action, verdict.policy, verdict.rule]).toEqual(['CUSTOM', 'shop/p', 0])
  expect(verdict.reason).not.toContain('a RequestAuthentication takes')
})

it('says so where a rule asks for what was changed', () => {
  const all = documents(believe(), asks('authorization', '*', 'ALLOW'))
  const verdict = verdictOf(all, { headers: bearer })
  expect(verdict.verdict).toBe('deny')
  expect(verdict.reason).toMatch(
    /a RequestAuthentication takes its token .* that concerns shop\/p rules\[0\]$/,
  )
  expect(verdict.trace[0]?.rules[0]?.failed?.alternatives[0]?.found).toBe('(absent)')
  expect(verdictOf(all, { headers: bearer, token: null }).reason).not.toContain('takes its token')
})

it('decides as our own waypoint does over the request that the real step leaves', async () => {
  const rule = `issuer: "${issuer}", outputPayloadToHeader: x-payload, outputClaimToHeaders: [{header: x-user, claim: sub}]`
  const text = [
    tokens('shop/jwt', `${FOR_WEB}\njwtRules: [{${rule}}]`),
    ...['authorization', 'x-user', 'x-payload', ':path'].map((header, index) =>
      asks(header, header === ':path' ? '*access_token*' : header === 'x-user' ? 'mallory' : '*').replace(
        'name: p,',
        `name: p${index},`,
      ),
    ),
  ].join('---\n')
  const all = parsePolicies(text, 'test.yaml')
  const rules = jwtRulesOf(all.requestAuthentications).map(one => ({ ...one, jwks: allKeys }))
  const authenticator = createJwtAuthenticator(rules, { now: () => now })
  const own = createWaypointPolicies(all.authorizationPolicies, {
    rootNamespace: 'istio-system',
    trustDomain: 'cluster.local',
  })
  const sent = token()
  for (const [headers, path] of [
    [{ authorization: `Bearer ${sent}` }, '/'],
    [{ 'x-user': 'mallory' }, `/?access_token=${sent}`],
    [{ authorization: `Bearer ${sent}`, 'x-user': 'mallory', 'x-payload': 'x' }, '/?a=1'],
  ] as const) {
    const found = new Map<string, readonly string[]>(
      Object.entries(headers).map(([name, value]) => [name, [value]]),
    )
    const head = {
      method: 'GET',
      scheme: 'http',
      authority: 'web',
      path,
      header: (name: string) => found.get(name) ?? [],
    }
    const outcome = await authenticator.authenticate(head)
    if (outcome.kind !== 'passed') throw new Error(outcome.body)
    for (const name of outcome.edits.removeHeaders) found.delete(name)
    for (const [name, value] of outcome.edits.setHeaders) found.set(name, [value])
    const target = {
      gateway: { namespace: 'shop', name: 'waypoint', className: 'istio-waypoint' },
      service: { namespace: 'shop', name: 'web', hostname: 'web.shop.svc.cluster.local' },
    }
    const request = ask({ http: { path, headers }, jwt: claims })
    const ours = own.decideRequest(target, {
      ...head,
      path: outcome.edits.path ?? path,
      connection: {
        id: '',
        direction: 'inbound',
        source: { address: '10.0.0.1', port: 0 },
        destination: { address: '10.0.0.2', port: 80, network: '' },
      },
      ...(outcome.jwt === undefined ? {} : { jwt: outcome.jwt }),
    })
    const verdict = createEvaluator(all, { dialect: 'envoy-http' }).decide(request, waypoint)
    expect([headers, verdict.verdict, verdict.policy, verdict.rule]).toEqual([
      headers,
      ours.allowed ? 'allow' : 'deny',
      ours.by?.policy ?? null,
      ours.by?.rule ?? null,
    ])
  }
})
