/** Routes that are in order, as data: numbers, units and defaults. */
import { describe, expect, it } from 'vitest'
import type { VirtualServiceHttpRoute } from '../src/index.ts'
import { MESH, resourcesInMesh, route, TO, virtualService } from './support/traffic.ts'
import { formatProblems, readManifests } from '../src/index.ts'

/** The only HTTP route of a VirtualService. */
function readRoute(text: string): VirtualServiceHttpRoute | undefined {
  return resourcesInMesh(route(text)).virtualServices[0]?.spec.http[0]
}

const none = { request: { set: [], add: [], remove: [] }, response: { set: [], add: [], remove: [] } }

describe('an HTTP route of a VirtualService', () => {
  it('has defaults for all that is not written', () => {
    expect(resourcesInMesh(route(TO)).virtualServices[0]?.spec).toMatchObject({
      hosts: ['web'],
      gateways: ['mesh'],
      exportTo: [],
      tcp: [],
    })
    expect(readRoute(TO)).toEqual({
      name: '',
      source: { file: 'a.yaml', line: 7, column: 7 },
      match: [],
      action: {
        kind: 'route',
        destinations: [
          {
            destination: { source: { file: 'a.yaml', line: 7, column: 30 }, host: 'api' },
            weight: 0,
            headers: none,
          },
        ],
      },
      mirrors: [],
      headers: none,
    })
  })

  it.each([
    ['5s', 5_000],
    ['0.5s', 500],
    ['100ms', 100],
    ['1m30s', 90_000],
    ['1h', 3_600_000],
    ['24h', 86_400_000],
    ['0s', 0],
    ['0.001s', 1],
    ['1.5s250ms', 1_750],
  ])('takes %s as %i ms', (text, ms) => {
    expect(readRoute(`{ ${TO}, timeout: ${text} }`)?.timeoutMs).toBe(ms)
  })

  it('retries with what is written, and leaves the rest to the waypoint', () => {
    const retries = '{ attempts: 3, perTryTimeout: 2s, retryOn: "5xx,503,connect-failure", backoff: 25ms }'
    expect(readRoute(`{ ${TO}, retries: ${retries} }`)?.retries).toEqual({
      attempts: 3,
      perTryTimeoutMs: 2_000,
      retryOn: '5xx,503,connect-failure',
      backoffMs: 25,
    })
    expect(readRoute(`{ ${TO}, retries: { attempts: 0 } }`)?.retries).toEqual({ attempts: 0 })
    expect(readRoute(TO)?.retries).toBeUndefined()
    const flags = '{ attempts: 1, retryRemoteLocalities: true, retryIgnorePreviousHosts: false }'
    expect(readRoute(`{ ${TO}, retries: ${flags} }`)?.retries).toEqual({
      attempts: 1,
      retryRemoteLocalities: true,
      retryIgnorePreviousHosts: false,
    })
  })

  it('takes faults in percent: 0.1 is one in a thousand', () => {
    const fault =
      '{ delay: { percentage: { value: 0.1 }, fixedDelay: 5s }, abort: { percentage: { value: 100 }, httpStatus: 503 } }'
    expect(readRoute(`{ ${TO}, fault: ${fault} }`)?.fault).toEqual({
      delay: { percent: 0.1, delayMs: 5_000 },
      abort: { percent: 100, httpStatus: 503 },
    })
    const grpc = '{ abort: { percentage: { value: 0.0001 }, grpcStatus: UNAVAILABLE } }'
    expect(readRoute(`{ ${TO}, fault: ${grpc} }`)?.fault).toEqual({
      abort: { percent: 0.0001, grpcStatus: 14 },
    })
  })

  it('mirrors everything unless a share is written', () => {
    const mirrors = (text: string) =>
      readRoute(`{ ${TO}, ${text} }`)?.mirrors.map(({ destination, percent }) => [destination.host, percent])
    expect(mirrors('mirror: { host: web }')).toEqual([['web', 100]])
    expect(mirrors('mirror: { host: web }, mirrorPercentage: { value: 0 }')).toEqual([['web', 0]])
    const many =
      'mirrors: [{ destination: { host: web }, percentage: { value: 12.5 } }, { destination: { host: free } }]'
    expect(mirrors(many)).toEqual([
      ['web', 12.5],
      ['free', 100],
    ])
  })

  it('matches by all that is written, names of headers in lower case, an empty value is presence', () => {
    const text = `{ name: m, uri: { prefix: /a }, ignoreUriCase: true, method: { exact: GET }, authority: { regex: 'a.*' },
        headers: { End-User: { exact: jason }, X-There: {}, x-any: { regex: '*' } }, withoutHeaders: { X-No: { prefix: a } },
        queryParams: { Q: { exact: b }, r: {} }, port: 80 }`
    expect(readRoute(`{ match: [${text}], ${TO} }`)?.match).toEqual([
      {
        name: 'm',
        uri: { kind: 'prefix', value: '/a' },
        ignoreUriCase: true,
        method: { kind: 'exact', value: 'GET' },
        authority: { kind: 'regex', value: 'a.*' },
        headers: [
          { name: 'end-user', match: { kind: 'exact', value: 'jason' } },
          { name: 'x-there', match: { kind: 'presence' } },
          { name: 'x-any', match: { kind: 'presence' } },
        ],
        withoutHeaders: [{ name: 'x-no', match: { kind: 'prefix', value: 'a' } }],
        queryParams: [
          { name: 'Q', match: { kind: 'exact', value: 'b' } },
          { name: 'r', match: { kind: 'presence' } },
        ],
        port: 80,
      },
    ])
  })

  it('redirects with 301 unless another code is written', () => {
    expect(readRoute('redirect: { uri: /x }')?.action).toEqual({
      kind: 'redirect',
      uri: '/x',
      statusCode: 301,
    })
    const full =
      '{ authority: a.b, scheme: https, derivePort: FROM_REQUEST_PORT, prefixRewrite: /y, redirectCode: 308 }'
    expect(readRoute(`redirect: ${full}`)?.action).toEqual({
      kind: 'redirect',
      authority: 'a.b',
      scheme: 'https',
      port: 'FROM_REQUEST_PORT',
      prefixRewrite: '/y',
      statusCode: 308,
    })
  })

  it('answers by itself with text, also with text in base64', () => {
    const body = (text: string) => readRoute(`directResponse: { status: 418${text} }`)?.action
    expect(body('')).toEqual({ kind: 'respond', status: 418, body: '' })
    expect(body(', body: { string: tea }')).toEqual({ kind: 'respond', status: 418, body: 'tea' })
    expect(body(', body: { bytes: dGVh }')).toEqual({ kind: 'respond', status: 418, body: 'tea' })
  })

  it('rewrites and edits headers', () => {
    const text = `{ ${TO}, rewrite: { uri: /b, authority: c.d }, headers: { request: { set: { X-A: "1" }, add: { x-b: "2" }, remove: [X-C] } } }`
    expect(readRoute(text)).toMatchObject({
      rewrite: { uri: '/b', authority: 'c.d' },
      headers: { request: { set: [['x-a', '1']], add: [['x-b', '2']], remove: ['x-c'] } },
    })
    const regex = `{ ${TO}, rewrite: { uriRegexRewrite: { match: '^/v(\\d)/', rewrite: '/\\1/' } } }`
    expect(readRoute(regex)?.rewrite).toEqual({ uriRegex: { match: '^/v(\\d)/', rewrite: '/\\1/' } })
  })

  it('answers for CORS', () => {
    const cors =
      "{ allowOrigins: [{ exact: 'https://a.b' }, { regex: '.*' }], allowMethods: [GET], maxAge: 1h, allowCredentials: true }"
    expect(readRoute(`{ ${TO}, corsPolicy: ${cors} }`)?.cors).toEqual({
      allowOrigins: [
        { kind: 'exact', value: 'https://a.b' },
        { kind: 'regex', value: '.*' },
      ],
      allowMethods: ['GET'],
      allowHeaders: [],
      exposeHeaders: [],
      maxAgeMs: 3_600_000,
      allowCredentials: true,
      unmatchedPreflights: 'FORWARD',
    })
  })
})

