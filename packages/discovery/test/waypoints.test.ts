/** Who is behind which waypoint, as istiod derives it, and what waypoints are told. */
import { describe, expect, it } from 'vitest'
import { type DeriveInput, deriveAmbient, type PodStatus, readManifests } from '../src/index.ts'
import { decodeAddress } from '../src/wds/address.ts'
import { encodeService } from '../src/index.ts'
import { SHOP, virtualService, WAYPOINT } from './support/waypoints.ts'

const WEB = 'shop/web.shop.svc.cluster.local'
const OWN = 'shop/waypoint.shop.svc.cluster.local'
const ADDRESS = {
  destination: { kind: 'hostname', namespace: 'shop', hostname: 'waypoint.shop.svc.cluster.local' },
  hboneMtlsPort: 15008,
}

const pod = (over: Partial<PodStatus> = {}): PodStatus => ({
  name: 'web-1',
  namespace: 'shop',
  labels: { app: 'web', version: 'v1' },
  serviceAccount: 'web',
  node: 'node-a',
  ip: '10.0.0.1',
  ready: true,
  containerPorts: [{ name: 'http', port: 8080 }],
  enrolled: true,
  ...over,
})

const WAYPOINT_POD = pod({
  name: 'waypoint-1',
  ip: '10.0.0.9',
  labels: { 'gateway.networking.k8s.io/gateway-name': 'waypoint' },
})

function derive(text: string, over: Partial<DeriveInput> = {}) {
  const { resources } = readManifests([{ path: 'a.yaml', text }])
  return deriveAmbient({
    resources,
    pods: [pod(), WAYPOINT_POD],
    clusterIps: new Map([['shop/waypoint', ['10.1.0.9']]]),
    trustDomain: 'cluster.local',
    clusterId: 'Kubernetes',
    network: '',
    rootNamespace: 'istio-system',
    clusterDomain: 'cluster.local',
    ...over,
  })
}

const workloadOf = (state: ReturnType<typeof derive>, name: string) =>
  [...state.workloads.values()].find(workload => workload.name === name)
const gatewayWith = (labels: string, listener = ''): string =>
  SHOP.replace(
    'name: waypoint, namespace: shop }',
    `name: waypoint, namespace: shop, labels: { ${labels} } }`,
  ).replace('protocol: HBONE }', `protocol: HBONE${listener} }`)

describe('a waypoint for services', () => {
  it('is in front of the services of its namespace, and has a service of its own without one', () => {
    const state = derive(SHOP)
    expect(state.services.get(WEB)?.waypoint).toEqual(ADDRESS)
    expect(state.services.get(OWN)).toMatchObject({
      vips: [{ network: '', ip: '10.1.0.9' }],
      ports: new Map([
        [15021, 15021],
        [15008, 15008],
      ]),
    })
    expect(state.services.get(OWN)?.waypoint).toBeUndefined()
    expect(workloadOf(state, 'waypoint-1')?.services.get(OWN)?.get(15008)).toBe(15008)
    expect(workloadOf(state, 'waypoint-1')?.waypoint).toBeUndefined()
  })

  it('is silently none of its pods', () => {
    expect(workloadOf(derive(SHOP), 'web-1')?.waypoint).toBeUndefined()
  })

  it('is none of a service that opts out, and of none that names another', () => {
    const named = (value: string): string =>
      SHOP.replace(
        'name: web, namespace: shop }\nspec:\n  selector',
        `name: web, namespace: shop, labels: { istio.io/use-waypoint: ${value} } }\nspec:\n  selector`,
      )
    for (const value of ['none', 'missing'])
      expect(derive(named(value)).services.get(WEB)?.waypoint).toBeUndefined()
  })
})

describe('what a waypoint is for', () => {
  it.each([
    ['service', true, false],
    ['workload', false, true],
    ['all', true, true],
    ['none', false, false],
  ])('%s', (value, services, workloads) => {
    const state = derive(gatewayWith(`istio.io/waypoint-for: ${value}`))
    expect(state.services.get(WEB)?.waypoint).toEqual(services ? ADDRESS : undefined)
    expect(workloadOf(state, 'web-1')?.waypoint).toEqual(workloads ? ADDRESS : undefined)
  })
})

describe('a waypoint of another namespace', () => {
  const shared = (allowed: string): string =>
    SHOP.replace(
      WAYPOINT,
      `${WAYPOINT.replace('namespace: shop', 'namespace: infra').replace('protocol: HBONE }', `protocol: HBONE${allowed} }`)}---\napiVersion: v1\nkind: Namespace\nmetadata: { name: infra }\n`,
    ).replace(
      'istio.io/use-waypoint: waypoint',
      'istio.io/use-waypoint: waypoint\n    istio.io/use-waypoint-namespace: infra',
    )

  it.each([
    ['', false],
    [', allowedRoutes: { namespaces: { from: Same } }', false],
    [', allowedRoutes: { namespaces: { from: All } }', true],
    [
      ', allowedRoutes: { namespaces: { from: Selector, selector: { matchLabels: { kubernetes.io/metadata.name: shop } } } }',
      true,
    ],
    [', allowedRoutes: { namespaces: { from: Selector, selector: { matchLabels: { team: a } } } }', false],
    [
      ', allowedRoutes: { namespaces: { from: Selector, selector: { matchExpressions: [{ key: istio.io/dataplane-mode, operator: In, values: [ambient] }] } } }',
      true,
    ],
  ])('with%s admits it: %s', (allowed, admitted) => {
    const { waypoint } = derive(shared(allowed)).services.get(WEB) ?? {}
    expect(waypoint === undefined).toBe(!admitted)
    if (admitted) expect(waypoint?.destination).toMatchObject({ namespace: 'infra' })
  })
})

