/** Single facts of Envoy that our evaluator relies on, each seen on the real one. Needs an Envoy binary: ENVOY=path/to/envoy. */
import { createEvaluator, type PolicyRuleSpec } from '@ambient/policy'
import { afterEach, describe, expect, it } from 'vitest'
import { noEnvoy } from '../hbone-envoy.ts'
import type { PolicySetCase } from './arbitraries.ts'
import { ask } from './ask.ts'
import { type PolicyEnvoy, type PolicyListener, startPolicyEnvoy } from './envoy.ts'
import { rbacLane } from './rbac.ts'

const CALLER = {
  uri: undefined,
  ip: '127.0.0.1',
  remoteIp: '10.0.0.1',
  destination: { ip: '10.96.0.1', port: 80 },
}
const JOINED = [
  ...[
    'accept',
    'accept-encoding',
    'authorization',
    'cache-control',
    'content-encoding',
    'content-type',
    'origin',
  ],
  ...[
    'access-control-request-headers',
    'expect',
    'grpc-timeout',
    'if-match',
    'if-none-match',
    'pragma',
    'referer',
  ],
  ...['user-agent', 'via', 'x-envoy-original-path', 'x-forwarded-for', 'x-forwarded-host', 'x-request-id'],
]
const BY_VALUE = [
  ...[
    'accept-language',
    'b3',
    'baggage',
    'cookie',
    'date',
    'forwarded',
    'from',
    'proxy-authorization',
    'range',
  ],
  ...[
    'sec-websocket-protocol',
    'traceparent',
    'tracestate',
    'warning',
    'x-anything',
    'x-real-ip',
    'x-requested-with',
  ],
]

const envoys: PolicyEnvoy[] = []
afterEach(async () => {
  for (const envoy of envoys.splice(0)) await envoy.stop()
})

function allow(rule: PolicyRuleSpec): PolicySetCase['policies'] {
  const metadata = { name: 'p', namespace: 'shop', labels: {}, annotations: {} }
  const targetRefs = [{ group: '', kind: 'Service', name: 'web' }]
  return [{ kind: 'AuthorizationPolicy', metadata, spec: { action: 'ALLOW', rules: [rule], targetRefs } }]
}

/** Statuses of one request each, in order. */
async function statuses(
  listeners: readonly PolicyListener[],
  requests: readonly string[],
): Promise<readonly number[]> {
  const envoy = await startPolicyEnvoy(listeners)
  envoys.push(envoy)
  const found: number[] = []
  for (const [index, lines] of requests.entries()) {
    const bytes = Buffer.from(`GET / HTTP/1.1\r\nhost: web\r\n${lines}\r\n`, 'latin1')
    const answer = await ask(envoy.ports[index] ?? 0, {
      caller: CALLER,
      id: String(index),
      bytes,
      tcp: false,
    })
    found.push(Number(answer.toString('latin1').slice(9, 12)))
  }
  return found
}

function ours(
  policies: PolicySetCase['policies'],
  headers: Readonly<Record<string, readonly string[]>>,
): number {
  const evaluator = createEvaluator({ authorizationPolicies: policies }, { dialect: 'envoy-http' })
  const destination = { namespace: 'shop', service: 'shop/web', ...CALLER.destination }
  const http = { method: 'GET', authority: 'web', path: '/', headers }
  const verdict = evaluator.decide({
    source: { ip: CALLER.ip, remoteIp: CALLER.remoteIp },
    destination,
    http,
  })
  return verdict.status ?? 200
}

describe.skipIf(noEnvoy !== '')(`Envoy${noEnvoy}`, () => {
  it('joins the headers that it knows by name, and matches others value by value', async () => {
    const cases = [...JOINED, ...BY_VALUE].flatMap(name =>
      ['one,two', 'two'].map(value => ({
        name,
        value,
        policies: allow({ when: [{ key: `request.headers[${name}]`, values: [value] }] }),
      })),
    )
    const found = await statuses(
      cases.map(({ policies }) => ({
        tcp: false,
        normalization: 'BASE',
        allow: rbacLane(policies, 'ALLOW', { tcp: false, trustDomains: ['cluster.local'] }),
      })),
      cases.map(({ name }) => `${name}: one\r\n${name}: two\r\n`),
    )
    const expected = cases.map(({ name, value }) =>
      JOINED.includes(name) === (value === 'one,two') ? 200 : 403,
    )
    expect(found).toEqual(expected)
    expect(cases.map(({ name, policies }) => ours(policies, { [name]: ['one', 'two'] }))).toEqual(expected)
  })

  it('denies by a dry-run CUSTOM policy, whose rules istiod gives it to enforce', async () => {
    const always = { policies: { rule: { permissions: [{ any: true }], principals: [{ any: true }] } } }
    const rules = { action: 'DENY', ...always } as const
    expect(await statuses([{ tcp: false, normalization: 'BASE', custom: { rules } }], [''])).toEqual([403])
  })
})
