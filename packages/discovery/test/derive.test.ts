import { describe, expect, it } from 'vitest'
import type { Workload } from '@ambient/core'
import {
  type DeriveInput,
  deriveAmbient,
  isEnrolled,
  type PodStatus,
  readManifests,
  type Resources,
} from '../src/index.ts'

const status = (over: Partial<PodStatus> = {}): PodStatus => ({
  name: 'web-abc-1',
  namespace: 'shop',
  labels: { app: 'web' },
  serviceAccount: 'web',
  node: 'node-a',
  ip: '10.0.0.1',
  ready: true,
  containerPorts: [{ name: 'http', port: 8080 }],
  enrolled: true,
  ...over,
})

/** Resources of documents that need no definitions beside them. */
function resources(...documents: string[]): Resources {
  const read = readManifests([{ path: 'a.yaml', text: documents.join('\n---\n') }])
  expect(read.problems.filter(({ severity }) => severity === 'error')).toEqual([])
  return read.resources
}

function derive(over: Partial<DeriveInput> = {}) {
  return deriveAmbient({
    resources: resources(),
    pods: [status()],
    clusterIps: new Map(),
    trustDomain: 'cluster.local',
    clusterId: 'Kubernetes',
    network: '',
    rootNamespace: 'istio-system',
    clusterDomain: 'cluster.local',
    ...over,
  })
}

/** The only workload. */
function one(over: Partial<DeriveInput> = {}): Workload | undefined {
  return [...derive(over).workloads.values()][0]
}

const serviceDocument = (spec: string, meta = '') =>
  `apiVersion: v1\nkind: Service\nmetadata: { name: web, namespace: shop${meta} }\nspec: ${spec}`
const policyDocument = (name: string, namespace: string, spec: string) =>
  `apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: ${name}, namespace: ${namespace} }\nspec: ${spec}`
const peerDocument = (name: string, namespace: string, spec: string) =>
  `apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: { name: ${name}, namespace: ${namespace} }\nspec: ${spec}`

describe('a pod', () => {
  it('becomes a workload under its own name', () => {
    expect([...derive().workloads]).toEqual([
      [
        'Kubernetes//Pod/shop/web-abc-1',
        {
          uid: 'Kubernetes//Pod/shop/web-abc-1',
          name: 'web-abc-1',
          namespace: 'shop',
          addresses: ['10.0.0.1'],
          hostname: '',
          network: '',
          protocol: 'HBONE',
          trustDomain: 'cluster.local',
          serviceAccount: 'web',
          node: 'node-a',
          canonicalName: 'web',
          canonicalRevision: 'latest',
          workloadType: 'pod',
          workloadName: 'web-abc-1',
          nativeTunnel: false,
          services: new Map(),
          authorizationPolicies: [],
          status: 'Healthy',
          clusterId: 'Kubernetes',
          locality: { region: '', zone: '', subzone: '' },
          networkMode: 'Standard',
          capacity: 1,
        },
      ],
    ])
  })

  it.each<[what: string, pod: Partial<PodStatus>, expected: Partial<Workload>]>([
    ['not enrolled: plaintext', { enrolled: false }, { protocol: 'TCP' }],
    [
      'speaks HBONE by itself',
      { enrolled: false, labels: { 'networking.istio.io/tunnel': 'http' } },
      { protocol: 'HBONE', nativeTunnel: true },
    ],
    ['not ready', { ready: false }, { status: 'Unhealthy' }],
    ['on the host network', { hostNetwork: true }, { networkMode: 'HostNetwork' }],
    [
      'named by its Deployment',
      { generateName: 'web-abc-', owner: { kind: 'Deployment', name: 'web' } },
      { workloadName: 'web' },
    ],
    [
      'named by its ReplicaSet less the hash',
      {
        generateName: 'web-abc-',
        owner: { kind: 'ReplicaSet', name: 'web-abc' },
        labels: { 'pod-template-hash': 'abc' },
      },
      { workloadName: 'web', canonicalName: 'web' },
    ],
    [
      'named by its CronJob',
      { generateName: 'j-', owner: { kind: 'Job', name: 'backup-28412345' } },
      { workloadName: 'backup' },
    ],
    [
      'named by a Job',
      { generateName: 'j-', owner: { kind: 'Job', name: 'once-7' } },
      { workloadName: 'once-7' },
    ],
    [
      'an owner of a pod that it did not name',
      { owner: { kind: 'Deployment', name: 'web' } },
      { workloadName: 'web-abc-1' },
    ],
    [
      'the label wins',
      {
        generateName: 'x-',
        owner: { kind: 'Deployment', name: 'web' },
        labels: { 'service.istio.io/workload-name': 'mine' },
      },
      { workloadName: 'mine', canonicalName: 'mine' },
    ],
    [
      'canonical: own label',
      { labels: { app: 'a', 'app.kubernetes.io/name': 'b', 'service.istio.io/canonical-name': 'c' } },
      { canonicalName: 'c' },
    ],
    [
      'canonical: Kubernetes label',
      { labels: { app: 'a', 'app.kubernetes.io/name': 'b' } },
      { canonicalName: 'b' },
    ],
    ['canonical: nothing but the workload', { labels: {} }, { canonicalName: 'web-abc-1' }],
    [
      'revision: own label',
      {
        labels: {
          version: 'a',
          'app.kubernetes.io/version': 'b',
          'service.istio.io/canonical-revision': 'c',
        },
      },
      { canonicalRevision: 'c' },
    ],
    ['revision: version', { labels: { version: 'v2' } }, { canonicalRevision: 'v2' }],
    [
      'a label named like a property of every object',
      { labels: { constructor: 'x' } },
      { canonicalName: 'web-abc-1' },
    ],
  ])('%s', (_, pod, expected) => {
    expect(one({ pods: [status(pod)] })).toMatchObject(expected)
  })

  it('without address is not there', () => {
    expect(derive({ pods: [status({ ip: '' })] }).workloads.size).toBe(0)
  })

  it('has the locality of its node', () => {
    const node = `apiVersion: v1
kind: Node
metadata:
  name: node-a
  labels: { topology.kubernetes.io/region: r, topology.kubernetes.io/zone: z, topology.istio.io/subzone: s }`
    expect(one({ resources: resources(node) })?.locality).toEqual({ region: 'r', zone: 'z', subzone: 's' })
    expect(one({ resources: resources(node), pods: [status({ node: 'b' })] })?.locality.region).toBe('')
  })
})

