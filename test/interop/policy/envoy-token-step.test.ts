/**
 * What Envoy's JWT filter leaves of a request for the policies behind it, and what our evaluator says of the same question.
 * Needs an Envoy binary: ENVOY=path/to/envoy.
 */
import { createEvaluator, type JwtRule, type PolicyRuleSpec } from '@ambient/policy'
import { describe, expect, it } from 'vitest'
import { noEnvoy } from '../hbone-envoy.ts'
import type { PolicySetCase } from './arbitraries.ts'
import { ask } from './ask.ts'
import { startPolicyEnvoy } from './envoy.ts'
import { HMAC_JWKS, hmacToken, jwtFilter } from './jwt.ts'
import { rbacLane } from './rbac.ts'

const CALLER = {
  uri: undefined,
  ip: '127.0.0.1',
  remoteIp: '10.0.0.1',
  destination: { ip: '10.96.0.1', port: 80 },
}
const TARGETS = { targetRefs: [{ group: '', kind: 'Service', name: 'web' }] }
const METADATA = { namespace: 'shop', labels: {}, annotations: {} }

type Headers = readonly (readonly [name: string, value: string])[]

const A = { iss: 'a', sub: 'alice', level: 7, admin: true, half: 1.5, groups: ['x', 'é'], deep: { er: 'é' } }
const Z = { iss: 'z', sub: 'zoe' }
const OUTPUTS: Partial<JwtRule> = {
  outputPayloadToHeader: 'X-Payload',
  outputClaimToHeaders: [
    { header: 'X-Sub', claim: 'sub' },
    { header: 'x-level', claim: 'level' },
    { header: 'x-admin', claim: 'admin' },
    { header: 'x-half', claim: 'half' },
    { header: 'x-groups', claim: 'groups' },
    { header: 'x-er', claim: 'deep.er' },
    { header: 'x-none', claim: 'none' },
  ],
}
const ruleOf = (issuer: string, more: Partial<JwtRule> = {}): JwtRule => ({
  issuer,
  jwks: HMAC_JWKS,
  ...more,
})
const bearer = (payload: Readonly<Record<string, unknown>>) =>
  ['authorization', `Bearer ${hmacToken(payload)}`] as const

interface Case {
  readonly name: string
  readonly rules: readonly JwtRule[]
  readonly headers: Headers
  readonly path?: string
  readonly method?: string
  readonly jwt?: Readonly<Record<string, unknown>>
  /** Headers that a DENY asks for, each in a listener of its own. */
  readonly asks: Readonly<Record<string, readonly string[]>>
}

const FORGED: Headers = ['x-sub', 'x-payload', 'x-none', 'x-level'].map(name => [name, 'forged'])
const OUTPUT_ASKS = {
  'x-sub': ['*', 'alice', 'forged'],
  'x-level': ['7', 'forged'],
  'x-admin': ['true'],
  'x-half': ['1.500000', '1.5'],
  'x-groups': [btoa(String.fromCharCode(...new TextEncoder().encode('["x","é"]')))],
  'x-er': ['é'],
  'x-none': ['*'],
  'x-payload': ['*', 'forged'],
}
const CASES: readonly Case[] = [
  { name: 'a token', rules: [ruleOf('a')], headers: [bearer(A)], jwt: A, asks: { authorization: ['*'] } },
  {
    name: 'a token that is forwarded',
    rules: [ruleOf('a', { forwardOriginalToken: true })],
    headers: [bearer(A)],
    jwt: A,
    asks: { authorization: ['*', 'Bearer *'] },
  },
  {
    name: 'a token of its own header',
    rules: [ruleOf('a', { fromHeaders: [{ name: 'X-T' }] })],
    headers: [
      ['x-t', hmacToken(A)],
      ['authorization', 'Basic x'],
    ],
    jwt: A,
    asks: { 'x-t': ['*'], authorization: ['*'] },
  },
  {
    name: 'a token of a cookie',
    rules: [ruleOf('a', { fromCookies: ['t'] })],
    headers: [['cookie', `t=${hmacToken(A)}; u=1`]],
    jwt: A,
    asks: { cookie: ['*', '*u=1', 't=*'] },
  },
  {
    name: 'a token of the query',
    rules: [ruleOf('a')],
    headers: [],
    path: `/a?access_token=${hmacToken(A)}&x=1`,
    jwt: A,
    asks: { ':path': ['/a?x=1', '/a?access_token*'] },
  },
  {
    name: 'outputs',
    rules: [ruleOf('a', OUTPUTS)],
    headers: [bearer(A), ...FORGED],
    jwt: A,
    asks: OUTPUT_ASKS,
  },
  { name: 'outputs without a token', rules: [ruleOf('a', OUTPUTS)], headers: FORGED, asks: OUTPUT_ASKS },
  {
    name: 'outputs in a preflight',
    rules: [ruleOf('a', OUTPUTS)],
    method: 'OPTIONS',
    headers: [bearer(A), ...FORGED, ['origin', 'https://a'], ['access-control-request-method', 'PUT']],
    jwt: A,
    asks: { ...OUTPUT_ASKS, authorization: ['*'] },
  },
  ...[A, Z, undefined].map(
    (jwt): Case => ({
      name: `outputs of two rules, and the token of ${jwt?.iss ?? 'nobody'}`,
      rules: [
        ruleOf('a', { outputClaimToHeaders: [{ header: 'x-a', claim: 'sub' }] }),
        ruleOf('z', { outputClaimToHeaders: [{ header: 'x-z', claim: 'sub' }] }),
      ],
      headers: [...(jwt === undefined ? [] : [bearer(jwt)]), ['x-a', 'forged'], ['x-z', 'forged']],
      ...(jwt === undefined ? {} : { jwt }),
      asks: { 'x-a': ['forged', 'alice', '*'], 'x-z': ['forged', 'zoe', '*'], authorization: ['*'] },
    }),
  ),
]

