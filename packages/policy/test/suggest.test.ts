/** Suggested policies: what was recorded passes, what differs in one field does not. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  createEvaluator,
  type PolicyRequest,
  readRecorded,
  suggestedTests,
  suggestPolicies,
  whatIf,
} from '@ambient/policy'
import { parse } from 'yaml'
import { templateOf } from '../src/suggest/cover.ts'

const http = (principal: string | undefined, method: string, path: string, port = 80): PolicyRequest => ({
  source: {
    ...(principal === undefined ? {} : { principal: `cluster.local/ns/${principal}` }),
    ip: '10.0.0.9',
  },
  destination: { namespace: 'shop', service: 'shop/web', port },
  http: { method, authority: 'web.shop', path },
})
const l4 = (principal: string | undefined, port: number, app = 'db'): PolicyRequest => ({
  source: {
    ...(principal === undefined ? {} : { principal: `cluster.local/ns/${principal}` }),
    ip: '10.0.0.9',
  },
  destination: { namespace: 'shop', workload: `${app}-1`, labels: { app, 'pod-template-hash': 'x' }, port },
})
const call = fc.oneof(
  fc
    .tuple(
      fc.constantFrom('ui/sa/a', 'ui/sa/b', 'ops/sa/c', undefined),
      fc.constantFrom('GET', 'PUT'),
      fc.constantFrom('/', '/items/1', '/items/2?q=1', '/a//b', '/%7euser'),
      fc.constantFrom(80, 443),
    )
    .map(([principal, method, path, port]) => http(principal, method, path, port)),
  fc
    .tuple(
      fc.constantFrom('ui/sa/a', 'ops/sa/c', undefined),
      fc.constantFrom(5432, 8080),
      fc.constantFrom('db', 'web'),
    )
    .map(([principal, port, app]) => l4(principal, port, app)),
)

describe('suggestPolicies', () => {
  it('lets in everything that was recorded, and no mutant of it', () => {
    fc.assert(
      fc.property(fc.array(call, { minLength: 1, maxLength: 20 }), requests => {
        const { policies, proof, recorded } = suggestPolicies(requests)
        expect(proof).toMatchObject({ recorded: recorded.length, notAllowed: [], allowedMutants: [] })
        expect(proof.mutants).toBeGreaterThan(0)
        expect(whatIf({ authorizationPolicies: policies }, requests)).toMatchObject({ denied: 0 })
      }),
      { numRuns: 60 },
    )
  })

  it('says no more than that: any call that was not recorded is denied', () => {
    fc.assert(
      fc.property(fc.array(call, { minLength: 3, maxLength: 12 }), call, (requests, other) => {
        const key = ({ source, destination, http: asked }: PolicyRequest): string =>
          JSON.stringify([
            source,
            destination.service ?? destination.labels,
            destination.port,
            asked?.method,
            asked?.path.replace(/\?.*/, ''),
          ])
        if (requests.some(request => key(request) === key(other))) return
        // Only where some policy is for the destination at all.
        if (
          !requests.some(
            ({ destination }) =>
              JSON.stringify(destination.service ?? destination.labels) ===
              JSON.stringify(other.destination.service ?? other.destination.labels),
          )
        )
          return
        const { policies } = suggestPolicies(requests)
        const dialect = other.http === undefined ? 'ztunnel' : 'envoy-http'
        expect(createEvaluator({ authorizationPolicies: policies }, { dialect }).decide(other).verdict).toBe(
          'deny',
        )
      }),
      { numRuns: 200 },
    )
  })

  it('joins callers, paths and methods where it says the same', () => {
    const { policies } = suggestPolicies([
      ...['/a', '/b'].flatMap(path =>
        ['GET', 'HEAD'].flatMap(method => [http('ui/sa/a', method, path), http('ui/sa/b', method, path)]),
      ),
      http('ops/sa/c', 'DELETE', '/a'),
    ])
    expect(policies).toMatchObject([
      {
        metadata: { name: 'recorded-web-l7', namespace: 'shop' },
        spec: {
          action: 'ALLOW',
          targetRefs: [{ kind: 'Service', name: 'web' }],
          rules: [
            {
              from: [{ source: { principals: ['cluster.local/ns/ui/sa/a', 'cluster.local/ns/ui/sa/b'] } }],
              to: [
                {
                  operation: {
                    ports: ['80'],
                    methods: ['GET', 'HEAD'],
                    hosts: ['web.shop'],
                    paths: ['/a', '/b'],
                  },
                },
              ],
            },
            {
              from: [{ source: { principals: ['cluster.local/ns/ops/sa/c'] } }],
              to: [{ operation: { methods: ['DELETE'], paths: ['/a'] } }],
            },
          ],
        },
      },
    ])
  })

  it('makes templates of identifiers only when asked', () => {
    const requests = [http('ui/sa/a', 'GET', '/orders/1234'), http('ui/sa/a', 'GET', '/orders/77/lines')]
    const paths = (options: object) =>
      suggestPolicies(requests, options).policies[0]?.spec.rules?.[0]?.to?.[0]?.operation.paths
    expect(paths({})).toEqual(['/orders/1234', '/orders/77/lines'])
    expect(paths({ pathTemplates: true })).toEqual(['/orders/{*}', '/orders/{*}/lines'])
    expect(templateOf('/users/3f0e4e0e-8c3b-4a61-9a51-2f9c3d5b7a10/x')).toBe('/users/{*}/x')
    expect(templateOf('/items/latest')).toBe('/items/latest')
    const { proof } = suggestPolicies(requests, { pathTemplates: true })
    expect(proof.allowedMutants.length / proof.mutants).toBeLessThan(0.05)
  })

  it('cannot say what the proxy refuses, and tells', () => {
    const refused = http('ui/sa/a', 'GET', '/a%00')
    const { proof } = suggestPolicies([http('ui/sa/a', 'GET', '/'), refused])
    expect(proof.notAllowed).toEqual([refused])
  })

  it('writes tests that hold', () => {
    const suggestion = suggestPolicies([http('ui/sa/a', 'GET', '/a'), l4(undefined, 5432)])
    const file = parse(suggestedTests(suggestion, { policies: ['policies.yaml'] })) as {
      policies: string[]
      tests: { expect: string }[]
    }
    expect(file.policies).toEqual(['policies.yaml'])
    expect(file.tests.filter(({ expect: wanted }) => wanted === 'allow')).toHaveLength(2)
    expect(file.tests.filter(({ expect: wanted }) => wanted === 'deny').length).toBeGreaterThan(4)
  })
})