describe('a service', () => {
  const HOST = 'shop/web.shop.svc.cluster.local'

  it('has its addresses, its ports, and the pods that it selects', () => {
    const state = derive({
      resources: resources(
        serviceDocument(
          '{ selector: { app: web }, ports: [{ name: a, port: 80, targetPort: http }, { name: b, port: 81 }, { name: c, port: 82, targetPort: 9000, protocol: UDP }, { name: d, port: 83, targetPort: grpc }] }',
        ),
      ),
      clusterIps: new Map([['shop/web', ['10.1.0.1']]]),
      network: 'n',
    })
    expect(state.services.get(HOST)).toMatchObject({
      name: 'web',
      namespace: 'shop',
      hostname: 'web.shop.svc.cluster.local',
      vips: [{ network: 'n', ip: '10.1.0.1' }],
      ports: new Map([
        [80, 0],
        [81, 81],
        [82, 9000],
        [83, 0],
      ]),
      canonical: true,
      ipFamilies: 'Automatic',
    })
    const [pod] = [...state.workloads.values()]
    // The pod has no port named grpc, so it lacks 83.
    expect(pod?.services).toEqual(
      new Map([
        [
          HOST,
          new Map([
            [80, 8080],
            [81, 81],
            [82, 9000],
          ]),
        ],
      ]),
    )
  })

  it.each<[what: string, spec: string, expected: object]>([
    [
      'headless: no addresses',
      '{ clusterIP: None, selector: { app: web }, ports: [{ port: 80 }] }',
      { vips: [] },
    ],
    [
      'its own address when nobody gives it one',
      '{ clusterIP: 10.9.0.1, ports: [{ port: 80 }] }',
      { vips: [{ ip: '10.9.0.1' }] },
    ],
    [
      'internalTrafficPolicy',
      '{ internalTrafficPolicy: Local, trafficDistribution: PreferClose, ports: [{ port: 80 }] }',
      { loadBalancer: { mode: 'Strict', routingPreferences: ['Node'], healthPolicy: 'OnlyHealthy' } },
    ],
    [
      'PreferClose',
      '{ trafficDistribution: PreferClose, ports: [{ port: 80 }] }',
      { loadBalancer: { mode: 'Failover', routingPreferences: ['Network', 'Region', 'Zone'] } },
    ],
    [
      'PreferSameNode',
      '{ trafficDistribution: PreferSameNode, ports: [{ port: 80 }] }',
      { loadBalancer: { routingPreferences: ['Network', 'Region', 'Zone', 'Subzone', 'Node'] } },
    ],
    [
      'publishNotReadyAddresses',
      '{ publishNotReadyAddresses: true, ports: [{ port: 80 }] }',
      { loadBalancer: { mode: 'Standard', healthPolicy: 'AllowAll' } },
    ],
    ['one family', '{ ipFamilies: [IPv6], ports: [{ port: 80 }] }', { ipFamilies: 'IPv6' }],
    ['two families', '{ ipFamilies: [IPv4, IPv6], ports: [{ port: 80 }] }', { ipFamilies: 'Dual' }],
  ])('%s', (_, spec, expected) => {
    expect(derive({ resources: resources(serviceDocument(spec)) }).services.get(HOST)).toMatchObject(expected)
  })

  it('takes the preference of annotations: its own before the namespace, an unknown one hides it', () => {
    const mode = (annotation: string) => {
      const namespace =
        'apiVersion: v1\nkind: Namespace\nmetadata: { name: shop, annotations: { networking.istio.io/traffic-distribution: PREFERCLOSE } }'
      const all = resources(namespace, serviceDocument('{ ports: [{ port: 80 }] }', annotation))
      return derive({ resources: all }).services.get(HOST)?.loadBalancer
    }
    expect(mode('')).toMatchObject({ mode: 'Failover' })
    const own = (value: string) =>
      mode(`, annotations: { networking.istio.io/traffic-distribution: ${value} }`)
    expect(own('prefersamenode')?.routingPreferences).toHaveLength(5)
    expect(own('whatever')).toMatchObject({ mode: 'Standard', routingPreferences: [] })
  })

  it('that is an ExternalName, or of another namespace, is nothing to the pod', () => {
    const all = resources(
      serviceDocument('{ type: ExternalName, externalName: example.com, selector: { app: web } }'),
      serviceDocument('{ selector: { app: web }, ports: [{ port: 80 }] }').replace('shop', 'other'),
      serviceDocument('{ ports: [{ port: 80 }] }').replace('name: web', 'name: bare'),
    )
    const state = derive({ resources: all })
    expect([...state.services.keys()]).toEqual([
      'other/web.other.svc.cluster.local',
      'shop/bare.shop.svc.cluster.local',
    ])
    expect([...state.workloads.values()][0]?.services.size).toBe(0)
  })
})

