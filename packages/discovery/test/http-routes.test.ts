/** HTTPRoutes and Gateways that are in order, as data: numbers, units and defaults. */
import { describe, expect, it } from 'vitest'
import type { HttpRouteRule } from '../src/index.ts'
import { gatewayText } from './support/derive.ts'
import { BACKEND, filters, httpRoute, resourcesInMesh } from './support/traffic.ts'

/** The only rule of an HTTPRoute. */
function readRule(text: string): HttpRouteRule | undefined {
  return resourcesInMesh(httpRoute(text)).httpRoutes[0]?.spec.rules[0]
}

/** The filters of the only rule. */
function readFilters(text: string): HttpRouteRule['filters'] | undefined {
  return resourcesInMesh(filters(text)).httpRoutes[0]?.spec.rules[0]?.filters
}

const source = expect.objectContaining({ file: 'a.yaml', line: 7 })
const nothing = { set: [], add: [], remove: [] }

describe('an HTTPRoute', () => {
  it('has defaults for all that is not written', () => {
    expect(resourcesInMesh(httpRoute(BACKEND)).httpRoutes[0]?.spec).toEqual({
      parentRefs: [{ group: '', kind: 'Service', name: 'web', namespace: 'shop' }],
      hostnames: [],
      rules: [
        {
          source: { file: 'a.yaml', line: 7, column: 7 },
          matches: [{ path: { type: 'PathPrefix', value: '/' }, headers: [], queryParams: [] }],
          filters: [],
          backendRefs: [
            {
              source,
              group: '',
              kind: 'Service',
              name: 'api',
              namespace: 'shop',
              port: 80,
              weight: 1,
              requestHeaders: nothing,
              responseHeaders: nothing,
            },
          ],
        },
      ],
    })
  })

  it('of version v1beta1, with a port of its parent', () => {
    const text = httpRoute(BACKEND, '{ group: core, kind: Service, name: web, port: 80 }')
    const { httpRoutes } = resourcesInMesh(text.replace('k8s.io/v1', 'k8s.io/v1beta1'))
    expect(httpRoutes[0]?.spec.parentRefs).toEqual([
      { group: '', kind: 'Service', name: 'web', namespace: 'shop', port: 80 },
    ])
  })

  it('matches by path, method, headers and query', () => {
    const text = `[{ path: { type: Exact, value: /a }, method: GET, headers: [{ name: X-A, value: b }],
          queryParams: [{ type: RegularExpression, name: Q, value: 'c.*' }] }]`
    expect(readRule(`{ matches: ${text}, ${BACKEND} }`)?.matches).toEqual([
      {
        path: { type: 'Exact', value: '/a' },
        method: 'GET',
        headers: [{ type: 'Exact', name: 'x-a', value: 'b' }],
        queryParams: [{ type: 'RegularExpression', name: 'Q', value: 'c.*' }],
      },
    ])
  })

  it.each([
    ['10s', 10_000],
    ['500ms', 500],
    ['1m30s', 90_000],
    ['1h', 3_600_000],
    ['0s', 0],
  ])('takes %s as %i ms', (text, ms) => {
    expect(readRule(`{ timeouts: { request: ${text} }, ${BACKEND} }`)?.requestTimeoutMs).toBe(ms)
  })

  it('has a timeout of one attempt, and retries', () => {
    const text = `{ timeouts: { request: 0s, backendRequest: 1s }, retry: { codes: [500, 503], attempts: 3, backoff: 100ms }, ${BACKEND} }`
    expect(readRule(text)).toMatchObject({
      requestTimeoutMs: 0,
      backendRequestTimeoutMs: 1_000,
      retry: { codes: [500, 503], attempts: 3, backoffMs: 100 },
    })
    expect(readRule(`{ retry: {}, ${BACKEND} }`)?.retry).toEqual({ codes: [] })
  })

  it('has weights and header edits of each backend', () => {
    const edits =
      'filters: [{ type: RequestHeaderModifier, requestHeaderModifier: { set: [{ name: X-A, value: b }], remove: [X-C] } }]'
    const text = `backendRefs: [{ name: api, port: 80, weight: 9, ${edits} }, { name: web, port: 80, weight: 0 }]`
    expect(readRule(text)?.backendRefs).toMatchObject([
      {
        name: 'api',
        weight: 9,
        requestHeaders: { set: [['x-a', 'b']], add: [], remove: ['x-c'] },
        responseHeaders: nothing,
      },
      { name: 'web', weight: 0 },
    ])
  })
})

