/** Weights, faults, mirrors, redirects, header edits and what is missing: one request, one decision. */
import { describe, expect, it } from 'vitest'
import { HeaderFields } from '../src/http/header-fields.ts'
import { decideTcpRoute, type RouteDecision } from '../src/route/decide.ts'
import { applyHeaderEdits } from '../src/route/header-edits.ts'
import { compile, decide, get, httpRoute, seeded, virtualService } from './route-fixtures.ts'

const SUBSETS = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: reviews, namespace: shop }
spec:
  host: reviews
  subsets:
  - { name: v1, labels: { version: v1 } }
  - { name: v2, labels: { version: v2 } }
---`

function forwarded(decision: RouteDecision): Extract<RouteDecision, { kind: 'forward' }> {
  if (decision.kind !== 'forward') throw new Error(`expected forward, found ${JSON.stringify(decision)}`)
  return decision
}

/** How many of the draws go to v2. */
function toV2(documents: string, draws: number): number {
  const table = compile({ documents })
  const random = seeded(7)
  let count = 0
  for (let draw = 0; draw < draws; draw++) {
    const decision = decide(table, get('/'), random)
    if (decision.kind === 'forward' && decision.cluster.subset === 'v2') count++
  }
  return count
}

describe('weights', () => {
  const weighted = (v1: number, v2: number): string =>
    SUBSETS +
    virtualService(`
- route:
  - { destination: { host: reviews, subset: v1 }, weight: ${v1} }
  - { destination: { host: reviews, subset: v2 }, weight: ${v2} }`)

  it('90/10 come out within three standard deviations', () => {
    const draws = 10_000
    expect(Math.abs(toV2(weighted(90, 10), draws) - draws * 0.1)).toBeLessThan(3 * Math.sqrt(draws * 0.09))
  })

  it('need not add up to 100', () => {
    const draws = 10_000
    expect(Math.abs(toV2(weighted(1, 1), draws) - draws / 2)).toBeLessThan(3 * Math.sqrt(draws * 0.25))
  })

  it('of 0 get nothing', () => expect(toV2(weighted(1, 0), 1_000)).toBe(0))

  it('do not count for a destination that is alone', () => {
    const documents =
      SUBSETS + virtualService('- route: [{ destination: { host: reviews, subset: v2 }, weight: 0 }]')
    expect(toV2(documents, 10)).toBe(10)
  })
})

describe('faults', () => {
  const withFault = (fault: string): string =>
    virtualService(`
- fault: ${fault}
  route: [{ destination: { host: reviews } }]`)
  const faults = (documents: string, draws: number): number => {
    const table = compile({ documents })
    const random = seeded(11)
    let count = 0
    for (let draw = 0; draw < draws; draw++) {
      const decision = decide(table, get('/'), random)
      if (decision.kind !== 'not-found' && decision.fault !== undefined) count++
    }
    return count
  }

  it('0.1 % of 100,000 requests are about 100', () => {
    const count = faults(withFault('{ abort: { httpStatus: 503, percentage: { value: 0.1 } } }'), 100_000)
    expect(Math.abs(count - 100)).toBeLessThan(3 * Math.sqrt(100))
  })

  it('without a percentage hit nobody', () => {
    expect(faults(withFault('{ abort: { httpStatus: 503 } }'), 1_000)).toBe(0)
  })

  it('may delay and abort', () => {
    const documents = withFault(
      '{ delay: { fixedDelay: 2s, percentage: { value: 100 } }, abort: { httpStatus: 418, percentage: { value: 100 } } }',
    )
    expect(decide(compile({ documents }), get('/'))).toMatchObject({
      kind: 'forward',
      fault: { delayMs: 2_000, abort: { status: 418, grpcStatus: undefined } },
    })
  })
})

describe('mirrors', () => {
  it('get every request when no percentage is written', () => {
    const documents = virtualService(`