describe('policies', () => {
  const rule = '[{ from: [{ source: { principals: [cluster.local/ns/shop/sa/web] } }] }]'
  const selector = (app: string) => `selector: { matchLabels: { app: ${app} } }`

  it('with a selector are listed by whom they select, of the own and the root namespace', () => {
    const all = resources(
      policyDocument('b-own', 'shop', `{ ${selector('web')}, rules: ${rule} }`),
      policyDocument('a-root', 'istio-system', `{ ${selector('web')}, rules: ${rule} }`),
      policyDocument('other-app', 'shop', `{ ${selector('db')}, rules: ${rule} }`),
      policyDocument('other-namespace', 'bank', `{ ${selector('web')}, rules: ${rule} }`),
      policyDocument('whole-namespace', 'shop', `{ rules: ${rule} }`),
      policyDocument('mesh', 'istio-system', `{ rules: ${rule} }`),
    )
    const state = derive({ resources: all })
    expect([...state.workloads.values()][0]?.authorizationPolicies).toEqual([
      'istio-system/a-root',
      'shop/b-own',
    ])
    const scopes = [...state.authorizations].map(([key, { scope }]) => [key, scope])
    expect(Object.fromEntries(scopes)).toEqual({
      'shop/b-own': 'WorkloadSelector',
      'istio-system/a-root': 'WorkloadSelector',
      'shop/other-app': 'WorkloadSelector',
      'bank/other-namespace': 'WorkloadSelector',
      'shop/whole-namespace': 'Namespace',
      'istio-system/mesh': 'Global',
    })
  })

  it('of a waypoint or of another action are not sent', () => {
    const all = resources(
      policyDocument('audit', 'shop', `{ action: AUDIT, rules: ${rule} }`),
      policyDocument(
        'target',
        'shop',
        `{ targetRefs: [{ kind: Service, group: "", name: web }], rules: ${rule} }`,
      ),
    )
    expect(derive({ resources: all }).authorizations.size).toBe(0)
  })

  it('STRICT is a policy that strict workloads list after their own', () => {
    const all = resources(
      peerDocument('default', 'shop', '{ mtls: { mode: STRICT } }'),
      policyDocument('own', 'shop', `{ ${selector('web')}, rules: ${rule} }`),
    )
    const state = derive({
      resources: all,
      pods: [status(), status({ name: 'b', namespace: 'bank', ip: '10.0.0.2' })],
    })
    expect([...state.workloads.values()].map(item => item.authorizationPolicies)).toEqual([
      ['shop/own', 'istio-system/istio_converted_static_strict'],
      [],
    ])
    expect(state.authorizations.get('istio-system/istio_converted_static_strict')).toMatchObject({
      action: 'Deny',
    })
  })

  it('a strict port brings a policy of its own, and it is listed', () => {
    const all = resources(
      peerDocument(
        'ports',
        'shop',
        `{ ${selector('web')}, mtls: { mode: PERMISSIVE }, portLevelMtls: { 8080: { mode: STRICT } } }`,
      ),
    )
    const state = derive({ resources: all })
    const listed = [...state.workloads.values()][0]?.authorizationPolicies ?? []
    expect(listed).toEqual(['shop/converted_peer_authentication_ports'])
    for (const key of listed) expect(state.authorizations.has(key)).toBe(true)
  })
})

describe('enrolment', () => {
  const mode = (value?: string) => (value === undefined ? {} : { 'istio.io/dataplane-mode': value })
  it.each([
    [undefined, undefined, false],
    ['ambient', undefined, true],
    ['ambient', 'none', false],
    ['none', 'ambient', true],
    [undefined, 'ambient', true],
    ['Ambient', undefined, false],
    ['ambient', '', false],
  ])('namespace %s, pod %s: %s', (namespace, pod, expected) => {
    expect(isEnrolled(mode(namespace), mode(pod))).toBe(expected)
  })
})