function deny(rule: PolicyRuleSpec): PolicySetCase['policies'] {
  const metadata = { name: 'p', ...METADATA }
  return [{ kind: 'AuthorizationPolicy', metadata, spec: { action: 'DENY', rules: [rule], ...TARGETS } }]
}

const questions = CASES.flatMap(one =>
  Object.entries(one.asks).flatMap(([header, values]) =>
    values.map(value => ({
      one,
      name: `${one.name}: ${header} is ${value}`,
      policies: deny({ when: [{ key: `request.headers[${header}]`, values: [value] }] }),
    })),
  ),
)

function ours({ one, policies }: (typeof questions)[number]): number {
  const { rules, headers, path = '/', method = 'GET', jwt } = one
  const evaluator = createEvaluator(
    {
      authorizationPolicies: policies,
      requestAuthentications: [
        {
          kind: 'RequestAuthentication',
          metadata: { name: 't', ...METADATA },
          spec: { jwtRules: rules, ...TARGETS },
        },
      ],
    },
    { dialect: 'envoy-http' },
  )
  const verdict = evaluator.decide({
    source: { ip: CALLER.ip, remoteIp: CALLER.remoteIp },
    destination: { namespace: 'shop', service: 'shop/web', ...CALLER.destination },
    http: { method, authority: 'web', path, headers: Object.fromEntries(headers) },
    ...(jwt === undefined ? {} : { jwt: { payload: jwt } }),
  })
  return verdict.status ?? 200
}

describe.skipIf(noEnvoy !== '')(`Envoy's JWT filter before its policies${noEnvoy}`, () => {
  it('leaves of a request what the evaluator says', { timeout: 60_000 }, async () => {
    const envoy = await startPolicyEnvoy(
      questions.map(({ one, policies }) => ({
        tcp: false,
        normalization: 'BASE',
        jwt: jwtFilter(one.rules),
        deny: rbacLane(policies, 'DENY', { tcp: false, trustDomains: ['cluster.local'] }),
      })),
    )
    const theirs: string[] = []
    try {
      for (const [index, { one, name }] of questions.entries()) {
        const { headers, path = '/', method = 'GET' } = one
        const lines = [`${method} ${path} HTTP/1.1`, 'host: web', ...headers.map(pair => pair.join(': '))]
        const answer = await ask(envoy.ports[index] ?? 0, {
          caller: CALLER,
          id: String(index),
          bytes: Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'),
          tcp: false,
        })
        theirs.push(`${name}: ${answer.toString('latin1').slice(9, 12)}`)
      }
    } finally {
      await envoy.stop()
    }
    expect(questions.map(question => `${question.name}: ${ours(question)}`)).toEqual(theirs)
  })
})