describe('a TCP route of a VirtualService', () => {
  it('has ports and weights', () => {
    const text = `  tcp:
    - match: [{ port: 81 }]
      route: [{ destination: { host: api, port: { number: 81 } }, weight: 90 }, { destination: { host: web }, weight: 10 }]`
    const [tcp] = resourcesInMesh(virtualService(text)).virtualServices[0]?.spec.tcp ?? []
    expect(tcp).toMatchObject({
      match: [{ port: 81, destinationSubnets: [] }],
      destinations: [
        { destination: { host: 'api', port: 81 }, weight: 90 },
        { destination: { host: 'web' }, weight: 10 },
      ],
    })
  })
})

describe('a DestinationRule', () => {
  it('has subsets, balancers and pools, by port too', () => {
    const text = `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: web, namespace: shop }
spec:
  host: web
  trafficPolicy:
    loadBalancer: { simple: ROUND_ROBIN }
    connectionPool: { tcp: { maxConnections: 1, connectTimeout: 3s }, http: { http1MaxPendingRequests: 2, idleTimeout: 1m } }
    portLevelSettings: [{ port: { number: 80 }, loadBalancer: { simple: RANDOM } }]
  subsets:
    - { name: v1, labels: { version: v1 } }
    - { name: all }
`
    expect(
      resourcesInMesh(text).destinationRules.find(({ metadata }) => metadata.name === 'web')?.spec,
    ).toEqual({
      host: 'web',
      exportTo: [],
      trafficPolicy: {
        loadBalancer: { simple: 'ROUND_ROBIN' },
        connectionPool: {
          tcp: { maxConnections: 1, connectTimeoutMs: 3_000 },
          http: { http1MaxPendingRequests: 2, idleTimeoutMs: 60_000 },
        },
        portLevelSettings: [{ port: 80, loadBalancer: { simple: 'RANDOM' } }],
      },
      subsets: [
        { name: 'v1', source: { file: 'a.yaml', line: 11, column: 7 }, labels: { version: 'v1' } },
        { name: 'all', source: { file: 'a.yaml', line: 12, column: 7 }, labels: {} },
      ],
    })
  })
})