describe('filters of an HTTPRoute', () => {
  it('redirect with 302 unless another code is written', () => {
    const redirect = (text: string) =>
      readRule(`filters: [{ type: RequestRedirect, requestRedirect: ${text} }]`)?.filters
    expect(redirect('{ port: 81 }')).toEqual([{ type: 'RequestRedirect', port: 81, statusCode: 302 }])
    const path = '{ type: ReplaceFullPath, replaceFullPath: /x }'
    expect(redirect(`{ scheme: https, hostname: a.b, path: ${path}, statusCode: 307 }`)).toEqual([
      {
        type: 'RequestRedirect',
        scheme: 'https',
        hostname: 'a.b',
        path: { type: 'ReplaceFullPath', value: '/x' },
        statusCode: 307,
      },
    ])
  })

  it('mirror everything, a percentage or a fraction', () => {
    const share = (text: string) => {
      const [mirror] =
        readFilters(
          `{ type: RequestMirror, requestMirror: { backendRef: { name: web, port: 80 }${text} } }`,
        ) ?? []
      return mirror?.type === 'RequestMirror' ? mirror.percent : undefined
    }
    expect(share('')).toBe(100)
    expect(share(', percent: 5')).toBe(5)
    expect(share(', fraction: { numerator: 1, denominator: 1000 }')).toBe(0.1)
    expect(share(', fraction: { numerator: 7 }')).toBeCloseTo(7)
  })

  it('rewrite, edit and answer for CORS', () => {
    const text = `{ type: URLRewrite, urlRewrite: { hostname: a.b, path: { type: ReplacePrefixMatch, replacePrefixMatch: "" } } },
          { type: ResponseHeaderModifier, responseHeaderModifier: { add: [{ name: X, value: y }] } },
          { type: CORS, cors: { allowOrigins: ["*", "https://*.a.b", "https://c.d"] } }`
    expect(readFilters(text)).toEqual([
      { type: 'URLRewrite', hostname: 'a.b', path: { type: 'ReplacePrefixMatch', value: '' } },
      { type: 'ResponseHeaderModifier', set: [], add: [['x', 'y']], remove: [] },
      {
        type: 'CORS',
        cors: {
          allowOrigins: [
            { kind: 'regex', value: '.*' },
            { kind: 'regex', value: 'https://.+\\.a\\.b' },
            { kind: 'exact', value: 'https://c.d' },
          ],
          allowMethods: [],
          allowHeaders: [],
          exposeHeaders: [],
          maxAgeMs: 5_000,
          unmatchedPreflights: 'IGNORE',
        },
      },
    ])
  })
})

describe('a Gateway', () => {
  const specOf = (text: string) =>
    resourcesInMesh(text).gateways.find(({ metadata }) => metadata.name === 'w')?.spec

  it('is for services of its own namespace, under an account of its name', () => {
    expect(specOf(gatewayText('w'))).toEqual({
      className: 'istio-waypoint',
      listeners: [{ name: 'mesh', port: 15_008, protocol: 'HBONE', allowedNamespaces: { from: 'Same' } }],
      waypointFor: 'service',
      serviceAccount: 'w',
    })
  })

  it('is for what its label says, and for namespaces that it chooses', () => {
    const allowedRoutes = '{ namespaces: { from: Selector, selector: { matchLabels: { team: a } } } }'
    const spec = specOf(gatewayText('w', { labels: 'istio.io/waypoint-for: all', allowedRoutes }))
    expect(spec?.waypointFor).toBe('all')
    expect(spec?.listeners[0]?.allowedNamespaces).toEqual({
      from: 'Selector',
      selector: { matchLabels: { team: 'a' }, matchExpressions: [] },
    })
  })
})