describe('readRecorded', () => {
  it('takes requests, and what ztunnels let in', () => {
    const text = `${JSON.stringify(http('ui/sa/a', 'GET', '/'))}
{"request":${JSON.stringify(l4('ui/sa/a', 80))},"verdict":"allow"}
2026-01-01T00:00:00.000Z info access connection complete src.addr=10.0.0.1:4000 src.identity="spiffe://cluster.local/ns/ui/sa/a" dst.addr=10.0.0.2:15008 dst.hbone_addr=10.0.0.2:8080 dst.workload="web-1" dst.namespace="shop" direction="inbound" bytes_sent=1
2026-01-01T00:00:00.000Z info access connection complete src.addr=10.0.0.1:4000 dst.addr=10.0.0.2:8080 dst.namespace="shop" direction="outbound"
2026-01-01T00:00:00.000Z error access connection failed src.addr=10.0.0.1:4000 dst.addr=10.0.0.2:8080 dst.namespace="shop" direction="inbound" error="denied"
{"level":"info","src.addr":"[2001:db8::1]:4000","dst.addr":"[2001:db8::2]:8080","dst.namespace":"shop","direction":"inbound"}
`
    const { requests, passedOver } = readRecorded(text, 'calls.jsonl')
    expect(passedOver).toBe(2)
    expect(requests.slice(2)).toEqual([
      {
        source: { principal: 'cluster.local/ns/ui/sa/a', ip: '10.0.0.1' },
        destination: { namespace: 'shop', workload: 'web-1', ip: '10.0.0.2', port: 8080 },
      },
      { source: { ip: '2001:db8::1' }, destination: { namespace: 'shop', ip: '2001:db8::2', port: 8080 } },
    ])
    expect(() => readRecorded('{"destination":{}}', 'calls.jsonl')).toThrow('calls.jsonl:1')
    expect(() => readRecorded('{', 'calls.jsonl')).toThrow('calls.jsonl:1:2: not JSON: expected a name')
    expect(() => readRecorded('\uFEFF\n  {"destination": x}\r\n', 'calls.jsonl')).toThrow(
      'calls.jsonl:2:19: not JSON: expected a value, found "x"',
    )
  })
})

it('whatIf counts what an enforced run denies, by who denies it', () => {
  const { policies } = suggestPolicies([http('ui/sa/a', 'GET', '/a')])
  const trace = [
    http('ui/sa/a', 'GET', '/a'),
    http('ui/sa/b', 'GET', '/a'),
    http('ui/sa/b', 'GET', '/a'),
    l4('ui/sa/a', 1),
  ]
  const evaluators = {
    l7: createEvaluator({ authorizationPolicies: policies }, { dialect: 'envoy-http' }),
    l4: createEvaluator({ authorizationPolicies: policies }, { dialect: 'ztunnel' }),
  }
  const enforced = trace.filter(
    request =>
      (request.http === undefined ? evaluators.l4 : evaluators.l7).decide(request).verdict === 'deny',
  )
  const found = whatIf({ authorizationPolicies: policies }, trace)
  expect(found).toMatchObject({
    recorded: 4,
    allowed: 2,
    denied: enforced.length,
    blocked: [{ count: 2, action: 'ALLOW', example: trace[1] }],
  })
})