- mirror: { host: ratings, port: { number: 81 } }
  route: [{ destination: { host: reviews } }]`)
    expect(forwarded(decide(compile({ documents }), get('/'))).mirrors).toMatchObject([
      { cluster: { hostname: 'ratings.shop.svc.cluster.local', port: 81 } },
    ])
  })

  it('of 0 % get none', () => {
    const documents = virtualService(`
- mirrors: [{ destination: { host: ratings }, percentage: { value: 0 } }]
  route: [{ destination: { host: reviews } }]`)
    expect(forwarded(decide(compile({ documents }), get('/'))).mirrors).toEqual([])
  })
})

describe('what is not there', () => {
  it('a subset without its rule is 503 NC, and the reason names both', () => {
    const documents = virtualService('- route: [{ destination: { host: reviews, subset: v9 } }]')
    expect(decide(compile({ documents }), get('/'))).toMatchObject({
      kind: 'missing',
      status: 503,
      flag: 'NC',
      reason:
        'VirtualService shop/reviews sends to subset "v9" of reviews.shop.svc.cluster.local, which no DestinationRule defines',
    })
  })

  it('a service is 503 NC for a VirtualService and 500 for an HTTPRoute', () => {
    const istio = virtualService('- route: [{ destination: { host: nobody } }]')
    const gateway = httpRoute('- backendRefs: [{ name: nobody, port: 80 }]')
    expect(decide(compile({ documents: istio }), get('/'))).toMatchObject({ status: 503, flag: 'NC' })
    expect(decide(compile({ documents: gateway }), get('/'))).toMatchObject({ status: 500, flag: '-' })
  })

  it('an HTTPRoute with nothing but weights of 0, or without backends, is 500', () => {
    const documents = httpRoute('- backendRefs: [{ name: reviews, port: 80 }]')
    const tables = [
      compile({
        documents,
        changed: rule => ({ ...rule, backendRefs: rule.backendRefs.map(ref => ({ ...ref, weight: 0 })) }),
      }),
      compile({ documents, changed: rule => ({ ...rule, backendRefs: [] }) }),
    ]
    for (const table of tables)
      expect(decide(table, get('/'))).toMatchObject({ kind: 'missing', status: 500, flag: '-' })
  })

  it('a missing backend of an HTTPRoute keeps its share', () => {
    const documents = httpRoute(`
- backendRefs: [{ name: reviews, port: 80 }, { name: nobody, port: 80 }]`)
    const table = compile({ documents })
    expect(decide(table, get('/'), () => 0.4).kind).toBe('forward')
    expect(decide(table, get('/'), () => 0.6)).toMatchObject({ kind: 'missing', status: 500 })
  })
})

describe('header edits', () => {
  it('of a destination that is alone come after its route, removals first, and host becomes the authority', () => {
    const documents = virtualService(`
- headers: { request: { set: { x-a: route, x-b: route }, remove: [x-gone] }, response: { add: { x-r: "1" } } }
  route:
  - destination: { host: reviews }
    headers: { request: { set: { x-a: destination, host: elsewhere }, add: { x-b: destination } } }`)
    const request = get('/', {
      headers: [
        ['x-gone', '1'],
        ['x-kept', '1'],
      ],
    })
    const decision = forwarded(decide(compile({ documents }), request))
    expect([...decision.request.headers]).toEqual([
      ['x-kept', '1'],
      ['x-b', 'route'],
      ['x-a', 'destination'],
      ['x-b', 'destination'],
    ])
    expect(decision.request.authority).toBe('elsewhere')
    expect(request.headers.has('x-gone')).toBe(true)
    const response = new HeaderFields([['x-r', '0']])
    for (const edits of decision.responseHeaders) applyHeaderEdits(response, edits)
    expect(response.all('x-r')).toEqual(['0', '1'])
  })

  it('of one among several destinations come before those of the route', () => {
    const documents =
      SUBSETS +
      virtualService(`
