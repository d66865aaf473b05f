/** Waypoints in what ztunnels are told: who is behind which, how it is reached, and what going around it meets. */
import type { AppProtocol, Service } from '@ambient/core'
import { describe, expect, it } from 'vitest'
import type { AmbientState } from '../src/index.ts'
import { derive, deriveBroken, gatewayText, namespaceText, podStatus, serviceText } from './support/derive.ts'

const USE = 'istio.io/use-waypoint'

/** `namespace/hostname:port`, or `none`. */
function waypointOf(object: { readonly waypoint?: Service['waypoint'] } | undefined): string {
  if (object === undefined) return 'not there'
  const { waypoint } = object
  if (waypoint?.destination.kind !== 'hostname') return waypoint === undefined ? 'none' : 'an address'
  return `${waypoint.destination.namespace}/${waypoint.destination.hostname}:${waypoint.hboneMtlsPort}`
}

function ofService(state: AmbientState, name = 'web', namespace = 'shop'): string {
  return waypointOf(state.services.get(`${namespace}/${name}.${namespace}.svc.cluster.local`))
}

function ofPod(state: AmbientState, name = 'web-1', namespace = 'shop'): string {
  return waypointOf(state.workloads.get(`Kubernetes//Pod/${namespace}/${name}`))
}

const at = (name: string, namespace = 'shop'): string =>
  `${namespace}/${name}.${namespace}.svc.cluster.local:15008`

/** A mesh with the waypoints `wp` (for services) and `all` (for everything), and these labels. */
function labelled(labels: {
  namespace?: string
  service?: string
  pod?: Record<string, string>
}): AmbientState {
  return derive(
    [
      namespaceText('shop', labels.namespace),
      gatewayText('wp'),
      gatewayText('all', { labels: 'istio.io/waypoint-for: all' }),
      serviceText('web', { labels: labels.service ?? '' }),
    ],
    { pods: [podStatus({ labels: { app: 'web', ...labels.pod } })] },
  )
}

describe('the label of an object and that of its namespace', () => {
  it.each([
    ['nobody says anything', {}, 'none', 'none'],
    ['the namespace does: services only', { namespace: `${USE}: wp` }, at('wp'), 'none'],
    ['the namespace does: everything', { namespace: `${USE}: all` }, at('all'), at('all')],
    ['the service alone', { service: `${USE}: wp` }, at('wp'), 'none'],
    [
      'the service beats the namespace',
      { namespace: `${USE}: wp`, service: `${USE}: all` },
      at('all'),
      'none',
    ],
    ['the pod alone', { pod: { [USE]: 'all' } }, 'none', at('all')],
    ['the pod names one for services', { pod: { [USE]: 'wp' } }, 'none', 'none'],
    ['the service opts out', { namespace: `${USE}: all`, service: `${USE}: none` }, 'none', at('all')],
    ['the pod opts out', { namespace: `${USE}: all`, pod: { [USE]: 'none' } }, at('all'), 'none'],
    ['an empty label is no label', { namespace: `${USE}: wp`, service: `${USE}: ""` }, at('wp'), 'none'],
    [
      'the namespace opts out, the service in',
      { namespace: `${USE}: none`, service: `${USE}: wp` },
      at('wp'),
      'none',
    ],
  ])('%s', (_, labels, service, pod) => {
    const state = labelled(labels)
    expect([ofService(state), ofPod(state)]).toEqual([service, pod])
  })
})

describe('what a waypoint is for', () => {
  it.each([
    ['service', at('wp'), 'none'],
    ['workload', 'none', at('wp')],
    ['all', at('wp'), at('wp')],
    ['none', 'none', 'none'],
  ])('%s', (traffic, service, pod) => {
    const state = derive([
      namespaceText('shop', `${USE}: wp`),
      gatewayText('wp', { labels: `istio.io/waypoint-for: ${traffic}` }),
      serviceText('web'),
    ])
    expect([ofService(state), ofPod(state)]).toEqual([service, pod])
  })
})

describe('a waypoint that cannot be used', () => {
  const edge = gatewayText('edge', { className: 'nginx' })
  it.each([
    ['it is missing', `${USE}: gone`],
    ['it is missing in that namespace', `${USE}: wp, istio.io/use-waypoint-namespace: infra`],
    ['its class is another', `${USE}: edge`],
  ])('hides that of the namespace: %s', (_, labels) => {
    const state = deriveBroken([
      namespaceText('shop', `${USE}: wp`),
      gatewayText('wp'),
      edge,
      serviceText('web', { labels }),
    ])
    expect(ofService(state)).toBe('none')
    expect([...state.services.keys()].sort()).toEqual([
      'shop/web.shop.svc.cluster.local',
      'shop/wp.shop.svc.cluster.local',
    ])
  })

  it('does not keep a service of its name from having one, when it is no waypoint at all', () => {
    const documents = [namespaceText('shop', `${USE}: wp`), gatewayText('wp'), edge, serviceText('edge')]
    expect(ofService(derive(documents), 'edge')).toBe(at('wp'))
  })
})