describe('required waypoints', () => {
  const KEY = 'shop/istio_allow_waypoint_shop_waypoint'

  it('are the only ones that the pods behind them let in', () => {
    const state = derive(SHOP, { requireWaypoint: true })
    expect(workloadOf(state, 'web-1')?.authorizationPolicies).toEqual([KEY])
    expect(workloadOf(state, 'waypoint-1')?.authorizationPolicies).toEqual([])
    expect(state.authorizations.get(KEY)).toMatchObject({
      scope: 'WorkloadSelector',
      action: 'Allow',
      rules: [
        {
          clauses: [
            { matches: [{ principals: [{ kind: 'exact', value: 'cluster.local/ns/shop/sa/waypoint' }] }] },
          ],
        },
      ],
    })
    expect(derive(SHOP).authorizations.size).toBe(0)
  })

  it('are known by the account that an annotation gives them', () => {
    const text = SHOP.replace(
      'name: waypoint, namespace: shop }',
      'name: waypoint, namespace: shop, annotations: { istio.io/for-service-account: edge } }',
    )
    const [rule] = derive(text, { requireWaypoint: true }).authorizations.get(KEY)?.rules ?? []
    expect(rule?.clauses[0]?.matches[0]?.principals).toEqual([
      { kind: 'exact', value: 'cluster.local/ns/shop/sa/edge' },
    ])
  })

  it('that are not there let nobody in', () => {
    const state = derive(SHOP.replace(WAYPOINT, ''), { requireWaypoint: true })
    expect(workloadOf(state, 'web-1')?.authorizationPolicies).toEqual([KEY])
    expect(state.authorizations.get(KEY)?.rules).toEqual([])
  })
})

describe('what a port speaks', () => {
  it.each([
    ['name: http', 'HTTP11'],
    ['name: http-web', 'HTTP11'],
    ['name: HTTP2', 'HTTP2'],
    ['name: grpc-api', 'GRPC'],
    ['name: grpc-web-x', 'GRPC'],
    ['name: https', 'TLS'],
    ['name: tls-x', 'TLS'],
    ['name: tcp-db', 'TCP'],
    ['name: mongo', 'TCP'],
    ['name: web', undefined],
    ['name: httpx', undefined],
    ['name: tcp, appProtocol: kubernetes.io/h2c', 'HTTP2'],
    ['name: http, appProtocol: acme.io/own', undefined],
    ['name: x, appProtocol: kubernetes.io/ws', 'HTTP11'],
    ['name: http, protocol: UDP', undefined],
  ])('%s is %s', (port, expected) => {
    const text = `apiVersion: v1\nkind: Service\nmetadata: { name: web, namespace: shop }\nspec: { selector: { app: web }, ports: [{ ${port}, port: 80 }] }\n`
    const service = derive(text).services.get(WEB)
    expect(service?.appProtocols?.get(80)).toBe(expected)
    if (service === undefined) return
    const back = decodeAddress(encodeService(service))
    expect(back.ok && back.value.kind === 'service' ? back.value.service.appProtocols?.get(80) : 'lost').toBe(
      expected,
    )
  })

  it('is TCP for well-known ports whose server speaks first', () => {
    const text =
      'apiVersion: v1\nkind: Service\nmetadata: { name: web, namespace: shop }\nspec: { selector: { app: web }, ports: [{ port: 3306 }] }\n'
    expect(derive(text).services.get(WEB)?.appProtocols?.get(3306)).toBe('TCP')
  })
})

describe('documents', () => {
  it('are what was written, with the labels of pods, and of policies those with targets', () => {
    const policy = (name: string, spec: string): string =>
      `---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: ${name}, namespace: shop }\nspec: ${spec}\n`
    const routes = virtualService(
      '  hosts: [web]\n  http:\n    - route: [{ destination: { host: web } }]\n      timeout: 0.5s\n',
    )
    const text = `${SHOP}---\n${routes}${policy('l4', '{}')}${policy('l7', '{ targetRefs: [{ group: "", kind: Service, name: web }] }')}`
    const { configuration } = derive(text)
    expect(configuration?.get('networking.istio.io/v1/VirtualService')?.get('shop/web')?.spec).toEqual({
      hosts: ['web'],
      http: [{ route: [{ destination: { host: 'web' } }], timeout: '0.5s' }],
    })
    expect([...(configuration?.get('security.istio.io/v1/AuthorizationPolicy')?.keys() ?? [])]).toEqual([
      'shop/l7',
    ])
    expect(configuration?.get('core/v1/Pod')?.get('shop/web-1')?.metadata.labels).toEqual({
      app: 'web',
      version: 'v1',
    })
    expect([...(configuration?.get('gateway.networking.k8s.io/v1/Gateway')?.keys() ?? [])]).toEqual([
      'shop/waypoint',
    ])
  })
})