describe('manifests as people publish them', () => {
  it('split by header and by weight, and fail now and then', () => {
    const text = `apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata:
  name: api
  namespace: shop
spec:
  hosts:
    - api
  http:
    - match:
        - headers:
            version:
              exact: v2
      fault:
        delay:
          percentage:
            value: 0.1
          fixedDelay: 5s
      route:
        - destination:
            host: api
            subset: v2
    - route:
        - destination:
            host: api
            subset: v1
          weight: 90
        - destination:
            host: api
            subset: v2
          weight: 10
`
    const { resources, problems } = readManifests([{ path: 'a.yaml', text: `${MESH}---\n${text}` }])
    expect(formatProblems(problems)).toBe('')
    expect(resources.virtualServices[0]?.spec.http).toMatchObject([
      {
        match: [{ headers: [{ name: 'version', match: { kind: 'exact', value: 'v2' } }] }],
        fault: { delay: { percent: 0.1, delayMs: 5_000 } },
        action: { destinations: [{ destination: { host: 'api', subset: 'v2' }, weight: 0 }] },
      },
      {
        match: [],
        action: {
          destinations: [
            { destination: { subset: 'v1' }, weight: 90 },
            { destination: { subset: 'v2' }, weight: 10 },
          ],
        },
      },
    ])
  })
})