- headers: { request: { set: { x-a: route } } }
  route:
  - { destination: { host: reviews, subset: v1 }, weight: 1, headers: { request: { set: { x-a: destination } } } }
  - { destination: { host: reviews, subset: v2 }, weight: 1 }`)
    expect(forwarded(decide(compile({ documents }), get('/'))).request.headers.get('x-a')).toBe('route')
  })
})

describe('redirects', () => {
  const cases: readonly [
    what: string,
    documents: string,
    authority: string,
    status: number,
    location: string,
  ][] = [
    [
      'VirtualService: 301, the query stays',
      virtualService('- redirect: { uri: /new }'),
      'a:8080',
      301,
      'http://a:8080/new?q=1',
    ],
    [
      'VirtualService: https drops the port of http',
      virtualService('- redirect: { scheme: https }'),
      'a:80',
      301,
      'https://a/old?q=1',
    ],
    [
      'VirtualService: another authority takes no port along',
      virtualService('- redirect: { authority: b, redirectCode: 308 }'),
      'a:8080',
      308,
      'http://b/old?q=1',
    ],
    [
      'VirtualService: a query of its own',
      virtualService('- redirect: { uri: "/new?x=2" }'),
      'a',
      301,
      'http://a/new?x=2',
    ],
    [
      'Gateway API: 302 to the port of the service, 80 left out',
      httpRoute('- filters: [{ type: RequestRedirect, requestRedirect: { hostname: b } }]'),
      'a:8080',
      302,
      'http://b/old?q=1',
    ],
    [
      'Gateway API: the port of a scheme',
      httpRoute('- filters: [{ type: RequestRedirect, requestRedirect: { scheme: https } }]'),
      'a:8080',
      302,
      'https://a/old?q=1',
    ],
    [
      'Gateway API: a port of its own',
      httpRoute('- filters: [{ type: RequestRedirect, requestRedirect: { port: 8443, scheme: https } }]'),
      'a',
      302,
      'https://a:8443/old?q=1',
    ],
    [
      'Gateway API: 443 of https is left out',
      httpRoute('- filters: [{ type: RequestRedirect, requestRedirect: { port: 443, scheme: https } }]'),
      '[::1]:80',
      302,
      'https://[::1]/old?q=1',
    ],
  ]
  it.each(cases)('%s', (_, documents, authority, status, location) => {
    const decision = decide(compile({ documents }), get('/old?q=1', { authority }))
    expect(decision).toMatchObject({ kind: 'redirect', status, location })
  })
})

describe('other answers', () => {
  it('a direct response', () => {
    const documents = virtualService('- directResponse: { status: 418, body: { string: tea } }')
    expect(decide(compile({ documents }), get('/'))).toMatchObject({
      kind: 'respond',
      status: 418,
      body: 'tea',
    })
  })

  it('routes of which none matches are 404; no routes at all are the service itself', () => {
    const documents = virtualService(
      '- { match: [{ uri: { exact: /a } }], route: [{ destination: { host: reviews } }] }',
    )
    expect(decide(compile({ documents }), get('/b'))).toEqual({ kind: 'not-found' })
    const implicit = forwarded(decide(compile({ documents: '' }), get('/b')))
    expect(implicit.route.name).toBe('default')
    expect(implicit.cluster).toEqual({
      namespace: 'shop',
      hostname: 'reviews.shop.svc.cluster.local',
      port: 80,
      subset: undefined,
    })
  })

  it('a connection takes the first TCP route of its port, else the service', () => {
    const documents = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: reviews, namespace: shop }
spec:
  hosts: [reviews]
  tcp:
  - { match: [{ port: 81 }], route: [{ destination: { host: ratings, port: { number: 81 } } }] }
`
    const at = (port: number): unknown => decideTcpRoute(compile({ documents, port }), () => 0)
    expect(at(81)).toMatchObject({ cluster: { hostname: 'ratings.shop.svc.cluster.local' } })
    expect(at(80)).toMatchObject({ cluster: { hostname: 'reviews.shop.svc.cluster.local' } })
  })
})