describe('a waypoint of another namespace', () => {
  const use = `${USE}: wp, istio.io/use-waypoint-namespace: infra`
  it.each([
    ['Same is the default', undefined, 'none'],
    ['Same', '{ namespaces: { from: Same } }', 'none'],
    ['All', '{ namespaces: { from: All } }', at('wp', 'infra')],
    ['None', '{ namespaces: { from: None } }', 'none'],
    [
      'Selector that fits',
      '{ namespaces: { from: Selector, selector: { matchLabels: { team: a } } } }',
      at('wp', 'infra'),
    ],
    [
      'Selector that does not',
      '{ namespaces: { from: Selector, selector: { matchLabels: { team: b } } } }',
      'none',
    ],
    [
      'Selector by name',
      '{ namespaces: { from: Selector, selector: { matchLabels: { kubernetes.io/metadata.name: shop } } } }',
      at('wp', 'infra'),
    ],
    [
      'Selector In',
      '{ namespaces: { from: Selector, selector: { matchExpressions: [{ key: team, operator: In, values: [a, b] }] } } }',
      at('wp', 'infra'),
    ],
    [
      'Selector NotIn',
      '{ namespaces: { from: Selector, selector: { matchExpressions: [{ key: team, operator: NotIn, values: [a] }] } } }',
      'none',
    ],
    [
      'Selector Exists',
      '{ namespaces: { from: Selector, selector: { matchExpressions: [{ key: team, operator: Exists }] } } }',
      at('wp', 'infra'),
    ],
    [
      'Selector DoesNotExist',
      '{ namespaces: { from: Selector, selector: { matchExpressions: [{ key: team, operator: DoesNotExist }] } } }',
      'none',
    ],
  ])('%s', (_, allowedRoutes, expected) => {
    const state = derive([
      namespaceText('infra'),
      namespaceText('shop', `team: a, ${use}`),
      gatewayText('wp', { namespace: 'infra', ...(allowedRoutes !== undefined && { allowedRoutes }) }),
      serviceText('web'),
    ])
    expect(ofService(state)).toBe(expected)
  })
})

describe('the waypoint itself', () => {
  const pods = [
    podStatus(),
    podStatus({
      name: 'all-1',
      ip: '10.0.0.9',
      serviceAccount: 'all',
      labels: { 'gateway.networking.k8s.io/gateway-name': 'all' },
    }),
  ]
  const documents = [
    namespaceText('shop', `${USE}: all`),
    gatewayText('all', { labels: 'istio.io/waypoint-for: all' }),
    serviceText('web'),
    serviceText('all', { selector: 'app: none' }),
    serviceText('east', { labels: 'gateway.istio.io/managed: istio.io-eastwest-controller' }),
  ]

  it('never has a waypoint, nor has its service or what istiod deployed', () => {
    const state = derive(documents, { pods, requireWaypoint: true })
    expect([ofService(state), ofPod(state)]).toEqual([at('all'), at('all')])
    expect([ofService(state, 'all'), ofService(state, 'east'), ofPod(state, 'all-1')]).toEqual([
      'none',
      'none',
      'none',
    ])
    expect(state.workloads.get('Kubernetes//Pod/shop/all-1')?.authorizationPolicies).toEqual([])
  })

  it('is a service with its VIP, and its pods are the endpoints', () => {
    const state = derive(documents, { pods, clusterIps: new Map([['shop/all', ['10.1.0.9']]]) })
    const key = 'shop/all.shop.svc.cluster.local'
    expect(state.services.get(key)).toMatchObject({
      name: 'all',
      vips: [{ network: '', ip: '10.1.0.9' }],
      ports: new Map([
        [15_021, 15_021],
        [15_008, 15_008],
      ]),
      loadBalancer: { mode: 'Failover', healthPolicy: 'OnlyHealthy' },
    })
    expect(state.workloads.get('Kubernetes//Pod/shop/all-1')?.services.get(key)?.get(15_008)).toBe(15_008)
    expect(state.workloads.get('Kubernetes//Pod/shop/web-1')?.services.has(key)).toBe(false)
  })
})

describe('what ports speak', () => {
  const ports: readonly (readonly [port: string, protocol: AppProtocol | undefined])[] = [
    ['name: http', 'HTTP11'],
    ['name: http-web', 'HTTP11'],
    ['name: HTTP-web', 'HTTP11'],
    ['name: http_proxy', 'HTTP11'],
    ['name: http2-x', 'HTTP2'],
    ['name: grpc', 'GRPC'],
    ['name: grpc-web-x', 'GRPC'],
    ['name: https-x', 'TLS'],
    ['name: tls', 'TLS'],
    ['name: tcp-db', 'TCP'],
    ['name: mongo', 'TCP'],
    ['name: redis-x', 'TCP'],
    ['name: mysql', 'TCP'],
    ['name: web', undefined],
    ['name: httpx', undefined],
    ['appProtocol: kubernetes.io/ws', 'HTTP11'],
    ['appProtocol: kubernetes.io/h2c', 'HTTP2'],
    ['appProtocol: kubernetes.io/wss', 'TLS'],
    ['appProtocol: HTTP', 'HTTP11'],
    ['name: http, appProtocol: tcp', 'TCP'],
    ['name: http, appProtocol: example.com/own', undefined],
    ['name: tcp-db, appProtocol: grpc', 'GRPC'],
    ['name: http, protocol: UDP', undefined],
    ['name: web, port: 3306', 'TCP'],
    ['name: web, port: 25', 'TCP'],
    ['name: web, port: 53', 'TCP'],
    ['name: web, port: 27017', 'TCP'],
    ['name: http, port: 3306', 'HTTP11'],
  ]
  it.each(ports)('%s', (port, expected) => {
    const number = /port: (\d+)/.exec(port)?.[1] ?? '80'
    const written = port.includes(' port:') ? port : `${port}, port: ${number}`
    const text = `apiVersion: v1
kind: Service
metadata: { name: web, namespace: shop }
spec: { selector: { app: web }, ports: [{ ${written} }] }`
    const service = derive([text]).services.get('shop/web.shop.svc.cluster.local')
    expect(service?.appProtocols?.get(Number(number))).toBe(expected)
  })
})
