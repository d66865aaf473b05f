/** Which route is taken: matches of both APIs, their order, and whose routes count. */
import { describe, expect, it } from 'vitest'
import { compile, decide, get, httpRoute, taken, virtualService } from './route-fixtures.ts'

const TO = 'route: [{ destination: { host: reviews } }]'

/** A VirtualService whose first route has this match, and is called `hit`. */
const matching = (match: string): ReturnType<typeof compile> =>
  compile({ documents: virtualService(`- { name: hit, match: [${match}], ${TO} }`) })

describe('a match of a VirtualService', () => {
  const cases: readonly [match: string, request: ReturnType<typeof get>, hit: boolean][] = [
    ['{ uri: { prefix: /abc } }', get('/abcd?x=1'), true],
    ['{ uri: { prefix: /abc } }', get('/ABC'), false],
    ['{ uri: { prefix: /abc }, ignoreUriCase: true }', get('/ABC'), true],
    ['{ uri: { exact: /abc } }', get('/abc?x=1'), true],
    ['{ uri: { exact: /abc } }', get('/abc/'), false],
    ['{ uri: { regex: "/a.c" } }', get('/abc?x'), true],
    ['{ uri: { regex: "/a.c" } }', get('/abcd'), false],
    ['{ method: { exact: GET } }', get('/'), true],
    ['{ method: { regex: "PUT|POST" } }', get('/'), false],
    ['{ authority: { exact: "reviews:80" } }', get('/', { authority: 'reviews' }), false],
    ['{ scheme: { exact: http } }', get('/'), true],
    ['{ headers: { end-user: { exact: jason } } }', get('/', { headers: [['End-User', 'jason']] }), true],
    ['{ headers: { end-user: { exact: jason } } }', get('/'), false],
    ['{ headers: { x: { regex: "*" } } }', get('/', { headers: [['x', '']] }), true],
    [
      '{ headers: { x: { exact: "a,b" } } }',
      get('/', {
        headers: [
          ['x', 'a'],
          ['x', 'b'],
        ],
      }),
      true,
    ],
    ['{ withoutHeaders: { x: { exact: a } } }', get('/'), true],
    ['{ withoutHeaders: { x: { exact: a } } }', get('/', { headers: [['x', 'a']] }), false],
    ['{ withoutHeaders: { x: { exact: "" } } }', get('/'), false],
    ['{ withoutHeaders: { x: {} } }', get('/'), true],
    ['{ withoutHeaders: { x: {} } }', get('/', { headers: [['x', '']] }), false],
    ['{ queryParams: { v: { exact: "2" } } }', get('/?v=2&v=3'), true],
    ['{ queryParams: { v: { exact: "3" } } }', get('/?v=2&v=3'), false],
    ['{ queryParams: { v: { regex: "\\\\d+" } } }', get('/?a&v=12'), true],
    ['{ port: 80 }', get('/'), true],
    ['{ sourceNamespace: shop }', get('/'), true],
  ]
  it.each(cases)('%s against %o: %s', (match, request, hit) => {
    expect(taken(matching(match), request)).toBe(hit ? 'hit' : 'not-found')
  })

  it('names its route as ROUTE.MATCH', () => {
    expect(taken(matching('{ name: m, uri: { prefix: / } }'), get('/'))).toBe('hit.m')
  })

  it('for another port, other gateways or labels of the caller is left out: the service itself is there', () => {
    for (const match of [
      '{ port: 81 }',
      '{ gateways: [ingress] }',
      '{ sourceLabels: { app: a } }',
      '{ sourceNamespace: far }',
    ])
      expect(taken(matching(match), get('/'))).toBe('default')
  })
})

describe('VirtualServices', () => {
  it('are taken one after the other by name, and the first match in order wins', () => {
    const documents =
      virtualService(`- { name: last, ${TO} }`, 'b') +
      virtualService(
        `
- { name: first, match: [{ uri: { prefix: /a } }], ${TO} }
- { name: second, match: [{ uri: { prefix: /ab } }, { uri: { exact: /c } }], ${TO} }`,
        'a',
        '*.shop.svc.cluster.local',
      )
    const table = compile({ documents })
    expect(taken(table, get('/ab'))).toBe('first')
    expect(taken(table, get('/c'))).toBe('second')
    expect(taken(table, get('/d'))).toBe('last')
  })

  it('of a third namespace do not count; those of the waypoint do', () => {
    const documents = virtualService(
      `- { name: far, ${TO} }`,
      'far',
      'reviews.shop.svc.cluster.local',
    ).replace('namespace: shop', 'namespace: far')
    expect(taken(compile({ documents }), get('/'))).toBe('default')
    expect(taken(compile({ documents, gatewayNamespace: 'far' }), get('/'))).toBe('far')
  })
})

describe('an HTTPRoute', () => {
  const rule = (name: string, match: string): string =>
    `- { name: ${name}, matches: [${match}], backendRefs: [{ name: reviews, port: 80 }] }\n`

  it('matches prefixes by whole elements', () => {
    const table = compile({ documents: httpRoute(rule('hit', '{ path: { value: /abc/ } }')) })
    const hits = ['/abc', '/abc/', '/abc/d', '/abcd', '/ab'].map(path => taken(table, get(path)))
    expect(hits).toEqual(['hit', 'hit', 'hit', 'not-found', 'not-found'])
  })

  it('is ordered: exact, longest prefix, method, headers, query, regular expressions last', () => {
    const header = 'headers: [{ name: X, value: "1" }]'
    const documents =
      httpRoute(
        rule('any', '{}') +
          rule('regex', '{ path: { type: RegularExpression, value: "/aaaa/.*" } }') +
          rule('short', '{ path: { value: /a } }') +
          rule('long', '{ path: { value: /a/b } }') +
          rule('query', '{ path: { value: /a/b }, queryParams: [{ name: q, value: "1" }] }') +
          rule('header', `{ path: { value: /a/b }, ${header} }`),
      ) +
      httpRoute(
        rule('method', '{ path: { value: /a/b }, method: GET }') +
          rule('exact', '{ path: { type: Exact, value: /a } }'),
        'second',
      )
    const order = compile({ documents }).http.map(({ name }) => name)
    expect(order).toEqual(['exact', 'method', 'header', 'query', 'long', 'short', 'any', 'regex'])
  })

  it('of the same precedence goes by age, then by name, then by the order of its rules', () => {
    const documents =
      httpRoute(rule('b0', '{}') + rule('b1', '{}'), 'b') +
      httpRoute(rule('a0', '{}'), 'a') +
      httpRoute(rule('old', '{}'), 'z', ', creationTimestamp: "1960-01-01T00:00:00Z"')
    const order = compile({ documents }).http.map(({ name }) => name)
    expect(order).toEqual(['old', 'a0', 'b0', 'b1'])
  })

  it('without a name is called by where it stands', () => {
    const documents = httpRoute('- backendRefs: [{ name: reviews, port: 80 }]')
    expect(taken(compile({ documents }), get('/'))).toBe('shop.reviews.0')
  })

  it('for another port of its service does not count', () => {
    const documents = httpRoute(rule('hit', '{}')).replace('name: reviews }]', 'name: reviews, port: 81 }]')
    expect(decide(compile({ documents }), get('/'))).toMatchObject({ route: { name: 'default' } })
  })
})
