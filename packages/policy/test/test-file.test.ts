/** Tests of policies in files: how they are read, and what running them says. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  formatProblem,
  parsePolicies,
  type PolicyTestFile,
  readPolicyTests,
  runPolicyTests,
} from '../src/index.ts'
import { LAYER_FIELDS } from '../src/test-file/read-layer.ts'

const POLICIES = parsePolicies(
  `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: web, namespace: shop }
spec:
  targetRefs: [{ kind: Service, name: web }]
  rules:
    - from: [{ source: { serviceAccounts: [client] } }]
      to: [{ operation: { methods: [GET, HEAD], paths: ["/items/*"] } }]
    - from: [{ source: { serviceAccounts: [admin] } }]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: db, namespace: shop }
spec:
  selector: { matchLabels: { app: db } }
  action: DENY
  rules:
    - from: [{ source: { notPrincipals: ["cluster.local/ns/shop/sa/web"] } }]
`,
  'policies.yaml',
)

function read(text: string): PolicyTestFile {
  const { tests, problems } = readPolicyTests(text, 'shop.policy-test.yaml')
  expect(problems).toEqual([])
  if (tests === undefined) throw new Error('no tests')
  return tests
}

describe('reading', () => {
  it('takes short forms', () => {
    const { cases } = read(`
trustDomain: td.example
workloads:
  shop/db: { labels: { app: db }, ip: 10.0.0.9 }
tests:
  - { from: shop/web, to: "shop/db:5432", expect: allow }
  - { from: td/ns/a/sa/b, to: "web.shop:80", path: /x, expect: deny, by: "shop/web[rule 1]", status: 403 }
  - { from: plaintext, to: "web.shop.svc.cluster.local:80", sni: web.shop, expect: deny, by: none }
`)
    expect(cases.map(({ request, dialect, expected }) => ({ ...request, dialect, ...expected }))).toEqual([
      {
        source: { principal: 'td.example/ns/shop/sa/web' },
        destination: { namespace: 'shop', workload: 'db', labels: { app: 'db' }, ip: '10.0.0.9', port: 5432 },
        dialect: 'ztunnel',
        verdict: 'allow',
      },
      {
        source: { principal: 'td/ns/a/sa/b' },
        destination: { namespace: 'shop', service: 'shop/web', port: 80 },
        http: { method: 'GET', authority: 'web.shop', path: '/x' },
        dialect: 'envoy-http',
        verdict: 'deny',
        by: 'shop/web[rule 1]',
        status: 403,
      },
      {
        source: {},
        destination: { namespace: 'shop', service: 'shop/web', port: 80 },
        sni: 'web.shop',
        dialect: 'envoy-tcp',
        verdict: 'deny',
        by: 'none',
      },
    ])
  })

  it('takes long forms', () => {
    const [test] = read(`
tests:
  - name: all
    from: { principal: shop/web, ip: 10.0.0.1, remoteIp: 1.2.3.4 }
    to: { service: shop/web, labels: { app: web }, ip: 10.0.0.2, port: 80 }
    method: POST
    host: web
    headers: { x-a: "1", x-b: [a, b] }
    jwt: { iss: me, aud: [x], nested: { a: 1 } }
    dialect: envoy-http
    enforcer: gateway shop/public
    expect: deny
`).cases
    expect(test).toEqual({
      name: 'all',
      position: { file: 'shop.policy-test.yaml', line: 3, column: 5 },
      request: {
        source: { principal: 'cluster.local/ns/shop/sa/web', ip: '10.0.0.1', remoteIp: '1.2.3.4' },
        destination: {
          namespace: 'shop',
          service: 'shop/web',
          labels: { app: 'web' },
          ip: '10.0.0.2',
          port: 80,
        },
        http: { method: 'POST', authority: 'web', path: '/', headers: { 'x-a': '1', 'x-b': ['a', 'b'] } },
        jwt: { payload: { iss: 'me', aud: ['x'], nested: { a: 1 } } },
      },
      dialect: 'envoy-http',
      enforcer: { kind: 'gateway', namespace: 'shop', name: 'public' },
      expected: { verdict: 'deny' },
    })
  })

  it('makes a case of every combination, and of every row; what stands nearer wins', () => {
    const { cases } = read(`
defaults: { from: shop/client, to: "web.shop:80", expect: deny }
tests:
  - { name: lists, method: [GET, PUT], path: [/a, /b], expect: allow }
  - name: table
    method: POST
    cases:
      - { path: /a }
      - { name: an admin, from: shop/admin, path: /a, expect: allow }
  - { path: /c }
`)
    expect(
      cases.map(({ name, expected, position }) => `${position.line} ${name}: ${expected.verdict}`),
    ).toEqual([
      '4 lists: shop/client → web.shop:80 GET /a: allow',
      '4 lists: shop/client → web.shop:80 GET /b: allow',
      '4 lists: shop/client → web.shop:80 PUT /a: allow',
      '4 lists: shop/client → web.shop:80 PUT /b: allow',
      '8 table: shop/client → web.shop:80 POST /a: deny',
      '9 table: an admin: allow',
      '10 shop/client → web.shop:80 GET /c: deny',
    ])
  })

  it.each([
    ['', '1:1: error: expected tests, found nothing'],
    ['tests: []', '1:8: error: tests: expected at least one test, found none'],
    ['polices: [a]\ntests: []', '1:1: error: polices: unknown field, expected one of'],
    ['tests: [{ to: "a/b:1", expect: allow }]', '1:9: error: tests[0]: the field "from" is required'],
    ['tests: [{ from: a/b, to: "a/b:1" }]', '1:9: error: tests[0]: the field "expect" is required'],
    [
      'tests: [{ from: web, to: "a/b:1", expect: allow }]',
      '1:17: error: tests[0].from: expected NAMESPACE/ACCOUNT',
    ],
    [
      'tests: [{ from: a/b, to: a/b, expect: allow }]',
      '1:26: error: tests[0].to: expected NAMESPACE/WORKLOAD:PORT',
    ],
    ['tests: [{ from: a/b, to: "a/b:70000", expect: allow }]', 'found "a/b:70000"'],
    ['tests: [{ from: a/b, to: { port: 1 }, expect: allow }]', 'to: expected a namespace, or a service'],
    [
      'tests: [{ from: a/b, to: "a/b:1", expect: allowed }]',
      'expected one of allow, deny (did you mean allow?)',
    ],
    ['tests: [{ from: a/b, to: "a/b:1", expect: deny, by: web }]', 'by: expected NAMESPACE/NAME'],
    [
      'tests: [{ from: a/b, to: "a/b:1", expect: deny, enforcer: web }]',
      'enforcer: expected "waypoint NAMESPACE/NAME"',
    ],
    ['tests: [{ from: a/b, to: "a/b:1", expect: deny, cases: [] }]', 'expected at least one row'],
    ['tests: [{ from: a/b, to: "a/b:1", expect: deny, method: [] }]', 'expected at least one value'],
    [
      'workloads: { web: {} }\ntests: [{ from: a/b, to: "a/b:1", expect: deny }]',
      'expected NAMESPACE/WORKLOAD as key',
    ],
    ['tests: []\n---\ntests: []', 'expected one document'],
  ])('says where a mistake is: %s', (text, message) => {
    const { tests, problems } = readPolicyTests(text, 'a.policy-test.yaml')
    expect(tests).toBeUndefined()
    expect(problems.map(formatProblem).join('\n')).toContain(message)
  })

  it('has a bound for combinations', () => {
    const list = `[${Array.from({ length: 101 }, (_, index) => `/${index}`).join(', ')}]`
    const text = `tests: [{ from: a/b, to: "a.b:1", expect: deny, path: ${list}, host: ${list} }]`
    expect(readPolicyTests(text, 'a').problems.map(({ message }) => message)).toEqual([
      'tests: expected at most 10000 cases in a file, found 10201',
    ])
  })
})

it('never throws, whatever stands in a file, and runs whatever it has read', () => {
  const word = fc.constantFrom(
    'shop/web',
    'a/b:1',
    'web.shop:80',
    'allow',
    'deny',
    'plaintext',
    'default',
    '',
    '*',
  )
  const value = fc.oneof(word, fc.jsonValue({ maxDepth: 2 }), fc.array(word, { maxLength: 2 }))
  const field = fc.constantFrom(...LAYER_FIELDS, 'cases', 'other')
  const test = fc.dictionary(field, value, { maxKeys: 8 })
  const usable = test.map(fields => ({ from: 'a/b', to: 'web.shop:80', expect: 'deny', ...fields }))
  const whole = fc.record({
    name: fc.string(),
    from: fc.constantFrom('a/b', 'plaintext'),
    to: fc.constantFrom('web.shop:80', 'shop/web:8080'),
    expect: fc.constantFrom('allow', 'deny'),
  })
  const wholeFile = fc.record({
    tests: fc.array(whole, { minLength: 1, maxLength: 3 }),
    defaults: fc.constant(undefined),
    workloads: fc.constant(undefined),
  })
  const anyFile = fc.record({
    tests: fc.oneof(fc.array(fc.oneof(test, usable), { maxLength: 3 }), value),
    defaults: fc.option(test, { nil: undefined }),
    workloads: fc.option(value, { nil: undefined }),
  })
  let ran = 0
  fc.assert(
    fc.property(fc.oneof({ weight: 4, arbitrary: anyFile }, { weight: 1, arbitrary: wholeFile }), content => {
      const { tests, problems } = readPolicyTests(JSON.stringify(content), 'a.yaml')
      expect((tests === undefined) === problems.some(({ severity }) => severity === 'error')).toBe(true)
      if (tests !== undefined) ran += runPolicyTests(tests, POLICIES).results.length
    }),
    { numRuns: 500 },
  )
  expect(ran).toBeGreaterThan(0)
})

describe('running', () => {
  const results = (text: string) => runPolicyTests(read(text), POLICIES).results

  it('passes what is as expected', () => {
    const run = results(`
workloads: { shop/db: { labels: { app: db } } }
tests:
  - { from: shop/client, to: "web.shop:80", path: /items/1, expect: allow, by: "shop/web[rule 0]" }
  - { from: shop/client, to: "web.shop:80", path: /items/1, method: POST, expect: deny, by: none, status: 403 }
  - { from: shop/admin, to: "web.shop:80", path: /x, expect: allow, by: "ns[shop]-policy[web]-rule[1]" }
  - { from: shop/web, to: "shop/db:5432", expect: allow, by: default }
  - { from: plaintext, to: "shop/db:5432", expect: deny, by: shop/db }
  - { from: plaintext, to: "shop/db:5432", expect: deny, by: "shop/db rules[0]" }
`)
    expect(run.map(({ message }) => message)).toEqual(Array.from({ length: 6 }, () => undefined))
  })

  it('says of what is not: the request, what was expected, what was found, and why', () => {
    const [wrong] = results(`
tests:
  - { from: shop/client, to: "web.shop:80", path: /other, expect: allow, by: "shop/web[rule 0]" }
`)
    expect(wrong?.passed).toBe(false)
    expect(wrong?.message).toContain(`shop/client → web.shop:80 GET /other (envoy-http)
  expected: allow by shop/web[rule 0]
  found:    deny by none
`)
    expect(wrong?.message).toContain('/items/*')
  })

  it('fails for the wrong rule and for the wrong status too', () => {
    const run = results(`
tests:
  - { from: shop/admin, to: "web.shop:80", path: /x, expect: allow, by: "shop/web[rule 0]" }
  - { from: shop/web, to: "web.shop:80", path: /x, expect: deny, status: 401 }
`)
    expect(run.map(({ passed }) => passed)).toEqual([false, false])
    expect(run[1]?.message).toContain(
      'expected: deny with status 401\n  found:    deny by none with status 403',
    )
  })
})
